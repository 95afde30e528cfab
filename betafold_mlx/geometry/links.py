"""Stated bonds between side chains or ends of a chain: their ideal geometry, and how near structures come to it.

A bond is a list of terms, each a distance within a range or a flat torsion. Lengths and angles are those of small
molecules: F. H. Allen et al., J. Chem. Soc. Perkin Trans. 2, S1 (1987), of amides R. A. Engh and R. Huber (2001), of
disulfides Engh and Huber (1991), and of pairs of elements that have no entry the sum of their covalent radii
(B. Cordero et al., Dalton Trans. 2832 (2008)).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.geometry import ideal
from betafold_mlx.geometry.disulfides import CB_SG_SG, SG_SG
from betafold_mlx.geometry.side_chains import FIRST_PHI, build_side_chains, side_chains, slot_names
from betafold_mlx.peptide.bonds import StatedBond
from betafold_mlx.peptide.leaving import leaving_atoms
from betafold_mlx.peptide.residue_table import CAP_MARK, RESIDUES, ResidueType
from betafold_mlx.peptide.sequence import ALPHABET, Peptide

Atom = tuple[int, str]
"""1-based place and name."""

ACYL_LENGTHS = {"N": 1.33, "O": 1.336, "S": 1.762, "C": 1.511}
"""Angstrom, from the carbon of an acid: amide, ester, thioester, ketone."""
LENGTHS = {"CC": 1.53, "CN": 1.469, "CO": 1.426, "CS": 1.819, "SS": SG_SG}
"""Angstrom, of single bonds."""
COVALENT_RADII = {"C": 0.76, "N": 0.71, "O": 0.66, "S": 1.05, "SE": 1.20, "P": 1.07, "I": 1.39, "BR": 1.20}
ELSEWHERE = 1.0
"""Angstrom, radius of other elements."""

ACYL_ANGLE, AMIDE_ANGLE, ESTER_ANGLE = np.radians((117.2, 121.7, 117.0))
"""X-C-N at the carbon of an acid, whose O-C-N is what is left in the plane; C-N-X and C-O-X behind it."""
THIOETHER_ANGLE, ETHER_ANGLE, AMINE_ANGLE, CARBON_ANGLE = np.radians((100.8, 112.0, 111.0, 110.5))
"""At the sulfur, oxygen, nitrogen or tetrahedral carbon that a bond ends at."""
CROWDED_ANGLE = np.radians(108.2)
"""At a carbon of three more neighbours: what the other angles of about 110.7, as those at CA, leave."""
FLAT_ANGLE, FORKED_ANGLE = np.radians((120.0, 124.0))
"""At a planar atom of one more neighbour, and of two: between a five-membered and a six-membered ring."""

LENGTH_TOLERANCE, ANGLE_TOLERANCE = 0.02, np.radians(6.0)
"""Angstrom and radians that a bond may be off, as of rings and disulfides (`betafold_mlx.geometry.checks`)."""
BRIDGE_CB = (3.55, 4.1)
"""Angstrom, CB-CB of a disulfide whose chi3 is within about 20 degrees of +-90."""
TRANS_TOLERANCE = 0.15
"""Angstrom, of the distance across a planar bond, which tells trans from cis."""

CAP_PHI = {"": np.radians((55.0, 160.0)), "P": np.radians((55.0, 85.0))}
CAP_CB = np.radians(95.0)
CAP_TOLERANCE = 0.06
"""Radians and Angstrom: the size of phi at a bonded cap (`betafold_mlx.structure.caps.ALLOWED_PHI`), the least torsion
from the cap to CB, which with it leaves one sign of phi, and what the distances across may be off: about 8 degrees."""


class Term(NamedTuple):
    """A distance of two atoms, Angstrom, or the sine of the torsion of four, within a range."""

    atoms: tuple[Atom, ...]
    low: float
    high: float
    tolerance: float


def link_terms(peptide: Peptide, bond: StatedBond) -> list[Term]:
    """Return the terms of a stated bond: its length, then its angles and planes."""
    ends = ((bond.i, bond.atom_i), (bond.j, bond.atom_j))
    elements = tuple(_kind(peptide, end).elements[end[1]] for end in ends)
    acyl = [_acyl_oxygen(peptide, end) is not None for end in ends]
    length = _length(elements[0], elements[1], any(acyl))
    terms = [Term(ends, length, length, LENGTH_TOLERANCE)]
    neighbours = [_neighbours(peptide, end) for end in ends]
    for k in (0, 1):
        end, other = ends[k], ends[1 - k]
        for near in neighbours[k]:
            angle = _angle(peptide, end, near, elements[1 - k], acyl[1 - k], len(neighbours[k]))
            own = _own_length(_kind(peptide, end).code, end[1], near[1])
            apart, slope = _across(own, length, angle)
            terms.append(Term((near, other), apart, apart, ANGLE_TOLERANCE * slope))
        if _planar(peptide, end, acyl[1 - k]) and len(neighbours[k]) == 2 and not acyl[k]:
            first, second = neighbours[k]
            terms.append(_flat((first, end, second, other)))
    for k in (0, 1):
        if acyl[k] and elements[1 - k] in ("N", "O", "S"):
            oxygen = _acyl_oxygen(peptide, ends[k])
            beyond = neighbours[1 - k][:1]
            for near in neighbours[k]:
                terms += [_flat((near, ends[k], ends[1 - k], far)) for far in beyond]
                if near[1] != oxygen and len(neighbours[1 - k]) == 1:
                    terms.append(_trans(peptide, near, ends[k], ends[1 - k], beyond[0], length))
    if bond.disulfide:
        cb = tuple((place, RESIDUES[peptide.residues[place - 1]].cb) for place in (bond.i, bond.j))
        terms.append(Term(cb, *BRIDGE_CB, 0.1))
    if bond.atom_i.endswith(CAP_MARK):
        terms += _cap_phi(peptide)
    return terms


def link_reach(peptide: Peptide, bond: StatedBond) -> float:
    """Return how far apart the two CA can be, Angstrom: 1.27 along each bond of an extended chain between them."""
    count = 1 + sum(_steps(_kind(peptide, (place, atom)).code, atom) for place, atom in _ends(bond))
    return 1.27 * count


def misfits(terms: list[Term], points: Mapping[Atom, np.ndarray]) -> np.ndarray:
    """Return how far terms are out of their ranges.

    Parameters
    ----------
    terms : list of Term
        K terms.
    points : mapping of Atom to numpy.ndarray
        (n, 3) Angstrom of each atom.

    Returns
    -------
    numpy.ndarray
        (n, K), in Angstrom or of a sine.
    """
    values = np.stack([_value([points[atom] for atom in term.atoms]) for term in terms], axis=-1)
    low, high = (np.array([term[k] for term in terms]) for k in (1, 2))
    return np.maximum(values - high, 0.0) - np.maximum(low - values, 0.0)


def flat_slopes(points: list[np.ndarray]) -> list[np.ndarray]:
    """Return the derivatives, by its four points (n, 3), of the sine of a torsion that is nearly flat.

    Its normalisation counts as constant.
    """
    a, b, c = (points[k + 1] - points[k] for k in range(3))
    size = np.linalg.norm(np.cross(a, b), axis=-1) * np.linalg.norm(c, axis=-1)
    scale = 1.0 / np.maximum(size, 1e-3)[:, None]
    by = [np.cross(b, c) * scale, np.cross(c, a) * scale, np.cross(a, b) * scale]
    return [-by[0], by[0] - by[1], by[1] - by[2], by[2]]


def linked_residues(peptide: Peptide) -> list[int]:
    """Return the 1-based places of residues that have a part in a stated bond."""
    return sorted({place for bond in peptide.bonds for place, _ in _ends(bond)})


def linked_atoms(peptide: Peptide, backbone: np.ndarray, chi: np.ndarray) -> dict[Atom, np.ndarray]:
    """Return all atoms of the residues that have a part in a stated bond.

    Parameters
    ----------
    peptide : Peptide
        L residues.
    backbone : numpy.ndarray
        (n, L, 5, 3) Angstrom, of the hand of the peptide.
    chi : numpy.ndarray
        (n, L, K) radians.

    Returns
    -------
    dict of Atom to numpy.ndarray
        (n, 3) float64 Angstrom.
    """
    places = linked_residues(peptide)
    index = np.array(places) - 1
    codes = [peptide.residues[i] for i in index]
    chains = side_chains([codes], [False], len(codes)).take(mx.zeros(len(backbone), dtype=mx.int32))
    angles = np.nan_to_num(chi[:, index]).astype(np.float32)
    start = np.nan_to_num(backbone[:, index]).astype(np.float32)
    phi = mx.full(
        angles.shape[:2], FIRST_PHI
    )  # the nitrogen of the first residue alone can have one more bond
    built = np.array(build_side_chains(mx.array(start), mx.array(angles), chains, phi)).astype(np.float64)
    return {
        (place, atom): built[:, row, slot]
        for row, (place, names) in enumerate(zip(places, slot_names(codes, False), strict=True))
        for slot, atom in enumerate(names)
        if atom
    }


def _ends(bond: StatedBond) -> tuple[Atom, Atom]:
    return (bond.i, bond.atom_i), (bond.j, bond.atom_j)


def _kind(peptide: Peptide, atom: Atom) -> ResidueType:
    return RESIDUES[peptide.residues[atom[0] - 1]]


def _value(points: list[np.ndarray]) -> np.ndarray:
    if len(points) == 2:
        return np.linalg.norm(points[1] - points[0], axis=-1)
    a, b, c = (points[k + 1] - points[k] for k in range(3))
    normal = np.cross(a, b)
    size = np.linalg.norm(normal, axis=-1) * np.linalg.norm(c, axis=-1)
    return (normal * c).sum(-1) / np.maximum(size, 1e-3)


def _flat(atoms: tuple[Atom, ...]) -> Term:
    return Term(atoms, 0.0, 0.0, float(np.sin(ANGLE_TOLERANCE)))


def _trans(peptide: Peptide, near: Atom, carbon: Atom, end: Atom, far: Atom, length: float) -> Term:
    """Return the distance across a planar trans bond."""
    before = _own_length(_kind(peptide, carbon).code, carbon[1], near[1])
    behind = _own_length(_kind(peptide, end).code, end[1], far[1])
    element = _kind(peptide, end).elements[end[1]]
    at_end = {"N": AMIDE_ANGLE, "O": ESTER_ANGLE}.get(element, THIOETHER_ANGLE)
    first = before * np.array([np.cos(ACYL_ANGLE), np.sin(ACYL_ANGLE)])
    last = np.array([length, 0.0]) - behind * np.array([np.cos(at_end), np.sin(at_end)])
    apart = float(np.linalg.norm(last - first))
    return Term((near, far), apart, apart, TRANS_TOLERANCE)


def _cap_phi(peptide: Peptide) -> list[Term]:
    """Return the terms that keep a bonded cap in the phi of the first residue that caps without a bond may have.

    The distances from C of the cap to C and CB tell phi and its sign.
    """
    kind = RESIDUES[peptide.residues[0]]
    carbon, row = (1, f"C{CAP_MARK}"), ALPHABET.index(kind.parent)
    low, high = CAP_PHI["P" if kind.parent == "P" else ""]

    def apart(torsion: float, length: float, angle: float) -> float:
        n, ca, at_n = ideal.C_N[row], ideal.N_CA[row], ideal.C_N_CA[row]
        along = ca - n * np.cos(at_n) - length * np.cos(angle)
        out, other = n * np.sin(at_n), length * np.sin(angle)
        return float(np.sqrt(along**2 + out**2 + other**2 - 2 * out * other * np.cos(torsion)))

    near, far = (apart(phi, ideal.CA_C[row], ideal.N_CA_C[row]) for phi in (low, high))
    terms = [Term((carbon, (1, "C")), near, far, CAP_TOLERANCE)]
    if kind.cb:
        to_cb = apart(CAP_CB, ideal.CA_CB[row], ideal.N_CA_CB[row])
        terms.append(Term((carbon, (1, kind.cb)), to_cb, 9.0, CAP_TOLERANCE))
    return terms


def _across(first: float, second: float, angle: float) -> tuple[float, float]:
    """Return the distance of the ends of two bonds, and its derivative by the angle between them."""
    apart = float(np.sqrt(first**2 + second**2 - 2 * first * second * np.cos(angle)))
    return apart, float(first * second * np.sin(angle) / apart)


def _length(first: str, second: str, acyl: bool) -> float:
    pair = "".join(sorted((first, second)))
    if acyl:
        other = second if first == "C" else first
        if other in ACYL_LENGTHS:
            return ACYL_LENGTHS[other]
    return LENGTHS.get(pair) or sum(COVALENT_RADII.get(each.upper(), ELSEWHERE) for each in (first, second))


def _angle(peptide: Peptide, end: Atom, near: Atom, other: str, acylated: bool, neighbours: int) -> float:
    """Return the angle near-end-other of a bond to an element, which is an acid's carbon where `acylated`."""
    element = _kind(peptide, end).elements[end[1]]
    oxygen = _acyl_oxygen(peptide, end)
    if oxygen is not None:
        return (
            2 * np.pi - float(ACYL_ANGLE) - _at_acyl(peptide, end, oxygen)
            if near[1] == oxygen
            else float(ACYL_ANGLE)
        )
    if _planar(peptide, end, acylated):
        if neighbours > 1:
            return float(FORKED_ANGLE)
        return float(AMIDE_ANGLE if element == "N" else FLAT_ANGLE)
    if element == "S":
        return float(CB_SG_SG if other == "S" else THIOETHER_ANGLE)
    if element == "O":
        return float(ESTER_ANGLE if acylated else ETHER_ANGLE)
    if element == "N":
        return float(AMINE_ANGLE)
    return float(CROWDED_ANGLE if neighbours > 2 else CARBON_ANGLE)


