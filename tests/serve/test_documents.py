"""What may be asked of the server: every field, and what is said of a wrong one."""

import pytest

pytest.importorskip("fastapi", reason="serve needs fastapi and uvicorn: the extra serve")

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.serve.documents import BatchRequest, FoldRequest
from betafold_mlx.serve.error_responses import _field_error
from betafold_mlx.serve.fasta_batches import read_records

PEPTIDE = "GRCTKSIPPICFPD"


def refused(document, kind=FoldRequest):
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(document)
    problems = [
        _field_error({**error, "loc": ("body", *error["loc"])}) for error in caught.value.errors()
    ]  # as FastAPI tells them
    return {problem.field: problem.message for problem in problems}


def test_the_least_that_can_be_asked():
    asked = FoldRequest(sequence=" GRCTK SIPPICFPD\n")
    assert asked.peptide() == Peptide.of(PEPTIDE)
    assert (asked.samples, asked.seed, asked.include, asked.keep) == (1, 0, [], False)


def test_all_that_can_be_asked():
    asked = FoldRequest.model_validate(
        {
            "sequence": PEPTIDE,
            "id": " sunflower ",
            "disulfides": [[11, 3]],
            "d_amino_acids": True,
            "n_cap": "ace",
            "c_cap": "NH2",
            "samples": 5,
            "seed": 2**31 - 1,
            "include": ["pdb", "cif"],
            "keep": True,
        }
    )
    assert asked.peptide() == Peptide.of(PEPTIDE, False, ((3, 11),), True, "ACE", "NH2")
    ring = FoldRequest(sequence=PEPTIDE, cyclic=True, disulfides="auto", n_cap=None, c_cap="none")
    assert ring.peptide() == Peptide.of(PEPTIDE, True)


def test_notations_are_read():
    asked = FoldRequest(sequence="Ac-Cys-Lys-Leu-Cys-Ala", c_cap="amide", disulfides=[[1, 4]])
    assert asked.peptide() == Peptide.of("CKLCA", False, [(1, 4)], False, "ACE", "NH2")
    assert FoldRequest(sequence="PEPTIDE1{K.L.A.K}$$$$").peptide() == Peptide.of("KLAK")
    assert "no ends to cap" in refused({"sequence": "cyclo(GIGKFL)", "n_cap": "ACE"})[""]
    assert "2 lines" in refused({"sequence": "GIGKFLHS\nGIGKFLHS"})["sequence"]
    assert "I:ATOM-J:ATOM" in refused({"sequence": "KAAAD", "bonds": ["1-5"]})["bonds"]
    assert "bond '{0}}{x'" in refused({"sequence": "KAAAD", "bonds": ["{0}}{x"]})["bonds"]
    assert "{" in refused({"sequence": "GIG{0}}KF"})["sequence"]
    assert "no atom CZ" in refused({"sequence": "KAAAD", "bonds": ["1:NZ-5:CZ"]})[""]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("sequence", None, "must be text"),
        ("sequence", 5, "must be text"),
        ("sequence", "", "empty"),
        ("sequence", "GRX", "'X' at position 3"),
        ("sequence", "GRK", "3 residues"),
        ("sequence", "A" * 51, "51 residues"),
        ("sequence", "AAAA\ud800", "at position 5"),
        ("id", "AAAA\ud800", "Unicode"),
        ("id", 1, "must be text"),
        ("id", "x" * 201, "longer than 200"),
        ("cyclic", 1, "true or false"),
        ("d_amino_acids", "yes", "true or false"),
        ("keep", None, "true or false"),
        ("disulfides", "3-11", "list of pairs"),
        ("disulfides", [[3]], "list of pairs"),
        ("disulfides", [[3, "11"]], "list of pairs"),
        ("disulfides", [[True, 3]], "list of pairs"),
        ("disulfides", [[3, 4]], "residue 4 is T"),
        ("disulfides", [[3, 99]], "positions run from 1 to 14"),
        ("disulfides", [[3, 11], [11, 3]], "already in another"),
        ("n_cap", "NH2", "not known: write ACE"),
        ("c_cap", 0, "must be text"),
        ("samples", 0, "this must be at least 1"),
        ("samples", True, "whole number"),
        ("samples", None, "whole number"),
        ("seed", -1, "at least 0"),
        ("seed", 2**31, "less than 2147483648"),
        ("seed", 1.5, "whole number"),
        ("include", ["cif", "xyz"], "this must be 'cif' or 'pdb'"),
        ("include", "cif", "must be a list"),
        ("colour", "red", "there is no such field"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_wrong(field, value, words):
    problems = refused({"sequence": PEPTIDE, field: value})
    assert list(problems) == [field] and words in problems[field]


def test_everything_wrong_is_told_at_once():
    problems = refused({"samples": 0, "seed": "x", "disulfides": [[1, 2]], "n_cap": "ACE", "cyclic": True})
    assert set(problems) == {"sequence", "samples", "seed", "cyclic"}
    assert problems["sequence"] == "this is missing" and "no ends to cap" in problems["cyclic"]


def test_fasta():
    records = read_records(">a cyclic\nACDE\nFG\n>b\nKKKK", 2)
    assert [(record.id, record.text, record.line) for record in records] == [
        ("a", "ACDEFG", 1),
        ("b", "KKKK", 4),
    ]
    assert BatchRequest(fasta="KKKK").include == ["cif"]
    assert refused({}, BatchRequest) == {"fasta": "this is missing"}
    assert "Unicode" in refused({"fasta": ">\ud800\nKKKK"}, BatchRequest)["fasta"]


@pytest.mark.parametrize(
    ("fasta", "words"),
    [
        ("\n ; a comment\n", "no records"),
        (">a\0", "binary"),
        (">a\nA\n>b\nA\n>c\nA\n>d\nA", "more than 3 records"),
    ],
)
def test_fasta_that_will_not_do(fasta, words):
    with pytest.raises(RequestValidationError) as caught:
        read_records(fasta, 3)
    (error,) = caught.value.errors()
    assert error["loc"] == ("body", "fasta") and words in error["msg"]
