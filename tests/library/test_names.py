"""Names of records: none twice, few bytes each."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betafold_mlx.fold.output import safe_name
from betafold_mlx.library.names import Names


def test_equal_names_never_meet():
    names = Names()
    claimed = [names.claim(x) for x in ("a", "a", "A", "a_2", "a/b", "a b", "a_b")]
    assert claimed == ["a", "a_2", "A_3", "a_2_2", "a_b", "a_b_2", "a_b_3"]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.text("aA_2é/", max_size=4), max_size=60))
def test_names_are_those_of_a_set_that_remembers_all(identifiers):
    names, taken, numbers = Names(), set(), {}
    for identifier in identifiers:
        base = name = safe_name(identifier)
        while name.casefold() in taken:
            numbers[base.casefold()] = numbers.get(base.casefold(), 1) + 1
            name = f"{base}_{numbers[base.casefold()]}"
        taken.add(name.casefold())
        assert names.claim(identifier) == name


def test_many_equal_names_take_no_longer_each():
    names = Names()
    claimed = [names.claim("same") for _ in range(20_000)]  # by counting from 1 each time: minutes
    assert len(set(claimed)) == 20_000 and claimed[-1] == "same_20000"


@pytest.mark.parametrize("count", [1_000, 50_000])
def test_a_name_takes_few_bytes(count):
    names = Names()
    assert len({names.claim(f"peptide{k}") for k in range(count)}) == count
    table = names._last
    size = sum(array.buffer_info()[1] * array.itemsize for array in (table._keys, table._values))
    assert size <= 48 * count
