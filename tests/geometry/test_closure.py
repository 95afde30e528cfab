"""Stated bonds in coordinates: which atoms are measured, and when a bond counts as formed."""

import numpy as np
import pytest

from betafold_mlx.geometry.closure import DISULFIDE_DISTANCE, RING_DISTANCE, measure_bonds
from betafold_mlx.peptide.sequence import Peptide


def coordinates(**atoms):
    """All atoms of CGGC far apart, but for those given as residue and atom: ``c4=(x, y, z)`` is C of residue 4."""
    names = ["n", "ca", "c", "o", "cb"]
    made = np.arange(60, dtype=np.float32).reshape(4, 5, 3) * 10
    for name, place in atoms.items():
        made[int(name[-1]) - 1, names.index(name[:-1])] = place
    return made


@pytest.mark.parametrize("distance", [RING_DISTANCE[0] - 0.005, 1.33, RING_DISTANCE[1] + 0.005])
def test_a_ring_is_closed_from_the_last_c_to_the_first_n(distance):
    (bond,) = measure_bonds(Peptide("CGGC", cyclic=True), coordinates(n1=(1, 2, 3), c4=(1, 2, 3 + distance)))
    assert (bond.kind, bond.residues, bond.formed) == ("ring", (1, 4), distance == 1.33)
    assert bond.distance == pytest.approx(distance, abs=1e-3)
    assert bond.describe() == f"head-to-tail bond, C-N {bond.distance:.2f} A, wanted 1.31 to 1.35"


@pytest.mark.parametrize("distance", [DISULFIDE_DISTANCE[0] - 0.05, 3.9, DISULFIDE_DISTANCE[1] + 0.05])
def test_a_disulfide_is_measured_between_the_cbs(distance):
    peptide = Peptide("CGGC", disulfides=((1, 4),))
    (bond,) = measure_bonds(peptide, coordinates(cb1=(1, 2, 3), cb4=(1 + distance, 2, 3)))
    assert (bond.kind, bond.residues, bond.formed) == ("disulfide", (1, 4), distance == 3.9)
    assert bond.distance == pytest.approx(distance, abs=1e-3)
    assert bond.describe() == f"disulfide 1-4, CB-CB {bond.distance:.2f} A, wanted 3.4 to 4.5"


def test_the_ring_comes_first_and_nothing_stated_is_nothing():
    both = measure_bonds(Peptide("CGGC", cyclic=True, disulfides=((1, 4),)), coordinates())
    assert [bond.kind for bond in both] == ["ring", "disulfide"] and not any(bond.formed for bond in both)
    assert measure_bonds(Peptide("CGGC"), coordinates()) == ()
