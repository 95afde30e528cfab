"""A folder with all that `embed` and training on ESM-2 features need, and commands run in it."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

from esm_helpers import TINY, random_tensors, write_checkpoint
from synthetic import make_dataset

from betafold_mlx.cli.main import main
from betafold_mlx.esm.convert import convert
from betafold_mlx.esm.hub import read_checkpoint
from betafold_mlx.esm.sizes import EsmConfig

MAGAININ = "GIGKFLHSAKKFGKAFVGEIMNS"
LABEL = "owner/tiny (2x24, not checked against the published ESM-2 weights)"
WINDOWS = 3000  # two files of a cache
OPTIONS = [
    *("--steps", "6", "--evaluate-every", "3", "--warmup", "2", "--tokens", "192"),
    *("--layers", "1", "--width", "32", "--heads", "4", "--ffn-width", "64"),
]


def make_folder(path):
    """Make a data set, two ESM-2 (and the source of one), a cache, and a run on it."""
    make_dataset(held_out=1).save(path / "set")  # the confidence is fitted on validation: that takes the time
    convert(read_checkpoint(TINY), path / "tiny", "owner/tiny")
    other = EsmConfig(layers=1, width=24, heads=3, ffn_width=48)
    source = read_checkpoint(write_checkpoint(path / "hub", other, random_tensors(other, 1)))
    convert(source, path / "other", "owner/other")
    embedded = run("embed", "set", "--embedder", "tiny", "-o", "cache", "--windows", WINDOWS, cwd=path)
    assert embedded[0] == 0, embedded
    trained = run("train", "set", "--embedder", "tiny", "--cache", "cache", "-o", "run", *OPTIONS, cwd=path)
    assert trained[0] == 0, trained
    return path


def run(*arguments, cwd):
    """Run a command here: exit code, standard output and error."""
    out, err, before = io.StringIO(), io.StringIO(), Path.cwd()
    os.chdir(cwd)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code, out.getvalue(), err.getvalue()
    finally:
        os.chdir(before)
    raise AssertionError("main always exits")


def command(*arguments):
    return [sys.executable, "-m", "betafold_mlx", *map(str, arguments)]


def run_process(*arguments, cwd, **more):
    """The same in a process of its own."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True, cwd=cwd, **more)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def error_line(stderr):
    lines = stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("betafold-mlx: "), stderr
    return lines[0]
