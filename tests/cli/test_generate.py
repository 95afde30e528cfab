"""``generate``: files, messages and exit codes, with traces that are known and with a real, untrained network."""

import functools
import json
import shutil
from pathlib import Path

import cli_helpers
import gemmi
import mlx.core as mx
import pytest
from generate_fakes import BROKEN, GENERATOR, drawn
from structure_helpers import ideal, pdb, rows

from betafold_mlx.cli import generate as generate_module
from betafold_mlx.generate.backbone_files import BackboneWriter
from betafold_mlx.generate.backbones import MAX_MOTIF_RMSD
from betafold_mlx.generate.fit_problem import MAX_OVERLAP, MAX_RMSD
from betafold_mlx.generate.generator_config import MAX_LENGTH, MIN_LENGTH, GeneratorConfig, SamplingConfig
from betafold_mlx.generate.network import BackboneGenerator, save_generator
from betafold_mlx.generate.prompt import MAX_POINTS, MIN_MOTIF, MIN_RANGES
from betafold_mlx.generate.scales import MIN_POINTS
from betafold_mlx.generate.trace_states import CELL
from betafold_mlx.generate.training_split import SHARE
from betafold_mlx.generate.validity import CA_BOND, CA_BOND_TOLERANCE

__all__ = ["drawn"]


call = functools.partial(cli_helpers.run, "generate")


@pytest.fixture
def known(drawn, monkeypatch, tmp_path):
    """The command with the known traces, in a folder of its own."""
    monkeypatch.setattr(generate_module, "load_named_generator", lambda model: GENERATOR)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_samples_are_written_and_told(known):
    (known / "made").mkdir()
    (known / "made" / ".sample_00001.999999999-0123abcd.cif").touch()  # a killed run left it
    code, out, err = call("--length", "12-20", "--num", "4", "--seed", "3", "-o", "made", "--format", "both")
    assert (code, err) == (0, "")
    names = {path.name for path in (known / "made").iterdir()}
    samples = [f"sample_{number:05d}" for number in (1, 2, 3, 4)]
    expected = {f"{name}{suffix}" for name in samples for suffix in (".cif", ".pdb")}
    assert names == expected | {"summary.csv", "generation.json"}
    lines = [line.split() for line in out.splitlines()]
    assert [line[0] for line in lines] == samples
    for line in lines:
        structure = gemmi.read_structure(str(known / line[-1]))
        assert 12 <= len(structure[0]["A"]) == int(line[1]) == len(line[-2]) <= 20
        assert set(line[-2]) <= set("HEC") and line[2] == "fit"


def test_json_is_the_document_and_bytes_repeat(known):
    arguments = ("--length", "14", "--num", "3", "--json")
    code, out, _ = call(*arguments, "-o", "a")
    assert code == 0 and (known / "a" / "generation.json").read_text() == out
    document = json.loads(out)
    assert document["made"] == 3 and document["settings"]["length"] == [14, 14]
    assert document["settings"]["steps"] == SamplingConfig().steps
    call(*arguments, "-o", "b")
    call("--length", "14", "--num", "2", "-o", "c")
    for path in (known / "a").iterdir():
        assert path.read_bytes() == (known / "b" / path.name).read_bytes()
    for name in ("sample_00001.cif", "sample_00002.cif"):
        assert (known / "a" / name).read_bytes() == (known / "c" / name).read_bytes()


def test_a_failed_sample_is_reported_and_the_rest_written(known):
    code, out, err = call("--num", BROKEN + 1, "-o", "made")
    assert code == 1 and len(out.splitlines()) == BROKEN
    first, last = err.splitlines()
    assert first.startswith(f"betafold-mlx: sample_{BROKEN + 1:05d}: the trace is ")
    assert last == f"betafold-mlx: 1 of {BROKEN + 1} samples failed"
    assert len(list((known / "made").glob("*.cif"))) == BROKEN
    assert call("--num", BROKEN + 1, "-o", "kept", "--keep-failed")[0] == 1
    assert len(list((known / "kept").glob("*.cif"))) == BROKEN + 1


def test_prompts_are_passed_on(known):
    (known / "points.csv").write_text("x,y,z\n0,0,0\n8,0,0\n8,9,0\n")
    code, out, _ = call("--length", "16", "--num", "2", "--prompt", "points.csv", "--json")
    assert code == 0 and all(sample["shape_rmsd"] > 0 for sample in json.loads(out)["samples"])
    (known / "helix.pdb").write_text(pdb(rows("A" * 12, ideal("A" * 12))))
    motif = ("--motif", "helix.pdb", "--residues", "A:3-10", "--at", "2")
    code, out, _ = call("--length", "16", "--num", "2", *motif, "--json")
    document = json.loads(out)
    assert code == 0 and document["settings"]["motif"] == {
        "source": "helix.pdb A:3-10",
        "at": 2,
        "residues": 8,
    }
    assert all(sample["motif_rmsd"] < 0.3 for sample in document["samples"])
    ranges = ("--strand", "1-9", "--helix", "12-20")
    code, out, _ = call("--length", "24", "--num", "1", *ranges, "--json")
    document = json.loads(out)
    assert code == 0 and document["settings"]["secondary"] == "EEEEEEEEE--HHHHHHHHH----"
    assert document["samples"][0]["secondary_kept"] > 0.8


