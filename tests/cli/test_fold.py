"""`betafold-mlx fold` as a user calls it: a process with arguments, files, exit codes."""

import csv
import gzip
import json
import math
import os
import shlex
import subprocess
import sys
from pathlib import Path

import gemmi
import pytest
from cli_helpers import command, error_line

from betafold_mlx.cli.main import main
from betafold_mlx.fold import closing, ensemble

MAGAININ = "GIGKFLHSAKKFGKAFVGEIMNS"


@pytest.fixture
def run(tmp_path, model, monkeypatch, capsys):
    """Call the command line: here, or in a process of its own where streams or the environment are what matters."""

    def call(*arguments, stdin=None, with_model=True, shell="", env=None):
        if with_model and arguments[:1] == ("fold",):
            arguments = (*arguments, "--model", str(model))
        if stdin is None and not shell and env is None:
            return here(arguments)
        words = command(*arguments)
        if shell:  # what only a shell does to a command: redirections
            words = ["bash", "-c", f"{shlex.join(words)} {shell}"]
        environment = {**os.environ, **(env or {})}
        done = subprocess.run(words, cwd=tmp_path, input=stdin, capture_output=True, env=environment)
        assert b"Traceback" not in done.stderr
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def here(arguments):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return call


def test_one_sequence(run, tmp_path):
    (tmp_path / f".{MAGAININ}.999999999-0123abcd.cif").touch()  # a killed run left it
    code, out, err = run("fold", MAGAININ)
    assert (code, err) == (0, "")
    assert out.split()[:2] == [MAGAININ, "23"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{MAGAININ}.cif", f"{MAGAININ}.json"]
    document = json.loads((tmp_path / f"{MAGAININ}.json").read_text())
    assert document["sequence"] == MAGAININ and len(document["plddt"]) == 23
    assert document["torsions"]["phi"][0] is None and document["torsions"]["psi"][-1] is None
    assert document["model"]["name"] == "toy" and len(document["model"]["sha256"]) == 64
    assert set(document["versions"]) == {"betafold-mlx", "mlx", "python"}


def test_options(run, tmp_path):
    code, out, _ = run(
        "fold", "gigkflh sakkf", "-o", "out/deep", "--format", "both", "--samples", "3", "--seed", "7", "--json"
    )  # fmt: skip
    (result,) = json.loads(out)["results"]
    assert code == 0 and len(result["models"]) == 3 and result["seed"] == 7
    assert [m["rank"] for m in result["models"]] == [1, 2, 3]
    names = sorted(p.name for p in (tmp_path / "out" / "deep").iterdir())
    assert names == [f"GIGKFLHSAKKF.{suffix}" for suffix in ("cif", "json", "pdb")]
    pdb = (tmp_path / "out" / "deep" / "GIGKFLHSAKKF.pdb").read_text()
    assert pdb.count("\nMODEL ") + pdb.startswith("MODEL ") == 3


def test_runs_repeat_byte_for_byte(run, tmp_path):
    for folder in ("a", "b"):
        run("fold", MAGAININ, "-o", folder, "--samples", "2", "--format", "both")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_unmet_chemistry_is_said_and_fails(run, monkeypatch):
    """A search that is given no time to close anything: what it did not make is said."""
    monkeypatch.setattr(ensemble, "ATTEMPTS", 1)
    monkeypatch.setattr(ensemble, "BONDED_STEPS", 1)
    monkeypatch.setattr(closing, "ROUNDS", 0)
    arguments = ("GRCTKSIPPICFPD", "--cyclic", "--disulfide", "3-11")
    code, out, err = run("fold", *arguments, "--json")
    (result,) = json.loads(out)["results"]
    assert code == 1 and err.count("not formed") == 2
    bonds = result["models"][0]["stated_bonds"]
    assert [bond["kind"] for bond in bonds] == ["ring", "disulfide"]
    assert not any(bond["formed"] for bond in bonds)
    assert all(math.isfinite(bond["distance"]) for bond in bonds)


def test_stated_chemistry_is_made(run):
    arguments = ("GRCTKSIPPICFPD", "--cyclic", "--disulfide", "3-11", "--samples", "3", "--json")
    code, out, err = run("fold", *arguments)
    (result,) = json.loads(out)["results"]
    assert (code, err) == (0, "")
    for model in result["models"]:
        ring, bridge = model["stated_bonds"]
        assert ring["formed"] and abs(ring["distance"] - 1.33) < 0.02
        assert bridge["formed"] and abs(bridge["distance"] - 2.05) <= 0.06
        assert all(value is not None for angles in model["torsions"].values() for value in angles)
    assert result["disulfide_pairings"] == []
    assert result["models"][0]["cluster"] == 1 and len(result["spread"]) == 14


def test_cysteines_are_paired_as_the_model_prefers(run):
    code, out, err = run("fold", "GCCSDPRCAWRC", "--json")
    (told,) = json.loads(out)["results"]
    assert (
        code == 0
        and "so the cysteines are free; disulfide auto would bond" in err
        and told["disulfides"] == []
    )
    code, out, err = run("fold", "GCCSDPRCAWRC", "--disulfide", "auto", "--json")
    (result,) = json.loads(out)["results"]
    assert "bonded as the model prefers: 2-8,3-12, with" in err and "as in alpha-conotoxin" in err
    ways = result["disulfide_pairings"]
    assert ways[0]["disulfides"] == [[2, 8], [3, 12]] and ways[0]["probability"] > 0.5
    assert ways[0]["frameworks"][0]["source"] and not ways[1]["frameworks"]
    assert ways == told["disulfide_pairings"] and len(ways) == 3
    assert result["disulfides"] == ways[0]["disulfides"]
    assert sum(way["probability"] for way in ways) == pytest.approx(1, abs=1e-3)
    code, _, err = run("fold", "GCCSDPRCAWRC", "--disulfide", "auto", "--disulfide", "2-8")
    assert code == 2 and "do not go together" in err


def test_relaxed_models_have_hydrogens(run, tmp_path):
    pytest.importorskip("openmm")
    arguments = ("GCPKDA", "--relax", "--ph", "3", "--json", "--format", "pdb")
    code, out, _ = run("fold", *arguments, with_model=False)
    (result,) = json.loads(out)["results"]
    assert code == 0 and result["relaxation"]["ph"] == 3
    figures = result["models"][0]["relaxation"]
    assert (
        figures["energy_after"] < figures["energy_before"] and 0 < figures["rmsd"] < figures["largest_move"]
    )
    atoms = [each.atom.name for each in gemmi.read_pdb(str(tmp_path / "GCPKDA.pdb"))[0].all()]
    assert {"HZ3", "HD2", "OXT", "HA"} <= set(atoms)


def test_fasta_is_relaxed_too(run, tmp_path):
    pytest.importorskip("openmm")
    (tmp_path / "two.fasta").write_text(">a\nGAKDA\n>b\nGA[NLE]A\n")
    code, _, _ = run("fold", "two.fasta", "--relax", "--processes", "1", with_model=False)
    a, b = (json.loads((tmp_path / f"{name}.json").read_text()) for name in "ab")
    assert code == 0 and a["relaxation"]["ph"] == 7 and b["relaxation"] is None
    assert any("no NLE at 3" in warning for warning in b["warnings"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["GCPKAD", "--relax", "--atoms", "backbone"], "leave out --atoms"),
        (["-", "--relax", "--output-format", "jsonl"], "does not go with jsonl"),
        (["GCPKAD", "--relax", "--ph", "15"], "--ph"),
    ],
)
def test_what_relax_does_not_go_with(run, arguments, message):
    pytest.importorskip("openmm")
    code, out, err = run("fold", *arguments)
    assert code == 2 and not out and message in err


