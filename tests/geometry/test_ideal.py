import numpy as np
import oracles
import pytest

from betafold_mlx.geometry import ideal
from betafold_mlx.peptide.sequence import ALPHABET

OWN = {"N-CA": ideal.N_CA, "CA-C": ideal.CA_C, "C-O": ideal.C_O, "CA-CB": ideal.CA_CB, "C-N": ideal.C_N}
OWN |= {"N-CA-C": ideal.N_CA_C, "N-CA-CB": ideal.N_CA_CB, "C-CA-CB": ideal.C_CA_CB, "C-N-CA": ideal.C_N_CA}


@pytest.mark.parametrize("name", OWN)
def test_values_by_residue_are_those_of_the_second_copy(name):
    expected = [oracles.ideal(name, letter) for letter in ALPHABET]
    np.testing.assert_array_equal(OWN[name], expected)


@pytest.mark.parametrize(("name", "table"), [("CA-C-N", ideal.CA_C_N), ("CA-C-O", ideal.CA_C_O)])
def test_angles_at_c_know_the_next_residue(name, table):
    expected = [[oracles.ideal(name, letter, following) for following in "AP"] for letter in ALPHABET]
    np.testing.assert_array_equal(table, expected)


def test_remaining_angle_at_c_is_the_tabulated_one_but_before_proline():
    table = np.degrees(ideal.O_C_N)
    np.testing.assert_allclose(table[ALPHABET.index("A"), 0], 122.7)
    np.testing.assert_allclose(table[ideal.GLY, 0], 123.2)
    np.testing.assert_allclose(table[:, 1], 122.7)  # Engh & Huber: 121.1, which would not be planar


def test_glycine_and_proline_are_found():
    assert (ALPHABET[ideal.GLY], ALPHABET[ideal.PRO]) == ("G", "P")
