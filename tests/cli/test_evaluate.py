"""`betafold-mlx evaluate` from the outside."""

import functools
import io
import json

import cli_helpers
import mlx.core as mx
import pytest
from evaluate_helpers import make_item, native, write_pdb
from rich.console import Console
from synthetic import make_dataset

from betafold_mlx.cli.blocks import print_blocks
from betafold_mlx.data.store import Dataset, dataset_sha256
from betafold_mlx.evaluate.items import split_items
from betafold_mlx.evaluate.layout import TextTable
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.directory import save_model
from betafold_mlx.model.folding import FoldingModel

pytestmark = pytest.mark.usefixtures("quick_folds")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("evaluate")
    make_dataset(chains=8, peptides=4).save(path / "set")
    mx.random.seed(0)
    save_model(
        path / "tiny", FoldingModel(ModelConfig(width=16, layers=1, heads=2, ffn_width=16)), "card", {}
    )
    (path / "natives").mkdir()
    for item in split_items(Dataset.load(path / "set"), "test"):
        write_pdb(path / "natives" / f"{item.id}.pdb", [native(item)], bfactors=range(len(item)))
    return path


run = functools.partial(cli_helpers.run, "evaluate")


def test_a_model_in_json(folder):
    command = ("--json", "--seed", 3, "--samples", 2, "--scope", 3)
    code, out, err = run(folder / "set", "--model", folder / "tiny", *command)
    report = json.loads(out)
    assert code == 0 and report["model"]["name"] == "tiny" and len(report["model"]["sha256"]) == 64
    assert report["command"]["seed"] == 3 and report["dataset"]["split"] == "test"
    assert (report["command"]["samples"], report["command"]["scope"]) == (2, 3)
    assert len(report["dataset"]["sha256"]) == 64
    assert list(report["methods"]) == [
        "model", "best_of_2", "mean_of_2", "model_not_told", "constant_helix", "constant_strand",
        "type_prior", "nearest_neighbour", "reconstruction_floor",
    ]  # fmt: skip
    groups = {group["name"]: group for group in report["groups"]}
    assert groups["fragments"]["n"] == 8 and groups["fragments"]["clusters"] == 8
    assert len(report["records"]) == 12
    figures = groups["fragments"]["figures"]
    # Made of ideal geometry by a rule on the residue types, which a random model does not know.
    assert figures["reconstruction_floor"]["rmsd_mean"] < 1e-2
    assert figures["type_prior"]["phi_mae"] < 15 < figures["model"]["phi_mae"]
    assert groups["fragments"]["comparisons"]["reconstruction_floor"]["rmsd_mean"]["excludes_zero"]
    assert "folded 12 of 12" in err and "folded" not in out
    for record in report["records"]:
        each = record["ensemble"]["rmsd"]
        of = {name: record["methods"][name]["rmsd"] for name in ("model", "best_of_2", "mean_of_2")}
        assert of["model"] == each[0] and of["best_of_2"] == min(each)
        assert of["mean_of_2"] == pytest.approx(sum(each) / 2, abs=1e-3)
        if not record["cyclic"]:  # nothing was told, and nothing folded again
            assert record["methods"]["model_not_told"] == record["methods"]["model"]
    rings = [record for record in report["records"] if record["cyclic"]]
    assert rings and all(len(record["stated_bonds"]) == 2 for record in rings)
    assert groups["peptides bound"]["bonds"]["ring"]["models"] == 2
    assert "ranking" not in groups["fragments"]  # two models are no order
    assert [(entry["name"], entry["n"]) for entry in report["scope"]["sets"]] == [
        ("fragments", 8), ("peptides", 4), ("free peptides", 1), ("random", 3),
        ("shuffled fragments", 3), ("shuffled free peptides", 1), ("disordered", 25),
    ]  # fmt: skip
    assert {entry["name"] for entry in report["classes"]} >= {"fragments, linear", "peptides, cyclic"}


def test_the_same_command_prints_the_same_bytes(folder):
    command = (folder / "set", "--model", folder / "tiny", "--json", "--limit", 1, "--samples", 2)
    assert run(*command)[1] == run(*command)[1]


def test_a_model_as_tables_on_the_validation_split(folder):
    options = ("--split", "validation", "--limit", 1, "--samples", 3)
    command = (folder / "set", "--model", folder / "tiny", *options)
    code, out, _ = run(*command)
    assert code == 0 and "fragments: 1 in 1 cluster" in out and "constant helix" in out and "nan" not in out
    assert (
        "best of 3 (oracle)" in out
        and "within a peptide" in out
        and "median RMSD by class" in out
        and "stated bonds made" in out
    )
    ids = [record["id"] for record in json.loads(run(*command, "--json")[1])["records"]]
    assert len(ids) == 4 and all(name.startswith("validation") for name in ids)


