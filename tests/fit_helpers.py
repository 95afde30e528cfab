"""Shapes to fit to, and the energy of the fit in float64, one pair at a time."""

import math

import numpy as np
import oracles
from synthetic import HELIX, STRAND

from betafold_mlx.fold.fitting import DISULFIDE_CB
from betafold_mlx.fold.gradient import BRIDGE_CA, CONTACTS, RING_PAIRS


def shape_of(length, rng, noise=8.0):
    """Torsions (L, 3) of a helix, a loop and a strand: a hairpin of sorts, with hands."""
    loop = np.radians(rng.uniform(-150, 150, (3, 3)))
    loop[:, 2] = math.pi
    helix = (length - 3) // 2
    torsions = np.concatenate([np.tile(HELIX, (helix, 1)), loop, np.tile(STRAND, (length - 3 - helix, 1))])
    return torsions + np.radians(noise) * rng.normal(size=torsions.shape) * [1, 1, 0.3]


def ca_of(torsions, peptide):
    return oracles.build_backbone(torsions, peptide.sequence)[:, 1]


def padded(arrays, length=16):
    """Stack arrays (L, ...) with zeros behind them."""
    out = np.zeros((len(arrays), length, *arrays[0].shape[1:]))
    for row, array in enumerate(arrays):
        out[row, : len(array)] = array
    return out


def plain_energy(torsions, start, freedom, target, weight, width, peptide, ring, stage):
    """The energy of one chain in float64, one term and one pair at a time."""
    atoms = oracles.build_backbone(torsions, peptide.sequence)
    kept = weight > 0
    _, _, rmsd = oracles.kabsch(atoms[kept, 1], target[kept])
    total = 0.5 * kept.sum() * (rmsd / width) ** 2
    turn = np.angle(np.exp(1j * (torsions - start)))
    total += 0.5 * ((turn / freedom) ** 2).sum()
    length = len(peptide)
    for i in range(length):
        for j in range(length):
            apart = abs(i - j)
            if (min(apart, length - apart) if peptide.cyclic else apart) < 3:
                continue
            for a, b, closest in CONTACTS:
                square = ((atoms[i, a] - atoms[j, b]) ** 2).sum()
                once = 0.5 if a == b else 1.0
                total += once * stage.clash * (max(closest**2 - square, 0.0) / (2 * closest)) ** 2
    stretches = [(-1, a, 0, b, (d, d), stage.ring) for (a, b), d in zip(RING_PAIRS, ring, strict=True)]
    stretches = stretches if peptide.cyclic else []
    for i, j in peptide.disulfides:
        stretches += [(i - 1, 4, j - 1, 4, DISULFIDE_CB, stage.disulfide)]
        stretches += [(i - 1, 1, j - 1, 1, BRIDGE_CA, stage.disulfide)]
    for i, a, j, b, (low, high), unit in stretches:
        distance = np.linalg.norm(atoms[i, a] - atoms[j, b])
        total += 0.5 * (max(distance - high, low - distance, 0.0) / unit) ** 2
    return total
