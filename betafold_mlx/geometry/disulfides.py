"""Disulfides on a backbone: where the two sulfurs go, and how near that comes to an ideal bond.

Turned about CA-CB by chi1, each sulfur lies on a circle. Three distances make the bond: SG-SG, and from each CB to the
other sulfur, which sets the angles CB-SG-SG. Two angles cannot meet three distances on any backbone: closing
(`betafold_mlx.fold.closing`) bends it until they do.
"""

from __future__ import annotations

import numpy as np

CB_SG, SG_SG = 1.808, 2.04
CA_CB_SG, CB_SG_SG = np.radians(114.4), np.radians(104.0)
"""Bond lengths, Angstrom, and angles of cystine (R. A. Engh and R. Huber, Acta Cryst. A47, 392 (1991))."""

ACROSS = float(np.sqrt(CB_SG**2 + SG_SG**2 - 2 * CB_SG * SG_SG * np.cos(CB_SG_SG)))
"""Angstrom, from CB to the other residue's SG."""

ROOM = {"N": 3.3, "CA": 3.5, "C": 3.4, "O": 3.2}
"""Angstrom that a sulfur keeps from the backbone atoms of the residue that it is bonded to: chi2 and chi3 then are near
those of real disulfides."""

_STEPS = 36
_ROUNDS = 8
GRID = np.linspace(-np.pi, np.pi, _STEPS, endpoint=False)
"""Radians: chi1 that are tried first."""

LOOSE = 0.1
"""Angstrom: what a misfit is measured in beside a prior (`place_sulfurs`), as a standard deviation."""

IDEAL = (0.04, 0.1, 0.1)
"""Angstrom: misfits of a bond that counts as ideal: SG-SG within 0.05 of 2.05 A, CB-SG-SG within 5 degrees."""


def sulfur(backbone: np.ndarray, chi1: np.ndarray) -> np.ndarray:
    """Return SG (..., 3) Angstrom of residues (..., 5, 3), N, CA, C, O, CB, at chi1 (...), radians."""
    n, ca, cb = (backbone[..., atom, :] for atom in (0, 1, 4))
    x = _unit(cb - ca)
    side = n - ca
    y = _unit(side - (side * x).sum(-1, keepdims=True) * x)
    z = np.cross(x, y)
    out = np.cos(chi1)[..., None] * y + np.sin(chi1)[..., None] * z
    return cb + CB_SG * (np.sin(CA_CB_SG) * out - np.cos(CA_CB_SG) * x)


def place_sulfurs(
    first: np.ndarray, second: np.ndarray, roomy: bool = False, prior: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Place the sulfurs of disulfides as near to an ideal bond as the backbones allow.

    Often several pairs of chi1 come near. With a prior the most probable one is taken.

    Parameters
    ----------
    first, second : numpy.ndarray
        (..., 5, 3) Angstrom: N, CA, C, O, CB of the two residues.
    roomy : bool
        Among bonds, prefer one whose sulfurs keep `ROOM`: for backbones that are still to be bent.
    prior : numpy.ndarray, optional
        (..., 2, 36) log densities of chi1 of the two at `GRID`.

    Returns
    -------
    chi1 : numpy.ndarray
        (..., 2) float64 radians.
    misfit : numpy.ndarray
        (..., 3) Angstrom: SG-SG and the two CB-SG, less their ideal values.
    """
    ends = [np.asarray(end, np.float64) for end in (first, second)]
    rings = [sulfur(end[..., None, :, :], np.broadcast_to(GRID, (*end.shape[:-2], _STEPS))) for end in ends]
    apart = np.linalg.norm(rings[0][..., :, None, :] - rings[1][..., None, :, :], axis=-1) - SG_SG
    across = [np.linalg.norm(ring - end[..., None, 4, :], axis=-1) - ACROSS
              for ring, end in zip(rings, ends[::-1], strict=True)]  # fmt: skip
    cost = apart**2 + across[0][..., :, None] ** 2 + across[1][..., None, :] ** 2
    for axis, (ring, end) in enumerate(zip(rings, ends[::-1], strict=True) if roomy else ()):
        short = np.array(list(ROOM.values())) - np.linalg.norm(
            ring[..., None, :] - end[..., None, :4, :], axis=-1
        )
        cost = cost + np.expand_dims(np.square(np.maximum(short, 0.0)).sum(axis=-1), -1 - axis)
    if prior is not None:
        cost = cost / (2 * LOOSE**2) - prior[..., 0, :, None] - prior[..., 1, None, :]
    best = cost.reshape(*cost.shape[:-2], _STEPS**2).argmin(axis=-1)
    chi1 = GRID[np.stack(np.divmod(best, _STEPS), axis=-1)]  # (..., 2)
    for _ in range(_ROUNDS):  # Gauss-Newton on two angles
        misfit = _misfit(ends, chi1)
        slope = np.stack(
            [(_misfit(ends, chi1 + turn) - _misfit(ends, chi1 - turn)) / 2e-4 for turn in 1e-4 * np.eye(2)],
            axis=-1,
        )  # (..., 3, 2)
        square = slope.swapaxes(-1, -2) @ slope + 1e-6 * np.eye(2)
        step = np.linalg.solve(square, slope.swapaxes(-1, -2) @ misfit[..., None])[..., 0]
        chi1 = chi1 - np.clip(step, -0.2, 0.2)
    return (chi1 + np.pi) % (2 * np.pi) - np.pi, _misfit(ends, chi1)


def bridge_misfits(first: np.ndarray, second: np.ndarray, chi1: np.ndarray) -> np.ndarray:
    """Return the misfits (..., 3) of disulfides between residues (..., 5, 3) at chi1 (..., 2), as `place_sulfurs`."""
    return _misfit([np.asarray(first, np.float64), np.asarray(second, np.float64)], chi1)


def _misfit(ends: list[np.ndarray], chi1: np.ndarray) -> np.ndarray:
    first, second = (sulfur(end, chi1[..., number]) for number, end in enumerate(ends))
    pairs = (
        (first, second, SG_SG),
        (first, ends[1][..., 4, :], ACROSS),
        (second, ends[0][..., 4, :], ACROSS),
    )
    return np.stack([np.linalg.norm(a - b, axis=-1) - ideal for a, b, ideal in pairs], axis=-1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
