"""Records of a library: names, errors, fingerprints."""

from hypothesis import given, settings
from hypothesis import strategies as st

from betafold_mlx.fold.output import safe_name
from betafold_mlx.library.records import UniqueNames, fingerprint, in_parts, read_entries
from betafold_mlx.peptide.fasta import parse_fasta


def entries(text):
    return list(read_entries(parse_fasta(text.splitlines())))


def test_equal_names_never_meet():
    names = UniqueNames()
    claimed = [names.claim(x) for x in ("a", "a", "A", "a_2", "a/b", "a b", "a_b")]
    assert claimed == ["a", "a_2", "A_3", "a_2_2", "a_b", "a_b_2", "a_b_3"]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.text("aA_2é/", max_size=4), max_size=60))
def test_names_are_those_of_a_set_that_remembers_all(identifiers):
    names, taken, numbers = UniqueNames(), set(), {}
    for identifier in identifiers:
        base = name = safe_name(identifier)
        while name.casefold() in taken:
            numbers[base.casefold()] = numbers.get(base.casefold(), 1) + 1
            name = f"{base}_{numbers[base.casefold()]}"
        taken.add(name.casefold())
        assert names.claim(identifier) == name


def test_many_equal_names_take_no_longer_each():
    names = UniqueNames()
    claimed = [names.claim("same") for _ in range(20_000)]  # by counting from 1 each time: minutes
    assert len(set(claimed)) == 20_000 and claimed[-1] == "same_20000"


def test_a_record_without_an_id_is_named_by_its_sequence():
    first, second, bad = entries(">\nGIGKFLHS\n>x\nGIGKFLHS\n>\nXX\n")
    assert (first.id, first.name, second.name) == ("GIGKFLHS", "GIGKFLHS", "x")
    assert (bad.id, bad.name, bad.line) == ("record at line 5", "", 5)


def test_the_fingerprint_sees_order_chemistry_and_ids():
    one = entries(">a\nCAAAC\n>b\nGIGKF\n")
    others = [">b\nGIGKF\n>a\nCAAAC\n", ">a cyclic\nCAAAC\n>b\nGIGKF\n", ">c\nCAAAC\n>b\nGIGKF\n"]
    marks = {fingerprint(entries(text)) for text in others} | {fingerprint(one[:1])}
    assert len(marks) == 4 and fingerprint(one) not in marks
    assert fingerprint(one) == fingerprint(entries(">a\nCAAAC\n>b\nGIGKF\n"))


def test_parts_are_full_but_for_the_last():
    assert [len(part) for part in in_parts(iter(entries(">a\nGIGKF\n" * 7)), 3)] == [3, 3, 1]
