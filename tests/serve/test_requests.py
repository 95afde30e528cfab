"""What may be asked of the server: every field, and what is said of a wrong one."""

import pytest

pytest.importorskip("starlette", reason="serve needs starlette and uvicorn: the extra serve")

from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.serve.limits import Limits
from betafold_mlx.serve.problems import RequestError
from betafold_mlx.serve.requests import FoldRequest, batch_request, fold_request

PEPTIDE = "GRCTKSIPPICFPD"
LIMITS = Limits(samples=5, records=3)


def refused(document, check=fold_request):
    with pytest.raises(RequestError) as caught:
        check(document, LIMITS)
    assert caught.value.status == 422
    assert caught.value.document()["error"]["message"] == caught.value.message
    return {problem.field: problem.message for problem in caught.value.problems}


def test_the_least_that_can_be_asked():
    assert fold_request({"sequence": " grctk SIPPICFPD\n"}, LIMITS) == FoldRequest(Peptide(PEPTIDE), PEPTIDE)


def test_all_that_can_be_asked():
    asked = fold_request(
        {
            "sequence": PEPTIDE,
            "id": " sunflower ",
            "disulfides": [[11, 3]],
            "d_amino_acids": True,
            "n_cap": "ace",
            "c_cap": "NH2",
            "samples": 5.0,
            "seed": 2**31 - 1,
            "include": ["pdb", "cif", "pdb"],
            "keep": True,
        },
        LIMITS,
    )
    peptide = Peptide(PEPTIDE, False, ((3, 11),), True, "ACE", "NH2")
    assert asked == FoldRequest(peptide, "sunflower", False, 5, 2**31 - 1, ("pdb", "cif"), True)
    ring = fold_request({"sequence": PEPTIDE, "cyclic": True, "disulfides": "auto", "n_cap": None}, LIMITS)
    assert ring.peptide == Peptide(PEPTIDE, True) and ring.auto_disulfides


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("sequence", None, "must be text"),
        ("sequence", 5, "must be text"),
        ("sequence", "", "empty"),
        ("sequence", "GRX", "'X' at position 3"),
        ("sequence", "GRK", "4 to 32"),
        ("sequence", "A" * 33, "4 to 32"),
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
        ("n_cap", "NH2", "ACE or none"),
        ("c_cap", 0, "must be text"),
        ("samples", 0, "from 1 to 5"),
        ("samples", 6, "from 1 to 5"),
        ("samples", True, "from 1 to 5"),
        ("samples", None, "from 1 to 5"),
        ("seed", -1, "from 0 to"),
        ("seed", 2**31, "from 0 to"),
        ("seed", 1.5, "from 0 to"),
        ("include", ["cif", "xyz"], "list of cif and pdb"),
        ("include", "cif", "list of cif and pdb"),
        ("include", [["cif"]], "list of cif and pdb"),
        ("cycle", True, "is cyclic meant?"),
        ("colour", "red", "known are sequence"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_wrong(field, value, words):
    problems = refused({"sequence": PEPTIDE, field: value})
    assert list(problems) == [field] and words in problems[field]


def test_everything_wrong_is_told_at_once():
    problems = refused({"samples": 0, "seed": "x", "disulfides": [[1, 2]], "n_cap": "ACE", "cyclic": True})
    assert set(problems) == {"sequence", "samples", "seed", "cyclic"}
    assert problems["sequence"] == "this is missing" and "no ends to cap" in problems["cyclic"]


def test_thousands_of_unknown_fields_are_not_all_told():
    assert len(refused({"sequence": PEPTIDE, **{f"x{number}": 0 for number in range(5000)}})) == 5


def test_fasta():
    asked = batch_request({"fasta": ">a cyclic\nACDE\nFG\n>b\nKKKK", "samples": 2, "include": []}, LIMITS)
    assert [(record.id, record.text, record.line) for record in asked.records] == [
        ("a", "ACDEFG", 1),
        ("b", "KKKK", 4),
    ]
    assert (asked.samples, asked.seed, asked.include, asked.auto_disulfides) == (2, 0, (), False)
    assert batch_request({"fasta": "KKKK"}, LIMITS).include == ("cif",)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "missing"),
        ({"fasta": "\n ; a comment\n"}, "no records"),
        ({"fasta": ">a\0"}, "binary"),
        ({"fasta": ">a\nA\n>b\nA\n>c\nA\n>d\nA"}, "more than 3 records"),
    ],
)
def test_fasta_that_will_not_do(document, words):
    assert words in refused(document, batch_request)["fasta"]
