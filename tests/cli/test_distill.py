"""`betafold-mlx distill`, and `train` with what it makes."""

import json

import numpy as np
import pytest
from cli_esm_helpers import OPTIONS
from cli_helpers import run
from data_helpers import random_letters
from distill_helpers import built_dataset, save_toy, values, write_pdb
from esm_helpers import TINY

from betafold_mlx.data.store import Dataset, dataset_sha256
from betafold_mlx.esm.convert import convert
from betafold_mlx.esm.hub import read_checkpoint

LABELS = ("distill", "--sequences", "a.fasta", "--against", "set", "--teacher", "toy", "--samples", 1)
NAMES = ("dataset.json", "arrays.safetensors", "report.txt")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A data set, a teacher, sequences, and labels of them."""

    path = tmp_path_factory.mktemp("cli")
    built_dataset(path / "set", 12, 20)
    rng = np.random.default_rng(42)
    records = [f">s{n}\n{random_letters(rng, 10 + n)}\n" for n in range(18)]
    (path / "a.fasta").write_text("".join(records))
    save_toy(path / "toy", training={"dataset_sha256": dataset_sha256(path / "set")})
    code, out, err = run(*LABELS, "-o", "labels", "--min-plddt", 1, cwd=path)
    assert (code, out) == (0, "labels\n"), err
    assert "warning" not in err and "distilled, not experimental" in err
    return path


def test_the_same_command_gives_the_same_bytes(work):
    code, _, err = run(*LABELS, "-o", "again", "--min-plddt", 1, cwd=work)
    assert code == 0, err
    for name in NAMES:
        assert (work / "labels" / name).read_bytes() == (work / "again" / name).read_bytes()
    code, _, err = run(*LABELS, "-o", "again", "--min-plddt", 1, "--seed", 1, cwd=work)
    assert code == 1 and "--force" in err and err.count("\n") == 1
    code, _, err = run(*LABELS[:-1], 2, "-o", "again", "--min-plddt", 1, "--seed", 1, "--force", cwd=work)
    assert code == 0, err
    assert (work / "labels" / NAMES[1]).read_bytes() != (work / "again" / NAMES[1]).read_bytes()


def test_info_says_what_it_is(work):
    code, out, _ = run("dataset", "info", "labels", cwd=work)
    assert code == 0 and "distilled, not experimental: sequences, labelled by toy" in out
    document = json.loads(run("dataset", "info", "labels", "--json", cwd=work)[1])
    assert document["distillation"]["against"] == dataset_sha256(work / "set")
    assert document["distillation"]["teachers"][0]["name"] == "toy"


@pytest.mark.parametrize("split", ["validation", "test"])
def test_nothing_is_measured_against_it(work, split):
    code, out, err = run("evaluate", "labels", "--model", "toy", "--split", split, cwd=work)
    assert code == 1 and not out and "predictions, to learn from" in err and err.count("\n") == 1
    (work / "predicted").mkdir(exist_ok=True)
    code, out, err = run(
        *("evaluate", "--predictions", "predicted", "--references", "labels", "--split", split), cwd=work
    )
    assert code == 1 and not out and err.count("\n") == 1


def test_bad_records_are_listed_and_the_rest_is_done(work):
    (work / "bad.fasta").write_text(">odd\nXXXXXXXXXXXX\n" + (work / "a.fasta").read_text())
    arguments = [each if each != "a.fasta" else "bad.fasta" for each in LABELS]
    code, out, err = run(*arguments, "-o", "rest", "--min-plddt", 1, cwd=work)
    assert (code, out) == (1, "rest\n") and "odd: 'X' at position 1" in err
    whole, rest = (Dataset.load(work / name) for name in ("labels", "rest"))
    assert whole.records == rest.records


def test_a_teacher_of_other_data_is_warned_of(work):
    save_toy(work / "stranger", seed=8)
    code, _, err = run(*LABELS, "--teacher", "stranger", "-o", "two", "--min-plddt", 1, cwd=work)
    assert (
        code == 0 and "warning: stranger was trained on another data set" in err and "warning: toy" not in err
    )
    told = Dataset.load(work / "two").report["distillation"]
    assert [model["name"] for model in told["teachers"]] == ["toy", "stranger"]


def test_mutants_and_structures(work):
    code, out, err = run(
        *("distill", "--mutants", 20, "--against", "set", "--teacher", "toy", "--samples", 1),
        *("--min-plddt", 1, "-o", "mutants"),
        cwd=work,
    )
    assert (code, out) == (0, "mutants\n"), err
    (work / "files").mkdir()

    write_pdb(
        work / "files" / "x.pdb", random_letters(np.random.default_rng(5), 60), values(60, [(20, 25)]) / 100
    )
    code, out, err = run("distill", "--structures", "files", "--against", "set", "-o", "others", cwd=work)
    assert (code, out) == (0, "others\n") and "B-factor, 0 to 1 (1)" in err, err
    for name in ("mutants", "others"):
        assert Dataset.load(work / name).origin == "distilled"
    code, _, err = run("train", "set", "--distilled", "others", "-o", "run-others", *OPTIONS, cwd=work)
    assert code == 0, err


@pytest.mark.slow
def test_a_mixed_run_and_how_it_goes_on(work):
    mixed = ("train", "set", "-o", "run", *OPTIONS, "--distilled", "labels")
    code, _, err = run(*mixed, "--mix", "experimental=1,distilled=3", "--mix-until", 4, cwd=work)
    assert code == 0, err
    settings = json.loads((work / "run" / "run.json").read_text())["settings"]
    assert settings["mix"] == {
        "dataset_sha256": dataset_sha256(work / "labels"),
        "experimental": 1.0,
        "distilled": 3.0,
        "until": 4,
    }
    trained = json.loads((work / "run" / "best" / "config.json").read_text())["training"]
    assert trained["settings"]["mix"] == settings["mix"] and trained["dataset_sha256"] == dataset_sha256(
        work / "set"
    )
    assert "distilled ones" in (work / "run" / "best" / "README.md").read_text()
    code, _, err = run(*LABELS, "-o", "second", "--min-plddt", 2, cwd=work)
    assert code == 0, err
    for wrong, message in (
        ((), "name that data set with --distilled"),
        (("--distilled", "second"), "another distilled data set"),
        (("--distilled", "labels", "--mix", "experimental=1,distilled=1"), "leave out --mix"),
    ):
        code, _, err = run("train", "set", "-o", "run", "--resume", *wrong, cwd=work)
        assert code in (1, 2) and message in err and err.count("\n") == 1, err
    code, out, err = run("train", "set", "-o", "run", "--resume", "--distilled", "labels", cwd=work)
    assert code == 0 and "run/best" in out, err
    code, _, err = run("train", "set", "-o", "plain", *OPTIONS, cwd=work)
    code, _, err = run("train", "set", "-o", "plain", "--resume", "--distilled", "labels", cwd=work)
    assert code == 1 and "has no distilled data" in err and err.count("\n") == 1


@pytest.mark.slow
def test_a_mixed_run_on_features_of_an_esm(work):
    convert(read_checkpoint(TINY), work / "esm", "owner/tiny")
    arguments = ("--embedder", "esm", "--windows", 63, "--distilled", "labels")
    code, _, err = run("train", "set", "-o", "features", *OPTIONS, *arguments, cwd=work)
    assert code == 0, err
    assert len(list(work.glob("labels.esm2-*"))) == len(list(work.glob("set.esm2-*"))) == 1
    code, _, err = run("train", "set", "-o", "features", "--resume", "--distilled", "labels", cwd=work)
    assert code == 0, err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["set", "--mix", "experimental=1,distilled=1"], 2, "--mix goes with --distilled"),
        (["set", "--mix-until", 3], 2, "--mix-until goes with --distilled"),
        (["set", "--distilled", "labels", "--mix", "experimental=0,distilled=0"], 2, "at least one of them"),
        (
            ["set", "--distilled", "labels", "--mix", "experimental=1,guessed=1"],
            2,
            "one of experimental, distilled",
        ),
        (["set", "--distilled", "labels", "--mix", "experimental=1"], 2, "experimental=X,distilled=X"),
        (["set", "--distilled", "labels", "--mix", "experimental=1,distilled=-1"], 2, "a number from 0"),
        (["set", "--distilled", "labels", "--mix", "experimental=1,distilled=nan"], 2, "a number from 0"),
        (
            ["set", "--distilled", "labels", "--mix", "distilled=1,distilled=1"],
            2,
            "experimental=X,distilled=X",
        ),
        (["set", "--distilled", "nowhere"], 1, "no data set at nowhere"),
        (["set", "--distilled", "set"], 1, "not distilled"),
        (["labels"], 1, "cannot measure a model"),
        (["labels", "--distilled", "labels"], 1, "cannot measure a model"),
        (["other", "--distilled", "labels"], 1, "kept apart from another data set"),
    ],
)
def test_what_cannot_be_mixed(work, arguments, code, message):
    if arguments[0] == "other" and not (work / "other").exists():
        from synthetic import make_dataset

        make_dataset().save(work / "other")
    got, out, err = run("train", *arguments, "-o", "none", *OPTIONS, cwd=work)
    assert (got, out) == (code, "") and message in err and err.count("\n") == 1, err
    assert not (work / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "give one of --sequences, --mutants, --structures"),
        (["--sequences", "a.fasta", "--mutants", 3], 2, "give one of"),
        (["--structures", "toy", "--seed", 1], 2, "--seed does not go with --structures"),
        (["--structures", "toy", "--teacher", "toy"], 2, "--teacher does not go with --structures"),
        (["--sequences", "a.fasta", "--substitutions", 0.1], 2, "does not go with --sequences"),
        (["--mutants", 0], 2, "mutants"),
        (["--sequences", "a.fasta", "--min-plddt", 101], 2, "min-plddt"),
        (["--sequences", "a.fasta", "--teacher", "nowhere"], 1, "no model directory"),
        (["--sequences", "a.fasta", "--teacher", "toy", "--teacher", "toy"], 1, "named twice"),
        (["--sequences", "nowhere.fasta", "--teacher", "toy"], 1, "cannot read nowhere.fasta"),
        (["--sequences", "a.fasta", "--teacher", "toy", "--min-plddt", 100], 1, "no label is left"),
        (["--structures", "nowhere"], 1, "no such file or folder"),
        (["--structures", "toy"], 1, "holds no structure file"),
    ],
)
def test_wrong_usage(work, arguments, code, message):
    got, out, err = run("distill", *arguments, "--against", "set", "-o", "none", cwd=work)
    assert (got, out) == (code, "") and message in err and err.count("\n") == 1, err
    assert not (work / "none").exists()


def test_a_data_set_to_keep_apart_from(work):
    for against, code, message in (
        (None, 2, "--against"),
        ("nowhere", 1, "no data set at nowhere"),
        ("labels", 1, "--against names a distilled data set"),
    ):
        more = () if against is None else ("--against", against)
        got, _, err = run("distill", "--sequences", "a.fasta", "-o", "none", *more, cwd=work)
        assert got == code and message in err and err.count("\n") == 1, err
    assert not (work / "none").exists()


def test_an_evaluation_peptide_is_not_labelled(work):
    test = Dataset.load(work / "set").peptides("test")[0]
    header = ">leak cyclic" if test.cyclic else ">leak"
    (work / "leak.fasta").write_text(f"{header}\n{test.sequence}\n" + (work / "a.fasta").read_text())
    arguments = [each if each != "a.fasta" else "leak.fasta" for each in LABELS]
    code, _, err = run(*arguments, "-o", "clean", "--min-plddt", 1, cwd=work)
    assert code == 0 and "1 like evaluation data" in err
    assert all(record.id != "leak" for record in Dataset.load(work / "clean").records)
