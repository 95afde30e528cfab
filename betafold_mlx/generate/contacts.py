"""Atoms of one backbone that come too close: how much, and which way to push them apart."""

from __future__ import annotations

import mlx.core as mx

from betafold_mlx.fold.gradient import CB, CONTACTS

APART = 3
"""Residues along the chain from which on two atoms can clash."""


def clash_gradient(
    atoms: mx.array, mask: mx.array, with_cb: bool, around: mx.array | None = None
) -> tuple[mx.array, mx.array, mx.array]:
    """Return the energy of clashes, its gradient, and the deepest overlap.

    The energy is the sum over pairs of atoms that are closer than their closest approach c
    (`betafold_mlx.fold.gradient.CONTACTS`) of ((c^2 - d^2) / 2 c)^2, which is (c - d)^2 near c.

    Parameters
    ----------
    atoms : mx.array
        (3, 5, L, B) Angstrom, as `betafold_mlx.geometry.nerf.place_atoms` makes them.
    mask : mx.array
        (L, B) bool, True for real residues.
    with_cb : bool
        Whether CB counts.
    around : mx.array, optional
        (B,) residues of each chain, where they are rings.

    Returns
    -------
    energy : mx.array
        (B,) Angstrom^2.
    gradient : mx.array
        (3, 5, L, B) Angstrom.
    overlap : mx.array
        (B,) Angstrom: the largest c - d, 0 where nothing clashes.
    """
    length, batch = atoms.shape[2:]
    place = mx.arange(length)
    separation = mx.abs(place[:, None] - place)[..., None]  # (L, L, 1), both ways
    if around is not None:
        separation = mx.minimum(separation, around - separation)  # (L, L, B)
    apart = separation >= APART
    apart = apart & mask[:, None] & mask[None]  # (L, L, B)
    energy, overlap = mx.zeros(batch), mx.zeros(batch)
    pushes = [mx.zeros((3, length, batch)) for _ in range(5)]
    for a, b, closest in CONTACTS:
        if CB in (a, b) and not with_cb:
            continue
        between = atoms[:, a, :, None] - atoms[:, b, None]  # (3, L, L, B)
        square = mx.square(between).sum(axis=0)
        depth = mx.maximum(closest**2 - square, 0.0) * apart / (2 * closest)
        # Of two atoms of one kind each pair stands in the matrix twice.
        weight = 0.5 if a == b else 1.0
        energy = energy + weight * mx.square(depth).sum(axis=(0, 1))
        overlap = mx.maximum(overlap, closest - mx.sqrt(mx.where(apart, square, closest**2).min(axis=(0, 1))))
        push = (-2.0 * weight / closest) * depth * between
        pushes[a] = pushes[a] + push.sum(axis=2)
        pushes[b] = pushes[b] - push.sum(axis=1)
    return energy, mx.stack(pushes, axis=1), overlap
