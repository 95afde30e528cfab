import numpy as np
import pytest
from structure_helpers import ideal, ring

from betafold_mlx.structure.backbone import backbone_problem, complete_residues, peptide_bonds, ring_closed

SEQUENCE = "GCAACAAC"
ATOMS = ideal(SEQUENCE)[:, :4]


def moved(residue, atom, to):
    atoms = ATOMS.copy()
    atoms[residue, atom] = to
    return atoms


def test_good_backbone_has_no_problem():
    assert backbone_problem(SEQUENCE, ATOMS) is None
    assert backbone_problem(SEQUENCE, ATOMS, [(2, 5)]) is None
    assert backbone_problem("A", ATOMS[:1]) is None


@pytest.mark.parametrize(
    ("sequence", "atoms", "disulfides", "problem"),
    [
        ("", np.zeros((0, 4, 3)), (), "the sequence is empty"),
        ("GCAXCAAC", ATOMS, (), "'X' at position 4 is not one of the 20 standard residues"),
        ("gCAACAAC", ATOMS, (), "'g' at position 1 is not one of the 20 standard residues"),
        ("GCAACAA", ATOMS, (), "96 coordinates for 7 residues: 84 (N, CA, C, O of each) are needed"),
        (SEQUENCE, ATOMS.ravel(), (), "96 coordinates for 8 residues: 96 (N, CA, C, O of each) are needed"),
        (SEQUENCE, moved(3, 2, np.nan), (), "a coordinate is not finite"),
        (SEQUENCE, moved(3, 2, np.inf), (), "a coordinate is not finite"),
        (SEQUENCE, moved(3, 2, -1e4), (), "a coordinate is 10000 A or more"),
        (SEQUENCE, moved(3, 3, 0.0), (), "the backbone atoms of residue 4 are not at bond length"),
        (SEQUENCE, np.zeros((8, 4, 3)), (), "the backbone atoms of residue 1 are not at bond length"),
        (
            SEQUENCE,
            ATOMS + 5.0 * (np.arange(8) > 4)[:, None, None],
            (),
            "the chain is broken between residues 5 and 6",
        ),
        (SEQUENCE, ATOMS, [(5, 2)], "disulfide 5-2: positions run from 1 to 8, the lower first"),
        (SEQUENCE, ATOMS, [(0, 2)], "disulfide 0-2: positions run from 1 to 8, the lower first"),
        (SEQUENCE, ATOMS, [(2, 3)], "disulfide 2-3: not between two cysteines"),
        (SEQUENCE, ATOMS, [(2, 5), (5, 8)], "disulfide 5-8: a cysteine is in two disulfides"),
    ],
)
def test_problems(sequence, atoms, disulfides, problem):
    assert backbone_problem(sequence, atoms, disulfides) == problem


def test_complete_residues():
    atoms = moved(3, 2, np.nan)
    atoms[5, 0] = 2e4
    assert complete_residues(atoms).tolist() == [True, True, True, False, True, False, True, True]


def test_ring():
    atoms = ring(8)[:, :4]
    assert ring_closed(atoms)
    assert peptide_bonds(atoms).all()
    assert not ring_closed(atoms[:-1])
    assert not ring_closed(ATOMS)
    assert not ring_closed(ring(3)[:, :4])