def test_rings_say_so_in_their_files(known):
    arguments = ("--cyclic", "--length", "12", "--num", "2", "--format", "both", "--json")
    code, out, err = call(*arguments, "-o", "rings")
    document = json.loads(out)
    assert (code, err) == (0, "") and document["settings"]["cyclic"] is True
    for sample in document["samples"]:
        assert sample["trace"]["valid"]
        for name in sample["files"]:
            structure = gemmi.read_structure(str(known / "rings" / name))
            (link,) = structure.connections
            assert {(p.atom_name, p.res_id.seqid.num) for p in (link.partner1, link.partner2)} == {
                ("C", 12),
                ("N", 1),
            }
            chain = structure[0]["A"]
            assert chain[0]["N"][0].pos.dist(chain[11]["C"][0].pos) == pytest.approx(1.33, abs=0.02)
            assert "Cyclic" in (known / "rings" / name).read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--length", "7"), 2, f"chains have {MIN_LENGTH} to {MAX_LENGTH} residues"),
        (("--length", "40"), 2, f"chains have {MIN_LENGTH} to {MAX_LENGTH} residues"),
        (("--length", "20-12"), 2, "length 20-12: the lower number first"),
        (("--length", "x"), 2, "neither a number of residues nor a range"),
        (("--num", "0"), 2, "--num"),
        (("--residue", "TRP"), 2, "--residue"),
        (("--gamma", "nan"), 2, "gamma"),
        (("--helix", "3-30"), 2, "residues run from 1 to 24"),
        (("--helix", "1-8", "--strand", "6-12"), 2, "overlaps"),
        (("--motif", "helix.pdb"), 2, "--motif needs --residues"),
        (("--residues", "A:1-5"), 2, "go with --motif"),
        (("--at", "9"), 2, "go with --motif"),
        (("--helix", "3-6"), 2, "--helix 3-6: 5 residues or more"),
        (("--strand", "3-5"), 2, "--strand 3-5: 4 residues or more"),
        (("--prompt", "under.csv"), 1, "line 1"),
        (("--prompt", "ring.csv", "--cyclic"), 2, "around their ring"),
        (("--cyclic", "--motif", "helix.pdb", "--residues", "A:1-8"), 2, "in an open chain, not in a ring"),
        (("--motif", "helix.pdb", "--residues", "A:1-12", "--at", "14"), 2, "behind the end of the chain"),
        (
            ("--motif", "helix.pdb", "--residues", "A:1-12", "--length", "10"),
            2,
            "12 residues, and the chain 10",
        ),
        (("--motif", "helix.pdb", "--residues", "A:1-12", "--helix", "4-9"), 2, "inside the motif"),
        (("--motif", "helix.pdb", "--residues", "A:1-50"), 1, "no residue 50"),
        (("--motif", "none.pdb", "--residues", "A:1-5"), 1, "none.pdb"),
        (("--prompt", "none.csv"), 1, "none.csv"),
        (("--prompt", "one.csv"), 1, "has 1 point"),
        (("--prompt", "nan.csv"), 1, "line 2"),
        (("--prompt", "far.csv"), 2, "take a longer chain"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(known, arguments, code, said):
    (known / "helix.pdb").write_text(pdb(rows("A" * 12, ideal("A" * 12))))
    for name, text in (
        ("one", "0,0,0\n"),
        ("nan", "0,0,0\nnan,0,0\n9,9,9\n"),
        ("far", "0,0,0\n90,0,0\n0,90,0\n"),
        ("under", "1_0,0,0\n0,9,0\n0,0,9\n"),
        ("ring", "0,0,0\n30,0,0\n60,0,0\n"),
    ):
        (known / f"{name}.csv").write_text(text)
    found, out, err = call(*arguments, "-o", "made")
    assert (found, out, err.count("\n")) == (code, "", 1) and err.startswith("betafold-mlx: ")
    assert said in err and not (known / "made").exists()


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A small generator, as `train-generator` would write it."""
    directory = tmp_path_factory.mktemp("models") / "tiny-par"
    mx.random.seed(0)
    config = GeneratorConfig(width=16, layers=1, decoder_layers=1, heads=2, ffn_width=32)
    save_generator(directory, BackboneGenerator(config), "card", {"dataset_sha256": "1" * 64})
    return directory


def test_a_real_network_draws_and_its_samples_do_not_depend_on_their_number(tmp_path, untrained):
    """Untrained, it draws no chains: all fail, and are written because that is asked."""
    common = ("--model", untrained, "--length", "10-24", "--steps", "2", "--keep-failed", "--seed", "5")
    for name, count in (("few", 2), ("many", 5)):
        code, _, err = call(*common, "--num", count, "-o", tmp_path / name)
        assert code == 1 and "Traceback" not in err and f"{count} of {count} samples failed" in err
    for path in (tmp_path / "few").glob("*.cif"):
        assert path.read_bytes() == (tmp_path / "many" / path.name).read_bytes()
        assert "model tiny-par" in " ".join(path.read_text().split())
    assert len(list((tmp_path / "many").glob("*.cif"))) == 5


def test_what_an_interrupt_leaves_is_told_in_the_folder(known, monkeypatch):
    write, told = BackboneWriter.write, []

    def interrupted(self, backbone):
        told.append(write(self, backbone))
        if len(told) == 3:
            raise KeyboardInterrupt
        return told[-1]

    monkeypatch.setattr(BackboneWriter, "write", interrupted)
    code, _, err = call("--num", "8", "-o", "made")
    assert code == 130 and "Traceback" not in err
    document = json.loads((known / "made" / "generation.json").read_text())
    assert document["made"] == 3 and document["settings"]["num"] == 8
    assert {path.name for path in (known / "made").glob("*.cif")} == {
        name for sample in document["samples"] for name in sample["files"]
    }
    assert len((known / "made" / "summary.csv").read_text().splitlines()) == 4


def test_one_scale_follows_no_shape_and_leaves_nothing(tmp_path):
    mx.random.seed(0)
    config = GeneratorConfig(scales=1, width=16, layers=1, decoder_layers=1, heads=2, ffn_width=32)
    save_generator(tmp_path / "one", BackboneGenerator(config), "card", {})
    (tmp_path / "bend.csv").write_text("0,0,0\n9,0,0\n9,9,0\n")
    code, _, err = call(
        "--model", tmp_path / "one", "--prompt", tmp_path / "bend.csv", "-o", tmp_path / "made"
    )
    assert code == 1 and err == "betafold-mlx: one has one scale alone, and follows no coarse shape\n"
    assert not (tmp_path / "made").exists()


def test_a_missing_or_wrong_model_is_one_line(tmp_path, monkeypatch, untrained):
    for model, said in (
        (tmp_path / "none", "no model directory"),
        ("betafold-mini", "does not describe a generator"),
        ("", "not a model directory"),
    ):
        code, _, err = call("--model", model, "-o", tmp_path / "made")
        assert code == 1 and err.count("\n") == 1 and said in err
    monkeypatch.setattr("betafold_mlx.fold.registry._WEIGHTS", (tmp_path / "weights",))
    code, _, err = call("-o", tmp_path / "made")
    assert code == 1 and err.count("\n") == 1
    assert "the bundled generator betafold-par is missing" in err
    assert not (tmp_path / "made").exists()
    shutil.copytree(untrained, tmp_path / "weights" / "betafold-par")
    code, _, err = call("-o", tmp_path / "made", "--steps", "1", "--num", "1")
    assert code == 1 and "1 of 1 samples failed" in err


def test_numbers_in_the_help_and_the_docs_are_those_of_the_modules():
    code, out, _ = call("--help")
    words = " ".join(out.split())
    assert code == 0 and f"chains of {MIN_LENGTH} to {MAX_LENGTH} residues" in words
    assert f"{MIN_POINTS} to {MAX_POINTS} lines" in words and f"within {MAX_MOTIF_RMSD:g} A" in words
    docs = " ".join((Path(__file__).parents[2] / "docs" / "generate.md").read_text().split())
    for said in (
        f"Single chains of {MIN_LENGTH} to {MAX_LENGTH} residues, open or closed head to tail",
        f"{MIN_POINTS} to {MAX_POINTS} lines, in Angstrom",
        f"{MIN_MOTIF} or more residues of a PDB or mmCIF file (plain or gzipped), unbroken",
        f"repeatable, at least {MIN_RANGES['H']} and {MIN_RANGES['E']} residues",
        f"above {MAX_MOTIF_RMSD:g} Å the sample fails",
        f"within {MAX_RMSD:g} Å of the trace, if atoms overlap by more than {MAX_OVERLAP:g} Å",
        f"within {CA_BOND:g} ± {CA_BOND_TOLERANCE:g} Å",
        f"cells of {CELL}° of the Ramachandran plot",
        f"smallest region of the Ramachandran plot with {100 * SHARE:.0f} % of all training residues",
    ):
        assert said in docs, said
