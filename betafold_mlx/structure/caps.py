"""Terminal caps placed on a predicted backbone: acyl groups before the first residue, amides after the last.

The network knows nothing of them; they follow from ideal geometry (`geometry.ideal`) and one choice:

- ACE is a glycine without its N, its CH3 where CA would be, in a trans peptide bond to residue 1. That leaves phi of
  residue 1 open, for which the network gives no value. It is the usual one of `USUAL_PHI` or, where the cap would then
  run into the peptide, the nearest allowed one that keeps it apart. FOR is an ACE without CH3, MYR (myristoyl) one with
  a chain of another twelve carbons, all trans.
- NH2 is the N of a residue that follows, in the plane of CA, C and O of the last residue; NME has CA of that residue
  too, trans. Nothing is open.

Side chains are not looked at: they are packed around the caps.
"""

from __future__ import annotations

import numpy as np

from betafold_mlx.geometry import ideal
from betafold_mlx.geometry.spread import mirror_image
from betafold_mlx.peptide.sequence import ALPHABET
from betafold_mlx.structure.components import CAP_ATOMS
from betafold_mlx.structure.secondary import trace_dihedrals

USUAL_PHI = {"helical": -65.0, "extended": -110.0, "proline": -65.0}
"""Degrees: where psi is within `HELICAL_PSI`, where it is not, and for Pro.

Medians of phi in the project's chains, the first of each of their 3,934 clusters: -66, -109 and -64, in 340, 286 and
33 thousand residues. Gly was left out: its phi is as often positive. It gets the same values.
"""
HELICAL_PSI = (-120.0, 50.0)

ALLOWED_PHI = {"helical": (-160.0, -55.0), "extended": (-160.0, -55.0), "proline": (-85.0, -55.0)}
_PHI_STEP = 5.0
"""Degrees: the range in which phi may give way, and the steps in which it does. Beyond -55 O of ACE comes closer than
`CONTACT` to C of residue 1."""

CONTACT = 2.8
"""Angstrom, the length of a short hydrogen bond: atoms that are not bonded and come closer collide."""

CARBONS_LENGTH, CARBONS_ANGLE = 1.520, np.radians(111.3)
"""Angstrom, radians: C-C and C-C-C of CH2 groups (Engh and Huber 1991, CH2E-CH2E, as in lysine)."""

_GLY, _ALA = ideal.GLY, ALPHABET.index("A")
_NO_ATOMS = np.zeros((0, 3))