def test_tables_on_a_terminal():
    table = TextTable(["method", "RMSD"], [["helix [bold]", "1.25"]])
    console = Console(file=io.StringIO(), width=60, force_terminal=True, color_system=None)
    print_blocks(["a [b]note[/b]", table], console)
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "a [b]note[/b]"
    rows = [line.split() for line in lines if "RMSD" in line or "1.25" in line]
    assert rows == [["method", "RMSD"], ["helix", "[bold]", "1.25"]]


def test_what_a_model_knows_of_the_data_set_is_told(tmp_path):
    """It was trained on this one, on nobody knows what, on another one, or on one whose splits this one keeps."""
    data = make_dataset(chains=3, peptides=1)
    data.report["splits_of"] = "5" * 64
    data.save(tmp_path / "kept")
    digest = dataset_sha256(tmp_path / "kept")
    model = FoldingModel(ModelConfig(width=16, layers=1, heads=2, ffn_width=16))
    told = {
        None: "does not say on what it was trained: it may have seen these structures",
        "6" * 64: "was trained on other data: it may have seen these structures",
        "5" * 64: "whose splits this one keeps by PDB entry: nothing here resembles what it was trained on",
        digest: None,
    }
    for number, (trained_on, note) in enumerate(told.items()):
        training = {} if trained_on is None else {"dataset_sha256": trained_on}
        save_model(tmp_path / f"m{number}", model, "card", training)
        out = run(
            tmp_path / "kept", "--model", tmp_path / f"m{number}", "--limit", 1, "--samples", 1, "--json"
        )[1]
        notes = [text for text in json.loads(out)["notes"] if text.startswith(f"model m{number} ")]
        assert len(notes) == (note is not None) and all(note in text for text in notes)


def test_files_against_the_data_set(folder):
    code, out, _ = run("--predictions", folder / "natives", "--references", folder / "set", "--json")
    report = json.loads(out)
    assert code == 0 and report["not_scored"] == [] and report["references"]["count"] == 12
    groups = {group["name"]: group for group in report["groups"]}
    assert groups["fragments"]["figures"]["prediction"]["rmsd_mean"] < 2e-3
    assert groups["fragments"]["comparisons"]["type_prior"]["rmsd_mean"]["excludes_zero"]
    assert groups["fragments"]["confidence"]["mean_lddt"] == 100


def test_files_that_do_not_fit_are_listed_and_the_exit_code_says_so(folder, tmp_path):
    item = split_items(Dataset.load(folder / "set"), "test")[0]
    write_pdb(tmp_path / f"{item.id}.pdb", [native(item)])
    write_pdb(tmp_path / "stranger.pdb", [native(make_item(seed=99))])
    code, out, err = run("--predictions", tmp_path, "--references", folder / "set")
    assert code == 1 and "fragments: 1 in 1 cluster" in out and "Traceback" not in err
    assert "file stranger.pdb: no reference of this id or sequence" in out
    assert out.count("no file of this id or sequence") == 11


def test_nothing_scored_at_all(folder, tmp_path):
    write_pdb(tmp_path / "stranger.pdb", [native(make_item(seed=99))])
    code, out, _ = run("--predictions", tmp_path, "--references", folder / "set", "--json")
    report = json.loads(out)
    assert (
        code == 1 and report["groups"] == [] and report["judged"] is None and len(report["not_scored"]) == 13
    )
    code, out, _ = run("--predictions", tmp_path, "--references", folder / "set")
    assert code == 1 and "not scored:" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "either a DATASET"),
        (("set", "--predictions", "natives", "--references", "set"), "either a DATASET"),
        (("--predictions", "natives"), "go together"),
        (("--references", "set"), "go together"),
        (("--predictions", "natives", "--references", "set", "--model", "tiny"), "are for a DATASET"),
        (("--predictions", "natives", "--references", "set", "--limit", "3"), "are for a DATASET"),
        (("--predictions", "natives", "--references", "set", "--samples", "5"), "are for a DATASET"),
        (("--predictions", "natives", "--references", "set", "--scope", "5"), "are for a DATASET"),
        (("set", "--samples", "0"), "--samples"),
        (("set", "--scope", "0"), "--scope"),
        (
            ("--predictions", "natives", "--references", "natives", "--split", "test"),
            "--split is for a data set",
        ),
        (("set", "--split", "train"), "'train' is not one of"),
        (("set", "--limit", "0"), "--limit"),
    ],
)
def test_wrong_usage(folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    code, out, err = run(*arguments)
    assert code == 2 and message in err and out == "" and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "--model", "tiny"), "no data set at nowhere"),
        (("set", "--model", "no-such-model"), "no-such-model"),
        (("--predictions", "nowhere", "--references", "set"), "no such file or folder"),
        (("--predictions", "natives", "--references", "nowhere"), "nowhere"),
        (("--predictions", "tiny", "--references", "set"), "no structure file"),
    ],
)
def test_bad_input_is_one_line(folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    code, out, err = run(*arguments)
    assert code == 1 and message in err and out == "" and len(err.splitlines()) == 1