def test_relax_without_openmm(run, monkeypatch):
    monkeypatch.setattr("betafold_mlx.fold.relax.find_spec", lambda name: None)
    code, out, err = run("fold", "GCPKAD", "--relax")
    assert code == 2 and not out and "pip install 'betafold-mlx[relax]'" in err


def test_auto_in_fasta_leaves_stated_disulfides(run, tmp_path):
    fasta = tmp_path / "two.fasta"
    fasta.write_text(">a\nGCCSDPRCAWRC\n>b disulfides=2-8,3-12\nGCCSDPRCAWRC\n")
    _, out, _ = run("fold", str(fasta), "--disulfide", "auto", "--json")
    first, second = json.loads(out)["results"]
    assert len(first["disulfides"]) == 2 and second["disulfides"] == [[2, 8], [3, 12]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fold", ""], "empty"),
        (["fold", "GIGXF"], "'X' at position 4"),
        (["fold", "GIG4F"], "'4'"),
        (["fold", "GIGKFß"], "'ß' at position 6"),
        (["fold", "GIG"], "3 residues"),
        (["fold", "A" * 51], "51 residues"),
        (["fold", "A" * 3000], "3000 residues"),
        (["fold", MAGAININ, "--disulfide", "1-2"], "not C"),
        (["fold", MAGAININ, "--disulfide", "one"], "I-J"),
        (["fold", MAGAININ, "--n-cap", "NH2"], "--n-cap"),
        (["fold", MAGAININ, "--c-cap", "ACE"], "--c-cap"),
        (["fold", MAGAININ, "--cyclic", "--n-cap", "ACE"], "no ends to cap"),
        (["fold", MAGAININ, "--d-amino-acid=yes"], "--d-amino-acid"),
        (["fold", MAGAININ, "--samples", "0"], "samples"),
        (["fold", MAGAININ, "--format", "xyz"], "format"),
        (["fold", MAGAININ, "--output-format", "jsonl"], "--output-format jsonl is for FASTA"),
        (
            ["fold", "-", "--output-format", "jsonl", "--format", "pdb"],
            "--format is of files of each peptide",
        ),
        (["fold", MAGAININ, "--batch-size", "0"], "0 is not in the range 1<=x<=1024"),
        (["fold", MAGAININ, "--batch-size", "many"], "'many' is not a valid number or auto"),
        (["fold", "missing.fasta"], "no FASTA file"),
        (["fold", "some/where"], "no FASTA file"),
        (["fold", "missing.fasta.gz"], "no FASTA file"),
        (["fold", "."], "folder"),
        (["fold"], "PEPTIDE"),
        (["fold", MAGAININ, "--colour"], "--colour"),
        (["unfold"], "unfold"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(run, tmp_path, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "") and message in error_line(err)
    assert list(tmp_path.iterdir()) == []


FASTA = f""">first
{MAGAININ}
>first again
GIGKFLHSAKKF
>bad
GIGX
>../../escape
SWTWEGNKWTWK
>
KTWNPATGKWTE
>empty
>mélittine β
GIGAVLKVLTTGLPALISWIKRKRQQ
>ring cyclic disulfides=3-11
GRCTKSIPPICFPD
"""


def test_a_fasta_file(run, tmp_path):
    (tmp_path / "in.fasta").write_text(FASTA, encoding="utf-8")
    code, out, err = run("fold", "in.fasta", "-o", "out", "--json")
    document = json.loads(out)
    assert code == 1
    ids = [result["id"] for result in document["results"]]
    assert ids == ["first", "first", "../../escape", "KTWNPATGKWTE", "mélittine", "ring"]
    assert [error["id"] for error in document["errors"]] == ["bad", "empty"]
    assert "bad: 'X' at position 4" in err and "empty: the sequence is empty" in err
    names = sorted(p.name for p in (tmp_path / "out").iterdir() if p.suffix == ".cif")
    stems = ("KTWNPATGKWTE", "_.._escape", "first", "first_2", "melittine", "ring")
    assert names == [f"{stem}.cif" for stem in stems]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.fasta", "out"]
    with (tmp_path / "out" / "summary.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [
        *("first", "first", "bad", "../../escape", "KTWNPATGKWTE", "empty", "mélittine", "ring")
    ]
    assert [row["status"] for row in rows].count("failed") == 2 and len(rows) == 8
    with (tmp_path / "out" / "errors.csv").open(encoding="utf-8") as file:
        errors = list(csv.DictReader(file))
    assert [(row["id"], row["line"]) for row in errors] == [("bad", "5"), ("empty", "11")]
    assert [row["error"] for row in errors] == [row["message"] for row in rows if row["status"] == "failed"]
    assert document["results"][-1]["cyclic"] is True


def test_d_residues_and_caps(run, tmp_path):
    options = ["--d-amino-acids", "--n-cap", "ace", "--c-cap", "NH2", "--format", "both", "--json"]
    code, out, _ = run("fold", "KLAKLAKKLAKLAK", *options)
    (result,) = json.loads(out)["results"]
    assert code == 0 and result["d_amino_acids"] is True and len(result["plddt"]) == result["length"] == 14
    assert result["caps"] == {"n": "ACE", "c": "NH2", "modelled": False}
    for suffix in ("cif", "pdb"):
        structure = gemmi.read_structure(str(tmp_path / f"KLAKLAKKLAKLAK.{suffix}"))
        names = [residue.name for residue in structure[0]["A"]]
        assert names[:4] == ["ACE", "DLY", "DLE", "DAL"] and names[-1] == "NH2" and len(names) == 16


def test_d_residues_and_caps_in_fasta(run, tmp_path):
    words = ["all-d", "n-cap=ACE c-cap=none", "all-d c-cap=nh2", ""]
    words += ["n-cap=Fmoc", "cyclic c-cap=NH2", "ncap=ACE"]
    text = "".join(f">p{number} {word}\nGIGKFLHSAKKF\n" for number, word in enumerate(words))
    (tmp_path / "in.fasta").write_text(text)
    code, out, err = run("fold", "in.fasta", "--json")
    document = json.loads(out)
    assert code == 1 and [e["id"] for e in document["errors"]] == ["p4", "p5", "p6"]
    lines = err.splitlines()
    named = [line.split(": ")[1] for line in lines]
    assert [name for name in named if name in ("p4", "p5", "p6")] == ["p4", "p5", "p6"]
    for message in (
        "p4: n-cap 'Fmoc' is not in the table",
        "p5: a cyclic peptide has no ends",
        "is n-cap meant?",
    ):
        assert sum(message in line for line in lines) == 1
    results = document["results"]
    assert [r["d_amino_acids"] for r in results] == [True, False, True, False]
    assert [(r["caps"]["n"], r["caps"]["c"]) for r in results] == [
        (None, None),
        ("ACE", None),
        (None, "NH2"),
        (None, None),
    ]
    with (tmp_path / "summary.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["chemistry"] for row in rows] == ["all-d", "n-cap=ACE", "all-d c-cap=NH2", "", "", "", ""]
    assert rows[2]["files"] == "p2.cif p2.json" and rows[4]["status"] == "failed"


def test_notations(run, tmp_path):
    code, out, err = run("fold", "Ac-Lys-Leu-Ala-Lys-NH2", "--json", "--candidates", "1")
    (result,) = json.loads(out)["results"]
    assert code == 0 and result["caps"] == {"n": "ACE", "c": "NH2", "modelled": False}
    assert result["residues"] == ["LYS", "LEU", "ALA", "LYS"] and result["bonds"] == []
    helm = "PEPTIDE1{C.K.L.C.A}$PEPTIDE1,PEPTIDE1,1:R3-4:R3$$$"
    code, out, err = run("fold", helm, "--n-cap", "acetyl", "--json", "--candidates", "1")
    (result,) = json.loads(out)["results"]
    assert result["disulfides"] == [[1, 4]] and result["caps"]["n"] == "ACE"
    code, out, err = run("fold", "klaklak", "--json", "--candidates", "1")
    (result,) = json.loads(out)["results"]
    note = "all letters are lower case: read as L residues"
    assert code == 0 and result["sequence"] == "KLAKLAK"
    assert result["warnings"][0].startswith(note) and f"KLAKLAK: {note}" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["KAAAD", "--bond", "1:NZ-5:CZ"], "ASP at 5 has no atom CZ"),
        (["KAAAD", "--bond", "1-5"], "I:ATOM-J:ATOM"),
        (["PEPTIDE1{A.C.D.E}12341234"], "single quotes"),
        (["GIGKFLHS\nGIGKFLHS"], "2 lines"),
        (["GIGKF:LHSAK"], "second chain"),
    ],
)
def test_what_cannot_be_read_is_one_line(run, arguments, message):
    code, out, err = run("fold", *arguments)
    assert (code, out) == (2, "") and message in error_line(err)


