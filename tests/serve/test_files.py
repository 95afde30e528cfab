"""Whatever is asked: files are read in the package, Python and the viewer, and written in the temporary folder."""

import io
import os
import re
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="serve needs fastapi and uvicorn: the extra serve")

from serve_helpers import running, wait_until

import betafold_mlx
from betafold_mlx.report.threedmol import viewer_folder

pytestmark = pytest.mark.usefixtures("quick_folds")

NAMES = (
    "../../etc/passwd",
    "/etc/passwd",
    "..\\..\\x",
    "a\x00b",
    "CON",
    "<script>",
    "~root",
    "$(touch x)",
    "x" * 200,
)
PATHS = (
    "/../../etc/passwd",
    "/static/../app.py",
    "/static/%2e%2e/app.py",
    "/static/..%2fapp.py",
    "/static/..%5capp.py",
    "/static//etc/passwd",
    "/static/%00",
    "/static/" + "a" * 5000,
    "/api/v1/predictions/..%2f..%2fetc%2fpasswd/cif",
    "/api/v1/batches/..%2f..%2fetc%2fpasswd/results.zip",
    "/docs/../../etc/passwd",
)
_watching: list[list[tuple[str, int]]] = []


def _note(event, arguments):
    if _watching and event == "open" and isinstance(arguments[0], str | bytes):
        _watching[-1].append((os.fsdecode(arguments[0]), arguments[2]))


@pytest.fixture(scope="module")
def opened():
    """The files that are opened in this process meanwhile, with their flags."""
    sys.addaudithook(_note)  # for ever: so it looks whether anybody wants to know
    found: list[tuple[str, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        _watching.append(found)
        yield found
        _watching.pop()


def test_hostile_names_and_paths_lead_nowhere(opened, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with running() as server:
        del opened[:]
        assert {server.ask("GET", path).status for path in PATHS} <= {404, 422}
        for name in NAMES:
            answer = server.fold(id=name, keep=True, include=["cif", "pdb"])
            assert answer.status == 200, answer.body
            for path in answer.json["files"].values():
                got = server.ask("GET", path + "?download=1")
                assert got.status == 200
                assert re.fullmatch(r'attachment; filename="[\w.-]+"', got.headers["content-disposition"])
        text = "".join(f">{name}\nGIGKF\n" for name in NAMES if "\0" not in name)
        batch = server.post("/api/v1/batches", {"fasta": text, "include": ["cif", "pdb"]}).json["batch"]
        wait_until(lambda: server.ask("GET", f"/api/v1/batches/{batch}").json["state"] == "done")
        archive = zipfile.ZipFile(io.BytesIO(server.ask("GET", f"/api/v1/batches/{batch}/results.zip").body))
        assert len(archive.namelist()) == 3 * (len(NAMES) - 1) + 1
        assert all(re.fullmatch(r"\w[\w.-]*", name) for name in archive.namelist()), archive.namelist()
    library = {
        Path(sys.prefix),
        Path(sys.base_prefix),
        Path(betafold_mlx.__file__).parents[1],
        viewer_folder(),
    }
    for name, flags in opened:
        path = Path(name).resolve()
        assert path.is_relative_to(temporary) or any(path.is_relative_to(folder) for folder in library), path
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        assert not writes or path.is_relative_to(temporary), path
    assert any(Path(name).suffix == ".zip" for name, _ in opened)  # they were noted
    assert list(temporary.iterdir()) == []  # and nothing is left
