"""Validity of a C-alpha trace, before any backbone is fitted to it: bond lengths, clashes."""

from __future__ import annotations

from typing import Any

import numpy as np

CA_BOND, CA_BOND_TOLERANCE = 3.8, 0.4
"""Angstrom: distance between neighbours of a trans chain, and its tolerance."""
CA_CLASH = 3.4
"""Angstrom, of C-alphas two or more residues apart. Of 4,000 windows of 10 to 32 residues of the project's training
chains, five come closer; `evaluate-generator` reports the share for the data beside that of the model."""


def ca_bonds(trace: np.ndarray, cyclic: bool = False) -> np.ndarray:
    """Return the distances (L - 1,) between neighbours of a trace (L, 3), of a ring (L,), Angstrom."""
    around = trace[:1] if cyclic else trace[:0]
    return np.linalg.norm(np.diff(np.concatenate([trace, around]).astype(np.float64), axis=0), axis=1)


def nearest_approach(trace: np.ndarray, cyclic: bool = False) -> float:
    """Return the smallest distance of two C-alphas two or more residues apart, Angstrom; infinite if there are none."""
    first, second = np.triu_indices(len(trace), k=2)
    if cyclic:
        neighbours = second - first == len(trace) - 1
        first, second = first[~neighbours], second[~neighbours]
    apart = np.linalg.norm(trace[first].astype(np.float64) - trace[second], axis=1)
    return float(apart.min(initial=np.inf))


def trace_validity(trace: np.ndarray, cyclic: bool = False) -> dict[str, Any]:
    """Return the validity of a trace (L, 3), of an open chain or a ring, as plain JSON values.

    ``bonds_ok`` is the share of good bonds, ``worst_bond`` and ``nearest_approach`` are in Angstrom; ``valid`` is a
    chain whose bonds are all good, and that does not run through itself.
    """
    bonds = ca_bonds(trace, cyclic)
    within = np.abs(bonds - CA_BOND) <= CA_BOND_TOLERANCE
    nearest = nearest_approach(trace, cyclic)
    return {
        "bonds_ok": round(float(within.mean()), 4),
        "worst_bond": round(float(bonds[np.abs(bonds - CA_BOND).argmax()]), 3),
        "nearest_approach": round(nearest, 3),
        "valid": bool(within.all() and nearest >= CA_CLASH),
    }


def radius_of_gyration(trace: np.ndarray) -> float:
    """Return the radius of gyration of points (L, 3), each of the same weight, Angstrom."""
    away = trace.astype(np.float64) - trace.astype(np.float64).mean(axis=0)
    return float(np.sqrt(np.square(away).sum(axis=1).mean()))