def test_lists_of_peptides_and_notes_of_records(run, tmp_path):
    code, _, _ = run("fold", "-", "--candidates", "1", stdin=b"GIGKFLHS\nGly-Ile-Gly-Lys-Phe\n")
    assert code == 0 and (tmp_path / "GIGKFLHS.cif").exists() and (tmp_path / "GIGKF.cif").exists()
    text = ">a ring of lions\nGIGKFLHS\n>b cyclic, amidated\nGIGKFLHS\n>c|cyclic\nGIGKFLHS\n"
    code, out, err = run("fold", "-", "--json", "--candidates", "1", stdin=text.encode())
    document = json.loads(out)
    assert code == 1 and [error["id"] for error in document["errors"]] == ["b"]
    assert "a: not read as chemistry in the header: ring" in err
    first, third = document["results"]
    assert first["warnings"][0].startswith("not read as chemistry") and third["cyclic"] is True


def test_standard_input(run, tmp_path):
    code, out, _ = run("fold", "-", stdin=b">x\nGIGKFLHSAKKF\n")
    assert code == 0 and out.startswith("x ") and (tmp_path / "x.cif").exists()
    code, _, _ = run("fold", "-", stdin=b"GIGKFLHSAKKF\n")
    assert code == 0 and (tmp_path / "GIGKFLHSAKKF.cif").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no FASTA records"),
        (b"\n\n", "no FASTA records"),
        (bytes(range(256)), "not"),
        (b"\x1f\x8b\x08", "gzip"),
        (gzip.compress(b">a\nGIGKFLHSAKKF\n" * 9, mtime=0)[:-9], "gzip"),
        ("\ufeff>a\nGIGKFLHSAKKF\n".encode("utf-16-le"), "binary"),
    ],
)
def test_empty_and_binary_files(run, tmp_path, content, message):
    (tmp_path / "in.fasta").write_bytes(content)
    code, _, err = run("fold", "in.fasta", "-o", "out")
    assert code == 1 and message in error_line(err)


