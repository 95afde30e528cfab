import ctypes
import json
import subprocess
import sys
from pathlib import Path

import pytest

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import (
    atomic_directory,
    atomic_path,
    locked,
    read_json,
    sweep_temporary,
    to_json,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(ValueError, match="broke"), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise ValueError("broke")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_failed_folder_leaves_the_old_one_and_no_rest(tmp_path):
    path = tmp_path / "folder"
    for content in ("first", "second"):
        with atomic_directory(path) as temporary:
            (temporary / "x").write_text(content)
    with pytest.raises(ValueError, match="broke"), atomic_directory(path) as temporary:
        (temporary / "x").write_text("half")
        raise ValueError("broke")
    assert (path / "x").read_text() == "second"
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("error", [OSError("no"), KeyboardInterrupt()])
def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, monkeypatch, error):
    """Where folders cannot change places in one step."""
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    path = tmp_path / "folder"
    with atomic_directory(path) as temporary:
        (temporary / "x").write_text("old")
    replace = Path.replace

    def failing(self, target):
        if (self / "x").is_file() and (self / "x").read_text() == "new":
            raise error
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises((BetafoldError, KeyboardInterrupt)), atomic_directory(path) as temporary:
        (temporary / "x").write_text("new")
    assert (path / "x").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_folders_are_made_on_the_way(tmp_path):
    write_text(tmp_path / "a" / "b" / "c.txt", "x")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "x"


def test_a_file_where_a_folder_should_be_is_one_line(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(BetafoldError, match="cannot write"):
        write_text(tmp_path / "a" / "c.txt", "x")
    with pytest.raises(BetafoldError, match="cannot write"), atomic_directory(tmp_path / "a" / "d"):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(tmp_path):
    full = Path("/dev/full")
    with (
        pytest.raises(BetafoldError, match="No space left"),
        atomic_path(tmp_path / "x"),
        full.open("w") as file,
    ):
        file.write("x")
        file.flush()


def test_long_names_fit(tmp_path):
    write_text(tmp_path / ("n" * 240 + ".json"), "{}")
    assert len(list(tmp_path.iterdir())) == 1


def test_json_has_no_nan():
    assert to_json({"ä": 1}) == '{\n  "ä": 1\n}\n'
    odd = "\udcff.cif"  # a file name of a byte that is not UTF-8
    assert json.loads(to_json([odd]).encode("utf-8")) == [odd]
    with pytest.raises(ValueError, match="Out of range"):
        to_json({"x": float("nan")})


def test_what_killed_processes_left_is_swept(tmp_path):
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom betafold_mlx.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as path:\n    path.write_text('half')\n    os._exit(9)"
    )
    names = ("a.cif", "b.json", "no suffix", ".hidden")
    for name in names:
        subprocess.run([sys.executable, "-c", program, tmp_path / name], check=False)
    assert len(list(tmp_path.iterdir())) == 4 and not any((tmp_path / name).exists() for name in names)
    others = ("x.cif", ".fold.json", ".x.123.cif", ".x.12-abc.cif")
    for name in others:
        (tmp_path / name).write_text("")
    with atomic_path(tmp_path / "c.cif") as path:  # of a process that lives
        path.write_text("half")
        sweep_temporary(tmp_path)
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted([path.name, *others])
    with pytest.raises(BetafoldError, match="cannot clear"):
        sweep_temporary(tmp_path / "nowhere")


def test_the_folder_of_a_killed_process_goes_with_the_next(tmp_path):
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom betafold_mlx.files import atomic_directory\n"
        "with atomic_directory(Path(sys.argv[1])) as path:\n    (path / 'x').touch()\n    os._exit(9)"
    )
    for name in ("kept", "other"):
        subprocess.run([sys.executable, "-c", program, tmp_path / name], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    with atomic_directory(tmp_path / "kept"):
        pass
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left[0].startswith(".other.") and left[1:] == ["kept"]
    sweep_temporary(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_kill_finds_the_old_folder_or_the_new_one(tmp_path):
    program = (
        "import sys\nfrom pathlib import Path\nfrom betafold_mlx.files import atomic_directory\n"
        "while True:\n    with atomic_directory(Path(sys.argv[1])) as path:\n        (path / 'x').touch()\n"
        "    print(flush=True)"
    )
    path = tmp_path / "folder"
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE) as process:
            for _ in range(20):
                process.stdout.readline()
                assert (path / "x").exists()
            process.kill()
        assert (path / "x").exists()


def test_a_lock_keeps_other_processes_out_and_ends_with_its_process(tmp_path):
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom betafold_mlx.files import locked\n"
        "with locked(Path(sys.argv[1]), 'busy'):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    path = tmp_path / "deep" / ".lock"
    with subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(BetafoldError, match="in use"), locked(path, "in use"):
            pass
        other.kill()
    for _ in range(2):
        with locked(path, "in use"):
            pass
    (tmp_path / "file").write_text("")
    with pytest.raises(BetafoldError, match="cannot write"), locked(tmp_path / "file" / ".lock", "in use"):
        pass


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not there"),
        (b"{", "is not whole JSON"),
        (b"\xff", "not whole"),
        (b"[" * 100_000, "not whole"),
    ],
)
def test_what_is_no_json(tmp_path, content, message):
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(BetafoldError, match=message):
        read_json(tmp_path / "x.json")
