"""`scripts/train-esm2`, from nothing to the comparison, with a small ESM-2 and a small archive on this machine."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_helpers import backbone_entry, entry_names, random_letters, template
from esm_helpers import TINY
from file_server import checkpoint_files, serve
from synthetic import backbone_of

from betafold_mlx.data.known_splits import KnownSplits
from betafold_mlx.data.store import SPLITS, Dataset

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = entry_names(18)
MINI_DATA = KnownSplits.read(ROOT / "weights" / "betafold-mini" / "splits.txt").dataset


def venv_is_ready():
    """Whether the scripts of the checkout start at once, in the environment that runs the tests."""
    stamp = ROOT / ".venv" / ".stamp-base"
    ready = stamp.is_file() and stamp.read_bytes().endswith((ROOT / "pyproject.toml").read_bytes())
    return ready and Path(sys.prefix).resolve() == (ROOT / ".venv").resolve()


pytestmark = pytest.mark.skipif(not venv_is_ready(), reason="the recipe runs in the checkout's own .venv")


@pytest.fixture(scope="module")
def files():
    """A peptide in every entry, and a chain in every other one; and a checkpoint."""
    rng, files = np.random.default_rng(4), checkpoint_files("owner/tiny", TINY)
    for number, entry in enumerate(ENTRIES):
        sequences = [random_letters(rng, 12)] + [random_letters(rng, 45)] * (number % 2)
        files[f"{entry}.cif.gz"] = backbone_entry(
            entry, [(each, backbone_of(each, rng)) for each in sequences]
        )
    return files


def run(folder, *arguments, hub="http://nowhere.invalid"):
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(folder / "cache"), "no_proxy": "*"}
    done = subprocess.run(
        [str(ROOT / "scripts" / "train-esm2"), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def commands(stderr):
    return [line.split()[2] for line in stderr.splitlines() if line.startswith("== betafold-mlx ")]


@pytest.mark.slow
def test_the_whole_recipe_and_that_it_goes_on(files, tmp_path):
    (tmp_path / "ids").write_text("\n".join([*ENTRIES, "9zzz"]))
    splits = {(entry, whole): SPLITS[n % 3] for n, entry in enumerate(ENTRIES) for whole in (True, False)}
    (tmp_path / "splits").write_text(KnownSplits(MINI_DATA, splits).text())
    small = ["--windows", "63", "--steps", "2", "--limit", "2"]
    small += ["--work", "work", "--ids", "ids", "--splits", "splits"]
    with serve(files) as server:
        recipe = ("owner/tiny", *small, "--url", template(server))
        # The archive is not there, then one of its files is not: what is done stays.
        code, _, err = run(
            tmp_path, "owner/tiny", *small, "--url", "http://nowhere.invalid/{id}", hub=server.address
        )
        assert code == 1 and "cannot reach nowhere.invalid" in err
        assert commands(err) == ["convert-esm", "dataset"]
        server.status[f"/store/{ENTRIES[3]}.cif.gz"] = 403
        code, _, err = run(tmp_path, *recipe)
        assert code == 1 and "17 fetched" in err and commands(err) == ["dataset"]
        server.status, server.log = {}, []
        code, out, err = run(tmp_path, *recipe)
        assert code == 0, err
        assert len(server.log) == 1
        assert commands(err) == ["dataset", "dataset", "embed", "train", "evaluate:"]
        server.log = []
        again, same, err = run(tmp_path, *recipe)
        assert (again, same) == (0, out) and server.log == []
        assert commands(err) == ["embed", "train"] and "0 of them made now" in err

    built = Dataset.load(tmp_path / "work" / "datasets" / "esm2" / "set")
    assert {record.pdb: record.split for record in built.records} == {e: splits[e, True] for e in ENTRIES}
    assert (
        "model: model best" in out
        and "features of owner/tiny" in out
        and "not checked against the published" in out
    )
    assert "other model: model betafold-mini" in out
    assert "whose splits this one keeps by PDB entry: nothing here resembles what it was trained on" in out
    groups = len(re.findall(r": \d+ in \d+ cluster", out))
    assert groups == out.count("\nmodel minus") == out.count("\nreconstruction floor ") > 1
    assert out.count("\nother model  ") == 2 * groups and out.count("\nmodel  ") == groups
    assert out.endswith("betafold-mlx fold PEPTIDE --model work/runs/tiny/best\n")
    assert (tmp_path / "work" / "runs" / "tiny" / "best" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nonsense"], "there is no option --nonsense"),
        (["--steps"], "--steps needs a value"),
        (["a/b", "c/d"], "one HUB_ID only"),
        (["--from", "nowhere"], "--from nowhere is no folder"),
        (["owner/betafold-mini"], "betafold-mini is the name of the bundled model"),
    ],
)
def test_wrong_usage(tmp_path, arguments, message):
    code, out, err = run(tmp_path, *arguments)
    assert (code, out) == (2, "") and err == f"train-esm2: {message} (see scripts/train-esm2 --help)\n"


def test_help(tmp_path):
    code, out, err = run(tmp_path, "--help")
    assert code == 0 and not err and out.startswith("usage: scripts/train-esm2 [HUB_ID] [OPTIONS]")