def test_a_file_that_turns_binary_keeps_what_came_before(run, tmp_path):
    (tmp_path / "in.fasta").write_bytes(b">a\nGIGKFLHSAKKF\n>b\nKTWNPATGKWTE\n>c\nAC\0DE\n")
    code, _, err = run("fold", "in.fasta", "-o", "out")
    assert code == 1 and "binary" in error_line(err)
    assert (tmp_path / "out" / "a.cif").exists()


def test_options_for_one_peptide_do_not_go_with_fasta(run, tmp_path):
    (tmp_path / "in.fasta").write_text(FASTA, encoding="utf-8")
    for options in (["--cyclic"], ["--d-amino-acids"], ["--n-cap", "ACE"], ["--c-cap", "nh2"]):
        code, _, err = run("fold", "in.fasta", *options)
        assert code == 2 and "headers" in error_line(err)


def test_missing_and_damaged_models(run, tmp_path, model):
    for name in ("nowhere", "n" * 5000):
        code, _, err = run("fold", MAGAININ, "--model", name, with_model=False)
        assert code == 1 and f"no model directory at {name}" in error_line(err)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "config.json").write_bytes((model / "config.json").read_bytes())
    weights = (model / "model.safetensors").read_bytes()
    (damaged / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    code, _, err = run("fold", MAGAININ, "--model", "damaged", with_model=False)
    assert code == 1 and "not a whole safetensors file" in error_line(err)


@pytest.mark.parametrize("source", [MAGAININ, "in.fasta"])
def test_an_unwritable_output(run, tmp_path, source):
    (tmp_path / "in.fasta").write_text(FASTA, encoding="utf-8")
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    for folder in ("file/sub", "link"):
        code, out, err = run("fold", source, "-o", folder, "--json")
        assert (code, out) == (1, "") and "cannot write" in error_line(err)


def test_a_file_that_cannot_be_written_costs_only_its_record(run, tmp_path):
    (tmp_path / "in.fasta").write_text("".join(f">{name}\nGIGKFLHSAKKF\n" for name in "abc"))
    (tmp_path / "out" / "b.cif").mkdir(parents=True)
    code, out, err = run("fold", "in.fasta", "-o", "out", "--json")
    document = json.loads(out)
    assert code == 1 and [result["id"] for result in document["results"]] == ["a", "c"]
    assert [error["id"] for error in document["errors"]] == ["b"]
    assert error_line(err).startswith("betafold-mlx: b: cannot write out/b.cif")


def test_a_table_that_cannot_be_written_is_found_before_the_work(run, tmp_path):
    (tmp_path / "in.fasta").write_text(">a\nGIGKFLHSAKKF\n")
    (tmp_path / "out" / "summary.csv").mkdir(parents=True)
    code, out, err = run("fold", "in.fasta", "-o", "out", "--json")
    assert (code, out) == (1, "") and "cannot write out/summary.csv" in error_line(err)
    assert not list((tmp_path / "out").glob("*.cif"))


def test_fasta_from_a_pipe_gzipped_and_latin_1(run, tmp_path):
    latin = ">a\nGIGKFLHSAKKF\n>mélittine\nGIGKFLHSAKKF\n>c\nGIGKFLHSAKKÉ\n".encode("latin-1")
    (tmp_path / "in.fasta.gz").write_bytes(gzip.compress(latin))
    for source, stdin in (
        ("in.fasta.gz", None),
        ("-", latin),
        ("-", gzip.compress(latin)),
        ("/dev/stdin", latin),
    ):
        code, out, err = run("fold", source, stdin=stdin)
        assert code == 1 and [line.split()[0] for line in out.splitlines()] == ["a", "m\ufffdlittine"]
        assert "c: '\ufffd' at position 12" in error_line(err)


def test_a_folder_named_like_the_peptide_is_no_input(run, tmp_path):
    for _ in range(2):
        assert run("fold", MAGAININ, "-o", MAGAININ)[0] == 0
    assert (tmp_path / MAGAININ / f"{MAGAININ}.cif").exists()


def test_names_cannot_steer_the_terminal_nor_flood_it(run, tmp_path):
    (tmp_path / "in.fasta").write_text(
        f">a\x1b[31m\nGIGKFLHSAKKF\n>{'n' * 9999}\nGIGKFLHSAKKF\n>\x1b[2Jb\nX\n"
    )
    code, out, err = run("fold", "in.fasta")
    assert code == 1 and "\x1b" not in out + err and len(out) < 500
    assert "?[2Jb: " in error_line(err)


@pytest.mark.parametrize("redirection", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing(run, tmp_path, redirection):
    code, _, err = run("fold", "GIGK", shell=redirection)
    assert code == 0 and len(err.splitlines()) <= 1
    assert (tmp_path / "GIGK.cif").exists() and (tmp_path / "GIGK.json").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output(run, tmp_path):
    code, _, err = run("fold", MAGAININ, "--json", shell=">/dev/full")
    assert code == 1 and "cannot write to standard output: No space left" in error_line(err)
    assert (tmp_path / f"{MAGAININ}.cif").exists()


def test_a_reader_that_leaves_is_no_complaint(run, tmp_path):
    (tmp_path / "in.fasta").write_text(f">{'n' * 99}\nGIGKFLHSAKKF\n" * 3)
    _, out, err = run("fold", "in.fasta", shell="| true; echo ${PIPESTATUS[0]}")
    assert out in ("0\n", "1\n") and err == ""
    assert len((tmp_path / "summary.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_json_is_utf_8_in_every_locale(run, tmp_path, encoding):
    (tmp_path / "in.fasta").write_text(">日本é😀\nGIGKFLHSAKKF\n", encoding="utf-8")
    environment = {"PYTHONIOENCODING": encoding, "LC_ALL": "C"}
    code, out, _ = run("fold", "in.fasta", "-o", "å", "--json", env=environment)
    (result,) = json.loads(out)["results"]
    assert code == 0 and result["id"] == "日本é😀" and (tmp_path / result["files"][0]).is_file()


@pytest.mark.parametrize("module", ["mlx.core", "gemmi"])
def test_an_interrupt_while_modules_load_waits_for_them(tmp_path, module):
    program = (
        "import os, signal, sys, types\nfrom betafold_mlx.cli import main\n"
        "class Loader:\n"
        "    def find_spec(self, name, *rest):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT); print('loading')\n"
        "sys.meta_path.insert(0, Loader())\n"
        "main.main(['fold', 'GIGKFLHSAKKF'])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    # MLX is looked for twice: `betafold_mlx` takes its import over, to give it a fast BLAS.
    assert (done.returncode, {*done.stdout.split()}) == (130, {"loading"})
    assert done.stderr.split("\n") == ["", "betafold-mlx: interrupted", ""]


@pytest.mark.parametrize("options", [[], ["--model", "betafold-mini"]])
def test_fold_imports_no_more_than_it_needs(options, tmp_path):
    """Neither torch nor transformers, nor ESM-2 where the model does without."""
    bundled = Path(__file__).parents[2] / "weights" / "betafold-mini"
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "betafold-mini").symlink_to(bundled)  # and nothing that is installed here
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from betafold_mlx.fold import registry as zoo\nzoo._WEIGHTS = (Path('weights'),)\n"
        "from betafold_mlx.cli.main import main\n"
        f"try: main(['fold', '{MAGAININ}', *{options!r}])\nexcept SystemExit as e: assert not e.code\n"
        "heavy = {'torch', 'transformers', 'huggingface_hub', 'scipy', 'biotite', 'pandas', 'pyarrow', 'fastapi'}\n"
        "heavy |= {'pydantic', 'jinja2', 'matplotlib', 'distributed', 'betafold_mlx.esm', 'betafold_mlx.data'}\n"
        "heavy |= {'betafold_mlx.model.' + name for name in ('pairformer', 'triangle')}\n"
        "heavy |= {'betafold_mlx.structure.' + name for name in ('jsonl', 'reader')}\n"
        "heavy &= set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True)


def test_no_temporary_folder_and_no_compiler_are_needed(run, tmp_path):
    code, _, err = run(
        "fold", MAGAININ, "--samples", "2", env={"TMPDIR": str(tmp_path / "nowhere"), "PATH": ""}
    )
    assert (code, err) == (0, "")


def test_help_and_version(run):
    for arguments, heading in (((), "Fold:"), (("dataset",), "Commands:")):
        code, out, err = run(*arguments)
        assert (code, err) == (2, "") and out.startswith("Usage: ") and heading in out
    code, out, _ = run("--help")
    assert code == 0 and out.index("fold") < out.index("train") < out.index("evaluate")
    code, out, _ = run("--version")
    assert code == 0 and out.startswith("betafold-mlx, version ")
    code, out, _ = run("fold", "--help", with_model=False)
    assert code == 0 and "--disulfide" in out and "--d-amino-acids" in out
    assert "Caps are not modelled" in " ".join(out.split())
