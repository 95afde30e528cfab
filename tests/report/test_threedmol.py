"""The 3D viewer: fetched on request, checked, found again, and never taken for what it is not."""

import base64
import hashlib
import io
import os
import stat
import tarfile

import pytest

from betafold_mlx.cli.main import main
from betafold_mlx.errors import BetafoldError
from betafold_mlx.report import threedmol as viewer_module
from betafold_mlx.report.threedmol import VERSION, find_viewer, install_viewer, viewer_folder

SCRIPT, LICENCE = b"var $3Dmol = {}; // \xce\xb1", b"do as you like"


def archive_of(files):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


ARCHIVE = archive_of(
    {"package/build/3Dmol-min.js": SCRIPT, "package/LICENSE": LICENCE, "package/../../bad": b"x"}
)


def expect(monkeypatch, archive):
    """Make an archive the release that is wanted."""
    digest = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    monkeypatch.setattr(viewer_module, "_ARCHIVE_SHA512", digest)
    monkeypatch.setattr(viewer_module, "_SCRIPT_SHA256", hashlib.sha256(SCRIPT).hexdigest())


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BETAFOLD_VIEWER", str(tmp_path / "viewers"))
    expect(monkeypatch, ARCHIVE)
    return tmp_path / "viewers" / f"3dmol-{VERSION}"


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "given.tgz"
    path.write_bytes(ARCHIVE)
    return path


def npm(tmp_path, monkeypatch, script):
    """Put an npm of our own first on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_what_is_installed_is_found_with_its_licence(archive, folder):
    assert find_viewer() is None
    assert install_viewer(archive) == folder == viewer_folder()
    assert sorted(path.name for path in folder.iterdir()) == ["3Dmol-min.js", "LICENSE"]
    viewer = find_viewer()
    assert viewer is not None and viewer.name == "3Dmol.js 2.5.5"
    assert viewer.script == SCRIPT.decode() and viewer.licence == LICENCE.decode()
    assert install_viewer(archive) == folder  # and again


def test_what_was_changed_afterwards_is_not_used(archive, folder):
    install_viewer(archive)
    (folder / "3Dmol-min.js").write_bytes(SCRIPT + b";alert(1)")
    assert find_viewer() is None
    install_viewer(archive)
    assert find_viewer() is not None


def test_a_neighbour_in_the_folder_stays(archive, folder):
    keep = folder.parent / "keep"
    keep.parent.mkdir(parents=True)
    keep.write_text("mine")
    install_viewer(archive)
    assert keep.read_text() == "mine"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["3dmol-2.5.5", "keep"]


def test_without_a_variable_it_is_in_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("BETAFOLD_VIEWER")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert viewer_folder() == tmp_path / "betafold-mlx" / "3dmol-2.5.5"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert viewer_folder() == tmp_path / "home" / ".local" / "share" / "betafold-mlx" / "3dmol-2.5.5"


def test_npm_fetches_exactly_the_release(tmp_path, monkeypatch, archive, folder):
    npm(tmp_path, monkeypatch, f'echo "$@" > "{tmp_path}/asked"; cp "{archive}" 3dmol-2.5.5.tgz')
    install_viewer()
    assert find_viewer() is not None
    assert (tmp_path / "asked").read_text().split()[0] == "pack"
    assert (tmp_path / "asked").read_text().split()[-1] == "3dmol@2.5.5"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo no such network >&2; exit 1", r"npm did not fetch the viewer \(no such network\).*--from"),
        ("exit 0", "npm did not fetch the viewer .*No such file"),
        ("echo other > 3dmol-2.5.5.tgz", "3dmol-2.5.5.tgz: its checksum differs"),
    ],
)
def test_npm_that_fails_is_one_line_and_nothing_is_left(tmp_path, monkeypatch, folder, script, message):
    npm(tmp_path, monkeypatch, script)
    with pytest.raises(BetafoldError, match=message):
        install_viewer()
    assert not folder.parent.exists()


def test_no_npm(tmp_path, monkeypatch, folder):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        BetafoldError, match=r"npm did not fetch the viewer .*install Node.js .*npm pack 3dmol@2.5.5"
    ):
        install_viewer()
    assert not folder.parent.exists()


@pytest.mark.parametrize("data", [b"not an archive", archive_of({"package/LICENSE": b"x"})])
def test_a_release_that_cannot_be_unpacked(tmp_path, monkeypatch, folder, data):
    path = tmp_path / "x.tgz"
    path.write_bytes(data)
    expect(monkeypatch, data)
    with pytest.raises(BetafoldError, match="cannot read"):
        install_viewer(path)
    assert not folder.parent.exists()


def test_the_command_refuses_another_archive_in_one_line(tmp_path, capsys):
    other = tmp_path / "other.tgz"
    other.write_bytes(b"other")
    with pytest.raises(SystemExit) as stop:
        main(["viewer", "install", "--from", str(other)])
    assert stop.value.code == 1
    assert capsys.readouterr().err == (
        f"betafold-mlx: {other} is not 3dmol-2.5.5.tgz: its checksum differs; fetch it again\n"
    )
    with pytest.raises(SystemExit) as stop:
        main(["viewer", "install", "--from", str(other) + "x"])
    assert stop.value.code == 1 and "cannot read" in capsys.readouterr().err


def test_the_command_tells_where(archive, folder, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["viewer", "install", "--from", str(archive)])
    assert stop.value.code == 0
    out = capsys.readouterr()
    assert out.out == f"{folder}\n" and "is installed, its licence beside it" in out.err