def _planar(peptide: Peptide, end: Atom, acylated: bool) -> bool:
    kind = _kind(peptide, end)
    doubled = {atom for a, b, order in kind.bonds if order == 2 for atom in (a, b)}
    if kind.elements[end[1]] != "N":
        return end[1] in doubled
    return acylated or any(atom in doubled for _, atom in _neighbours(peptide, end)) or end[1] in doubled


def _acyl_oxygen(peptide: Peptide, end: Atom) -> str | None:
    """Return the oxygen of an acid's carbon."""
    kind = _kind(peptide, end)
    if kind.elements[end[1]] != "C":
        return None
    for a, b, order in kind.bonds:
        other = b if a == end[1] else a
        if order == 2 and end[1] in (a, b) and kind.elements[other] == "O":
            return other
    return None


def _at_acyl(peptide: Peptide, end: Atom, oxygen: str) -> float:
    """Return the angle of its oxygen at an acid's carbon."""
    kind = _kind(peptide, end)
    placed = (row.angle for row in kind.placements[0] if row.atom == oxygen)
    return next(placed, float(ideal.CA_C_O[ALPHABET.index(kind.parent), 0]))


def _neighbours(peptide: Peptide, atom: Atom) -> list[Atom]:
    """Return the atoms of its residue that an atom is bonded to and that stay."""
    place, name = atom
    gone = leaving_atoms(peptide)
    found = [b if a == name else a for a, b, _ in _kind(peptide, atom).bonds if name in (a, b)]
    return [(place, other) for other in found if (place, other) not in gone]


@cache
def _own_length(code: str, first: str, second: str) -> float:
    """Return the length of a bond of a residue, Angstrom."""
    kind = RESIDUES[code]
    parent = ALPHABET.index(kind.parent)
    backbone = {
        ("N", "CA"): ideal.N_CA,
        ("CA", "C"): ideal.CA_C,
        ("C", "O"): ideal.C_O,
        ("CA", kind.cb): ideal.CA_CB,
    }
    for pair in ((first, second), (second, first)):
        if pair in backbone:
            return float(backbone[pair][parent])
        for row in kind.placements[0]:
            if (row.parent, row.atom) == pair:
                return row.length
    return _length(kind.elements[first], kind.elements[second], False)  # it closes a ring of the residue


@cache
def _steps(code: str, atom: str) -> int:
    """Return the number of bonds from CA to an atom of its residue."""
    reached, steps = {"CA"}, 0
    while atom not in reached:
        reached |= {other for a, b, _ in RESIDUES[code].bonds if {a, b} & reached for other in (a, b)}
        steps += 1
    return steps
