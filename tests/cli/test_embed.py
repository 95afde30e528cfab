"""`betafold-mlx embed` as a user calls it."""

import json
import resource
import shutil
from pathlib import Path

import pytest
from cli_esm_helpers import LABEL, OPTIONS, WINDOWS, make_folder
from cli_helpers import error_line, run, run_process
from esm_helpers import contents
from synthetic import make_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("embed"))


@pytest.fixture
def work(folder, tmp_path):
    """A copy of it to spoil."""
    return shutil.copytree(folder, tmp_path / "work")


def embed(work, *arguments):
    return run("embed", "set", "--embedder", "tiny", "-o", "cache", *arguments, cwd=work)


def test_what_it_says(work):
    shutil.rmtree(work / "cache")
    code, out, err = embed(work, "--windows", WINDOWS)
    first, second = out.splitlines()
    assert code == 0 and first == f"cache: {LABEL}"
    index = json.loads((work / "cache" / "index.json").read_text())
    size = sum(path.stat().st_size for path in (work / "cache").glob("shard-*"))
    assert second == (
        f"{index['sequences']:,} sequences, {index['residues']:,} residues, {size / 1e6:,.1f} MB "
        "in 2 files, 2 of them made now"
    )
    code, out, err = embed(work, "--json")
    document = json.loads(out)
    assert (code, err, document["shards_made"], document["bytes"]) == (0, "", 0, size)
    assert {name: document[name] for name in index} == index and document["embedder"]["label"] == LABEL


def test_the_cache_lies_beside_the_data_set_where_nobody_says_otherwise(work):
    code, out, _ = run("embed", "set", "--embedder", "tiny", "--windows", "50", "--json", cwd=work)
    document = json.loads(out)
    sha256 = document["embedder"]["sha256"]
    assert code == 0 and Path(document["cache"]) == work / f"set.esm2-2x24-{sha256[:12]}"
    code, _, err = run("train", "set/../set/", "--embedder", "tiny", "-o", "run2", *OPTIONS, cwd=work)
    assert code == 0 and "embedded" not in err  # it is found there
    settings = json.loads((work / "run2" / "run.json").read_text())["settings"]
    assert settings["sampler"]["windows"] == 50


def test_training_makes_damage_good_too(work):
    whole = contents(work / "cache")
    (work / "cache" / "shard-00000.safetensors").write_bytes(b"")
    code, _, err = run(
        "train", "set", "--embedder", "tiny", "--cache", "cache", "-o", "run2", *OPTIONS, cwd=work
    )
    assert code == 0 and "it is made again" in err and contents(work / "cache") == whole
    first, second = (contents(work / name / "last") for name in ("run", "run2"))
    assert first == second


def test_a_full_disk_is_one_line_and_costs_nothing(work):
    """A limit on the size of a file stands in for the disk."""
    shutil.rmtree(work / "cache")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    arguments = ("embed", "set", "--embedder", "tiny", "-o", "cache", "--windows", WINDOWS)
    code, out, err = run_process(*arguments, cwd=work, preexec_fn=limit)
    assert (code, out) == (1, "") and "cannot write cache/shard-00000.safetensors: " in err.splitlines()[-1]
    assert sorted(contents(work / "cache")) == ["index.json"]
    assert embed(work)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["set", "--embedder", "other", "-o", "cache"], 1, "was made by owner/tiny"),
        (["set", "--embedder", "tiny", "-o", "cache", "--windows", "99"], 1, "with windows 3000, not 99"),
        (["set", "--embedder", "tiny", "-o", "cache", "--seed", "1"], 1, "with seed 0, not 1"),
        (["set", "--embedder", "tiny", "-o", "set"], 1, "set is not a cache of embeddings"),
        (["set", "--embedder", "tiny", "--windows", "5"], 2, "windows"),
        (["set", "--embedder", "nowhere"], 1, "make one with convert-esm"),
        (["set", "--embedder", "hub"], 1, "convert-esm --from"),
        (["tiny", "--embedder", "tiny"], 1, "no data set at tiny"),
        (["nowhere", "--embedder", "tiny"], 2, "nowhere"),
        (["set"], 2, "--embedder"),
    ],
)
def test_wrong_usage_of_embed(folder, arguments, code, message):
    before = contents(folder / "cache")
    got, out, err = run("embed", *arguments, cwd=folder)
    assert (got, out) == (code, "") and message in error_line(err)
    assert contents(folder / "cache") == before


def test_a_cache_of_another_data_set(work):
    make_dataset(seed=1).save(work / "set")
    for arguments in (
        ("embed", "set", "--embedder", "tiny", "-o", "cache"),
        ("train", "set", "--embedder", "tiny", "--cache", "cache", "-o", "run2"),
    ):
        code, _, err = run(*arguments, cwd=work)
        assert code == 1 and "was made for another data set: choose another folder" in error_line(err)