def place_caps(
    sequence: str,
    coordinates: np.ndarray,
    n_cap: str | None,
    c_cap: str | None,
    d_amino_acids: bool = False,
    phi: float = np.nan,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the heavy atoms of both caps of one model (L, >=5, 3), N, CA, C, O, CB and others, NaN for none.

    `n_cap` is ``ACE``, ``FOR`` or ``MYR``, `c_cap` ``NH2`` or ``NME``, None a free end, which has no atoms; the
    others are as in `components.CAP_ATOMS`, (n, 3) and (m, 3) float64. Where the first residue is D
    (`d_amino_acids`), the caps are the mirror image of those of the mirror image. `phi` is of residue 1, radians,
    where a stated bond of the n-cap holds it.
    """
    atoms = np.asarray(coordinates, np.float64)
    if d_amino_acids:
        before, behind = place_caps(sequence, mirror_image(atoms), n_cap, c_cap, phi=-phi)
        return mirror_image(before), mirror_image(behind)
    behind = _place_amide(sequence, atoms)[: len(CAP_ATOMS[c_cap])] if c_cap else _NO_ATOMS
    before = _place_acyl(sequence, atoms, behind, len(CAP_ATOMS[n_cap]), phi) if n_cap else _NO_ATOMS
    return before, behind


def crowded_caps(sequence: str, coordinates: np.ndarray, n_cap: str | None, c_cap: str | None) -> list[str]:
    """Say, a line each, which caps of a model come closer than `CONTACT` to an atom of the peptide.

    The parameters are those of `place_caps`, of L residues: the mirror image has the same distances.
    """
    before, behind = place_caps(sequence, coordinates, n_cap, c_cap)
    near = (
        (n_cap, _nearest(before, _not_beside_acyl(coordinates, behind))),
        (c_cap, _nearest(behind, coordinates[:-1].reshape(-1, 3))),
    )
    return [
        f"there is no room for the cap {name}: {distance:.1f} A from another atom"
        for name, distance in near
        if distance < CONTACT
    ]


def _place_amide(sequence: str, atoms: np.ndarray) -> np.ndarray:
    """Return N and the methyl C of NME, (2, 3); NH2 has the N alone."""
    _, ca, c, o = atoms[-1, :4]
    angle = ideal.CA_C_N[ALPHABET.index(sequence[-1]), 0]
    back = _unit(ca - c)
    across = _unit((o - c) - ((o - c) @ back) * back)  # at right angles to C-CA, on the side of O
    n = c + ideal.C_N[_ALA] * (np.cos(angle) * back - np.sin(angle) * across)
    methyl = _place(ca, c, n, ideal.N_CA[_ALA], ideal.C_N_CA[_ALA], np.full(1, np.pi))
    return np.stack([n, methyl[0]])


def _place_acyl(sequence: str, atoms: np.ndarray, behind: np.ndarray, count: int, given: float) -> np.ndarray:
    """Return the first `count` of C, O, CH3 and the carbons after it, (count, 3); `given` is phi or NaN."""
    first, pro = ALPHABET.index(sequence[0]), int(sequence[0] == "P")
    n, ca, c, o = atoms[0, :4]
    # O lies opposite to the next N
    psi = np.degrees(trace_dihedrals(np.stack([n, ca, c, o]))[0]) % 360.0 - 180.0
    within = HELICAL_PSI[0] <= psi < HELICAL_PSI[1]
    kind = "proline" if pro else "helical" if within else "extended"
    low, high = ALLOWED_PHI[kind]
    phi = np.arange(low, high + _PHI_STEP, _PHI_STEP)  # (K,)
    phi = np.radians(phi[np.argsort(np.abs(phi - USUAL_PHI[kind]), kind="stable")])
    phi = phi if np.isnan(given) else np.array([given])

    acetyl_c = _place(c, ca, n, ideal.C_N[first], ideal.C_N_CA[first], phi)  # (K, 3)
    acetyl_o = _place(ca, n, acetyl_c, ideal.C_O[_GLY], ideal.O_C_N[_GLY, pro], np.zeros(1))
    methyl = _place(ca, n, acetyl_c, ideal.CA_C[_GLY], ideal.CA_C_N[_GLY, pro], np.full(1, np.pi))
    chain = [np.broadcast_to(n, methyl.shape), acetyl_c, methyl]
    while len(chain) < count:
        a, b, c = chain[-3:]
        chain.append(_place(a, b, c, CARBONS_LENGTH, CARBONS_ANGLE, np.full(1, np.pi)))
    choices = np.stack([acetyl_c, acetyl_o, *chain[2:]], axis=1)[:, :count]  # (K, count, 3)
    room = _nearest(choices, _not_beside_acyl(atoms, behind))  # (K,)
    free = room >= CONTACT
    return choices[np.argmax(free) if free.any() else np.argmax(room)]


def _not_beside_acyl(atoms: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Return the atoms (n, 3) that an acyl may run into: of residue 1, one to three bonds away, only O."""
    return np.concatenate([atoms[0, 3:4], atoms[1:].reshape(-1, 3), behind])


def _nearest(atoms: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the smallest distance (...) of atoms (..., n, 3) to others (m, 3); NaN in those is no atom."""
    others = others[~np.isnan(others).any(axis=-1)]
    distances = np.linalg.norm(atoms[..., :, None, :] - others, axis=-1)  # (..., n, m)
    return distances.min(axis=(-2, -1), initial=np.inf)


def _place(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, length: float, angle: float, torsion: np.ndarray
) -> np.ndarray:
    """Return atoms d (K, 3) with |c-d| = length, angle b-c-d and torsions a-b-c-d (K,), radians.

    (Parsons et al., J. Comput. Chem. 26, 1063 (2005).) Points are (3,) or (K, 3).
    """
    bond = _unit(c - b)
    normal = _unit(np.cross(b - a, bond))
    side = np.cross(normal, bond)
    turn = torsion[:, None]
    return c + length * (np.sin(angle) * (np.cos(turn) * side + np.sin(turn) * normal) - np.cos(angle) * bond)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
