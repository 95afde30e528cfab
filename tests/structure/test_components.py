"""Names of residues and caps against the wwPDB Chemical Component Dictionary, as biotite and gemmi carry it."""

import warnings

import biotite.structure.info as ccd
import gemmi
import numpy as np
import pytest

from betafold_mlx.peptide.chemistry import C_CAPS, N_CAPS
from betafold_mlx.peptide.residue_table import RESIDUES
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
    (monomer,) = monomers([name])
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
    (glycine,) = monomers(["GLY"])
    assert glycine.standard and glycine.name == "GLY" and glycine.type.upper() == ccd.link_type("GLY")


@pytest.mark.parametrize("code", RESIDUES)
def test_types_and_elements_are_those_of_the_dictionary(code):
    (monomer,) = monomers([code])
    assert monomer.type.upper() == ccd.link_type(code).upper()
    atoms = heavy_atoms(code)
    elements = dict(zip(atoms.atom_name.tolist(), atoms.element.tolist(), strict=True))
    assert {name: monomer.element(name) for name in RESIDUES[code].atoms} == {
        name: elements[name] for name in RESIDUES[code].atoms
    }


@pytest.mark.parametrize("letter", ALPHABET)
def test_l_residues_are_standard(letter):
    (monomer,) = monomers([THREE_LETTER[letter]])
    assert monomer.standard and monomer.type.upper() == ccd.link_type(THREE_LETTER[letter])


LEAVING = {"MYR": {"O2"}}


@pytest.mark.parametrize("name", CAP_ATOMS)
def test_caps_have_all_their_heavy_atoms_and_bonds(name):
    atoms = heavy_atoms(name)
    there = [atom for atom in atoms.atom_name.tolist() if atom not in LEAVING.get(name, ())]
    assert CAP_ATOMS[name] == tuple(there)
    n_cap, c_cap = (None, name) if there[0] == "N" else (name, None)
    chain = monomers(["ALA", "GLY"], n_cap, c_cap)
    (cap,) = (monomer for monomer in chain if monomer.cap)
    assert cap.name == name and cap.number == (0 if n_cap else 3)
    assert cap.type.upper() == ccd.link_type(name) and not cap.standard and cap.letter == "X"
    known = {frozenset(pair): min(int(kind), 2) for pair, kind in ccd.bonds_in_residue(name).items()}
    heavy = {pair: order for pair, order in known.items() if pair <= set(there)}
    bonds = {frozenset(pair): order for *pair, order in cap.bonds}
    assert {pair: order for pair, order in bonds.items() if pair <= set(there)} == heavy
    assert set(bonds) <= set(known)  # those of hydrogens too


def test_known_caps_can_be_written():
    assert {*N_CAPS, *C_CAPS} - {"ClAc"} <= set(CAP_ATOMS)  # which is ACE with a bond
    chain = monomers(["ALA", "GLY"], "ACE", "NH2")
    assert [(m.name, m.number, m.cap) for m in chain] == [
        ("ACE", 0, True),
        ("ALA", 1, False),
        ("GLY", 2, False),
        ("NH2", 3, True),
    ]
