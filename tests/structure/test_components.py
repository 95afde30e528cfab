"""Names of residues and caps against the wwPDB Chemical Component Dictionary, as biotite and gemmi carry it."""

import warnings

import biotite.structure.info as ccd
import gemmi
import numpy as np
import pytest

from betafold_mlx.peptide.chemistry import C_CAPS, N_CAPS
from betafold_mlx.peptide.sequence import ALPHABET, D_THREE_LETTER, THREE_LETTER
from betafold_mlx.structure.components import CAP_ATOMS, monomers


def heavy_atoms(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # some hydrogens have no coordinates
        component = ccd.residue(name, allow_missing_coord=True)
    heavy = component[component.element != "H"]
    assert np.isfinite(heavy.coord).all()
    return heavy


def volume(atoms, centre, *around):
    """Return the signed volume of three neighbours about a centre."""
    xyz = {name: atoms.coord[atoms.atom_name == name][0].astype(float) for name in (centre, *around)}
    a, b, c = (xyz[name] - xyz[centre] for name in around)
    return np.dot(np.cross(a, b), c)


@pytest.mark.parametrize("letter", sorted(set(ALPHABET) - {"G"}))
def test_a_d_residue_is_the_mirror_image_of_its_l_residue(letter):
    name = D_THREE_LETTER[letter]
    info = gemmi.find_tabulated_residue(name)
    assert info.kind == gemmi.ResidueKind.AAD and info.one_letter_code.upper() == letter
    assert ccd.one_letter_code(name) == letter and ccd.link_type(name) == "D-PEPTIDE LINKING"
    (monomer,) = monomers(letter, True, None, None)
    assert monomer == (name, letter, 1) and not monomer.standard and not monomer.cap
    assert monomer.type.upper() == ccd.link_type(name)
    d, l_form = heavy_atoms(name), heavy_atoms(THREE_LETTER[letter])
    assert set(d.atom_name) == set(l_form.atom_name)
    centres = [("CA", "N", "C", "CB")]
    # Not the allo forms: the second centre is mirrored too.
    centres += [("CB", "CA", "CG1", "CG2")] * (letter == "I") + [("CB", "CA", "OG1", "CG2")] * (letter == "T")
    for centre in centres:
        assert volume(l_form, *centre) * volume(d, *centre) < -1


def test_glycine_has_no_hand():
    for hand in (False, True):
        (glycine,) = monomers("G", hand, None, None)
        assert glycine.standard and glycine.name == "GLY" and glycine.type.upper() == ccd.link_type("GLY")


@pytest.mark.parametrize("letter", ALPHABET)
def test_l_residues_are_standard(letter):
    (monomer,) = monomers(letter, False, None, None)
    assert monomer.standard and monomer.type.upper() == ccd.link_type(THREE_LETTER[letter])


@pytest.mark.parametrize("name", (*N_CAPS, *C_CAPS))
def test_caps_have_all_their_heavy_atoms(name):
    assert CAP_ATOMS[name] == tuple(heavy_atoms(name).atom_name)
    chain = monomers("AG", False, "ACE", "NH2")
    assert [m.name for m in chain] == ["ACE", "ALA", "GLY", "NH2"]
    assert [m.number for m in chain] == [0, 1, 2, 3]
    assert [m.cap for m in chain] == [True, False, False, True]
    (cap,) = (m for m in chain if m.name == name)
    assert cap.type.upper() == ccd.link_type(name) and not cap.standard and cap.letter == "X"
