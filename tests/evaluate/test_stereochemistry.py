"""Counts of unusual stereochemistry against structures that are made wrong on purpose, and real ones."""

from collections import Counter

import gemmi
import numpy as np
from structure_helpers import ideal, prediction, side_chains_of

from betafold_mlx import Predictor
from betafold_mlx.evaluate.stereochemistry import measure
from betafold_mlx.geometry.disulfides import place_sulfurs
from betafold_mlx.geometry.side_chains import slot_names
from betafold_mlx.model.companions import SIDE_CHAINS
from betafold_mlx.peptide.sequence import ALPHABET, THREE_LETTER
from betafold_mlx.structure.backbone import ring_closed
from betafold_mlx.structure.bonds import sulfur_disulfides

SEQUENCE = "GACDEFHIKLMNPQRSTVWY"


def helix(sequence=SEQUENCE, **changes):
    return prediction(sequence, 1, coordinates=ideal(sequence)[None], **changes)


def with_moved(p, place, atom, step):
    """Return a prediction with one atom moved."""
    atoms = p.atoms.copy()
    atoms[0, place - 1, p.atom_names[place - 1].index(atom)] += np.float32(step)
    return prediction(p.sequence, 1, coordinates=p.coordinates, atoms=atoms)


def test_a_chain_of_ideal_geometry_has_no_outliers():
    counts = measure(helix())
    heavy = sum(len(names) - ("" in names) for names in helix().atom_names)
    rings = {"F": 1, "Y": 1, "H": 1, "P": 1, "W": 2}
    assert counts["bonds"] == heavy - 1 + sum(rings.values()) and counts["atoms"] == heavy
    assert counts["angles"] > counts["bonds"] and counts["centres"] == 19
    assert not counts["bond outliers"] and not counts["angle outliers"] and not counts["wrong hands"]


def test_hands_are_those_of_the_residues():
    p = helix()
    mirror = np.float32([1, 1, -1])
    counts = measure(prediction(SEQUENCE, 1, coordinates=p.coordinates * mirror, atoms=p.atoms * mirror))
    assert counts["wrong hands"] == counts["centres"] == 19
    right = measure(p.mirrored())  # of L residues still
    assert right["wrong hands"] == 19
    d = prediction(
        SEQUENCE, 1, coordinates=p.coordinates * mirror, atoms=p.atoms * mirror, d_amino_acids=True
    )
    assert measure(d)["wrong hands"] == measure(d)["bond outliers"] == measure(d)["angle outliers"] == 0


def test_a_moved_atom_is_found():
    p = helix()
    ca, cb = (p.atoms[0, 1, k] for k in (1, 4))
    along = (cb - ca) / np.linalg.norm(cb - ca)
    assert measure(with_moved(p, 2, "CB", 0.07 * along))["bond outliers"] == 0  # 0.08 is 4 sigma
    assert measure(with_moved(p, 2, "CB", 0.09 * along))["bond outliers"] == 1
    across = np.cross(along, [0.3, 0.4, 0.5])
    off = 1.53 * np.sin(np.radians(12)) * across / np.linalg.norm(across)
    counts = measure(with_moved(p, 2, "CB", off))
    assert counts["angle outliers"] >= 1


def test_overlaps_are_between_atoms_that_are_neither_bonded_nor_share_a_hydrogen():
    p = helix("AAAAAAAA")
    assert measure(p)["overlaps"] == 0  # N-H...O of the helix are 2.8 A apart
    target = p.atoms[0, 4, 4]  # CB of residue 5
    start = p.atoms[0, 0, 4]
    far = with_moved(p, 1, "CB", target - start + np.float32([0, 0, 3.2]))
    near = with_moved(p, 1, "CB", target - start + np.float32([0, 0, 2.8]))
    pair = {(1, "CB"), (5, "CB")}
    assert measure(near)["overlaps"] > measure(far)["overlaps"], pair


def test_disulfides_count_as_bonds():
    sequence = "CAAAAC"
    p = helix(sequence, disulfides=((1, 6),))
    with_it, without = measure(p), measure(helix(sequence))
    assert with_it["bonds"] == without["bonds"] + 1 and with_it["angles"] == without["angles"] + 2
    assert with_it["bond outliers"] == 1  # 6 A or so
    assert place_sulfurs(p.coordinates[0, 0], p.coordinates[0, 5])[1].max() > 1


def test_rotamers_that_no_residue_has():
    predictor = Predictor.load(templates=None)
    rotamers = SIDE_CHAINS.find(predictor.loaded.path, predictor.loaded.sha256).rotamers
    good = helix("LLLLLLLL")  # chi1 -63, chi2 178
    assert measure(good, rotamers=rotamers)["side chains"] == 8
    assert measure(good, rotamers=rotamers)["rotamer outliers"] == 0
    eclipsed = prediction(
        "LLLLLLLL",
        1,
        coordinates=good.coordinates,
        **side_chains_of(good.peptide, good.coordinates, chi=(0.0, 0.0)),
    )
    assert measure(eclipsed, rotamers=rotamers)["rotamer outliers"] == 8


def real(path):
    """Return the first chain of a file of standard residues as a prediction; None where an atom is absent."""
    structure = gemmi.read_structure(str(path))
    structure.remove_hydrogens()
    structure.remove_alternative_conformations()
    residues = [r for r in structure[0][0] if r.name in THREE_LETTER.values()]
    letters = {code: letter for letter, code in THREE_LETTER.items()}
    sequence = "".join(letters[residue.name] for residue in residues)
    if len(sequence) < 4 or set(sequence) - set(ALPHABET):
        return None
    names = slot_names([r.name for r in residues], "OXT" in residues[-1])
    if any(
        atom and atom not in residue for residue, row in zip(residues, names, strict=True) for atom in row
    ):
        return None
    atoms = np.full((1, len(names), max(map(len, names)), 3), np.nan, np.float32)
    for place, (residue, row) in enumerate(zip(residues, names, strict=True)):
        for slot, atom in enumerate(row):
            if atom:
                atoms[0, place, slot] = residue[atom][0].pos.tolist()
    gaps = np.linalg.norm(atoms[0, 1:, 0] - atoms[0, :-1, 2], axis=-1)
    if gaps.max() > 1.5:
        return None
    sulfurs = [place for place, letter in enumerate(sequence) if letter == "C"]
    pairs = sulfur_disulfides(atoms[0, sulfurs, 5])
    return prediction(
        sequence,
        1,
        coordinates=atoms[:, :, :5],
        atoms=atoms,
        atom_names=tuple(names),
        disulfides=[(sulfurs[i] + 1, sulfurs[j] + 1) for i, j in pairs],
        cyclic=ring_closed(atoms[0]),
    )


def test_real_peptides_have_few_outliers(shared_data):
    total = Counter()
    for path in sorted((shared_data / "structures").glob("*.pdb")):
        p = real(path)
        if p is not None:
            total += measure(p)
    assert total["atoms"] > 1000
    assert total["bond outliers"] < 0.01 * total["bonds"]
    assert total["angle outliers"] < 0.02 * total["angles"]
    assert total["overlaps"] < 0.02 * total["atoms"] and not total["wrong hands"]
