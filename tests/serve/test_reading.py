"""Peptides that are read over HTTP, and changed: what the page's row of residues asks."""

import pytest

pytest.importorskip("fastapi", reason="serve needs fastapi and uvicorn: the extra serve")

from serve_helpers import running

from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.serve import reading


@pytest.fixture(scope="module")
def server():
    with running() as made:
        yield made


def read(server, sequence, **asked):
    answer = server.post("/api/v1/read", {"sequence": sequence, **asked})
    assert answer.status == 200, answer.body
    return answer.json


def test_a_peptide_is_read(server):
    assert read(server, " Ac-C(1)KLC(1)[Aib]G-NH2") == {
        "one_letter": "Ac-C(1)KLC(1)[AIB]G-NH2",
        "sequence": "CKLCAG",
        "residues": ["CYS", "LYS", "LEU", "CYS", "AIB", "GLY"],
        "n_cap": "ACE",
        "c_cap": "NH2",
        "cyclic": False,
        "disulfides": [[1, 4]],
        "bonds": [],
        "notes": [],
    }
    ring = read(server, "cyclo(RGDfV)")
    assert ring["cyclic"] and ring["residues"][3] == "DPN"
    assert ring["notes"] == ["lower-case letters read as D residues: 4"]


def test_what_cannot_be_folded_is_read_and_noted(server, monkeypatch):
    monkeypatch.setattr(reading, "unfoldable", lambda peptide: f"cannot fold {peptide.other_bonds[0]}")
    answer = read(server, "GK(1)LAFD(1)G")
    assert answer["bonds"] == ["2:NZ-6:CG"] and answer["notes"] == ["cannot fold 2:NZ-6:CG"]


@pytest.mark.parametrize(
    ("text", "change", "wanted"),
    [
        ("cyclo(RGDfV)", (4, "PHE"), "cyclo(RGDFV)"),
        ("cyclo(RGDFV)", (4, "D-Phe"), "cyclo(RGDfV)"),
        ("Ac-Ala-Lys-Leu-Cys-NH2", (2, "ORN"), "Ac-A[ORN]LC-NH2"),
        ("PEPTIDE1{A.K.L.C}$$$$", (2, "F"), "AFLC"),
        ("C(1)KLC(1)", (4, "D-Cys"), "C(1)KLc(1)"),
        ("GIGKF", (3, "norleucine"), "GI[NLE]KF"),
    ],
)
def test_a_residue_is_changed(server, text, change, wanted):
    answer = read(server, text, change=dict(zip(("place", "residue"), change, strict=True)))
    assert answer["one_letter"] == wanted and answer["residues"] == list(Peptide.parse(wanted).residues)
    before, after = Peptide.parse(text), Peptide.parse(wanted)
    assert (before.bonds, before.n_cap, before.c_cap) == (after.bonds, after.n_cap, after.c_cap)


def test_every_residue_of_the_table_can_be_put_in_its_parents_place(server):
    table = server.ask("GET", "/api/v1/residues").json
    assert {row["code"] for row in table} == set(RESIDUES)
    for row in table:
        change = {"place": 2, "residue": row["code"]}
        answer = read(server, f"A{row['parent']}KA", change=change)
        assert Peptide.parse(answer["one_letter"]).residues[1] == row["code"]
        assert RESIDUES[row["code"]].parent == row["parent"]
    standard = {row["code"] for row in table if not row["modified"]}
    assert len(standard) == 39 and {"ALA", "DAL", "GLY"} < standard


def test_a_peptide_stated_as_all_d_says_it_itself_once_it_is_changed(server):
    answer = read(server, "KLAKLAK", d_amino_acids=True, change={"place": 3, "residue": "ALA"})
    assert answer["residues"] == ["DLY", "DLE", "ALA", "DLY", "DLE", "DAL", "DLY"]
    assert Peptide.parse(answer["one_letter"]).residues == tuple(answer["residues"])


def test_disulfides_are_replaced(server):
    answer = read(server, "C(1)CKLC(1)C", disulfides=[[6, 1], [2, 5]])
    assert (answer["one_letter"], answer["disulfides"]) == ("C(1)C(2)KLC(2)C(1)", [[1, 6], [2, 5]])
    assert read(server, "C(1)CKLC(1)C", disulfides=[])["one_letter"] == "CCKLCC"


@pytest.mark.parametrize(
    ("document", "field", "words"),
    [
        ({"sequence": "GIGX"}, "sequence", "'X' at position 4"),
        ({"sequence": "GIG"}, "sequence", "3 residues"),
        ({"sequence": "GIGK", "change": {"place": 5, "residue": "ALA"}}, "change", "1 to 4"),
        ({"sequence": "GIGK", "change": {"place": 0, "residue": "ALA"}}, "change", "at least 1"),
        ({"sequence": "GIGK", "change": {"place": 2, "residue": "Norleucin"}}, "change", "is Nle meant?"),
        ({"sequence": "GIGK", "change": {"place": 2, "residue": "bAla"}}, "change", "alpha amino acid"),
        ({"sequence": "C(1)KLC(1)", "change": {"place": 4, "residue": "ALA"}}, "change", "no atom SG"),
        ({"sequence": "CKLC", "disulfides": [[1, 2]]}, "disulfides", "residue 2 is LYS"),
        ({"sequence": "CKLC", "disulfides": [[1, 9]]}, "disulfides", "1 to 4"),
        ({"sequence": "CKLC", "grammar": "mine"}, "grammar", "no such field"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(server, document, field, words):
    answer = server.post("/api/v1/read", document)
    assert answer.status == 422 and list(answer.problems) == [field]
    assert words in answer.problems[field] and "\n" not in answer.problems[field]
