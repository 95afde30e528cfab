"""Clashes: atoms of one backbone that are closer than their van der Waals radii allow."""

from __future__ import annotations

import numpy as np

RADII = np.array([1.55, 1.70, 1.70, 1.52, 1.70])
"""Van der Waals radii of N, CA, C, O, CB, Angstrom (A. Bondi, J. Phys. Chem. 68, 441 (1964))."""

ALLOWED_OVERLAP, ALLOWED_OVERLAP_POLAR = 0.5, 0.9
"""Angstrom: overlaps up to these are no clash; N and O may share a hydrogen."""

THROUGH = 2.2
"""Angstrom: atoms of residues three or more apart that are closer have no room for each other: the chain runs through
itself. Hydrogen-bonded N and O are 2.6 apart or more."""

_CB = 4


def count_clashes(
    coordinates: np.ndarray, glycine: np.ndarray, cyclic: bool, disulfides: tuple[tuple[int, int], ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Count clashes of models of one peptide, and find out which run through themselves.

    Pairs of atoms two residues or more apart (the shorter way around a ring); CB atoms of a disulfide are left out.

    Parameters
    ----------
    coordinates : numpy.ndarray
        (S, L, 5, 3) Angstrom: N, CA, C, O, CB.
    glycine : numpy.ndarray
        (L,) bool, residues without CB.
    cyclic : bool
        Closed head to tail.
    disulfides : tuple of (int, int)
        1-based.

    Returns
    -------
    clashes : numpy.ndarray
        (S,) int, pairs closer than the sum of their radii less the allowed overlap.
    through : numpy.ndarray
        (S,) bool, atoms three or more residues apart are closer than `THROUGH`.
    """
    length = len(glycine)
    place = np.arange(length)
    apart = np.abs(place[:, None] - place)
    if cyclic:
        apart = np.minimum(apart, length - apart)
    present = np.ones((length, 5), dtype=bool)
    present[glycine, _CB] = False
    kept = np.flatnonzero(present)
    residue, atom = np.divmod(kept, 5)
    separation = apart[np.ix_(residue, residue)]
    bonded = np.zeros((length, length), dtype=bool)
    for i, j in disulfides:
        bonded[i - 1, j - 1] = bonded[j - 1, i - 1] = True
    skipped = bonded[np.ix_(residue, residue)] & (atom == _CB)[:, None] & (atom == _CB)
    polar = (atom == 0)[:, None] & (atom == 3)
    limit = RADII[atom][:, None] + RADII[atom]
    limit = limit - np.where(polar | polar.T, ALLOWED_OVERLAP_POLAR, ALLOWED_OVERLAP)
    counted = (separation >= 2) & ~skipped & (kept[:, None] < kept)
    far = counted & (separation >= 3)
    points = coordinates.reshape(len(coordinates), -1, 3)[:, kept].astype(np.float32)
    square = np.square(points).sum(axis=-1)
    distance = square[:, :, None] + square[:, None] - 2 * points @ points.swapaxes(1, 2)  # squared
    clashes = (counted & (distance < np.square(limit).astype(np.float32))).sum(axis=(1, 2))
    through = (far & (distance < THROUGH**2)).any(axis=(1, 2))
    return clashes, through
