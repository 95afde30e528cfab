"""Turned structures are those that are built with the other angles, and slopes are the derivatives."""

import mlx.core as mx
import numpy as np

from betafold_mlx.geometry import build_backbone
from betafold_mlx.geometry.side_chains import build_side_chains, side_chains
from betafold_mlx.geometry.turning import Turning
from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import Peptide

PEPTIDE = Peptide.parse("AWKGPMRA", residues={1: "DPN", 3: "MLE", 6: "CGU", 8: "0XL"})


def build(torsions, chi):
    chains = side_chains([PEPTIDE.residues], [True], len(PEPTIDE))
    torsions, chi = (mx.array(angles.astype(np.float32)) for angles in (torsions, chi))
    backbone = build_backbone(
        torsions, mx.array(PEPTIDE.ids)[None], d_residues=mx.array(PEPTIDE.d_residues)[None]
    )
    return np.array(build_side_chains(backbone, chi, chains, torsions[..., 0]))[np.array(chains.mask)][
        None
    ], chains


def test_turning_is_building_with_other_angles():
    rng = np.random.default_rng(0)
    torsions, chi = rng.uniform(-3, 3, (1, 8, 3)), rng.uniform(0.5, 2.5, (1, 8, 6))
    before, chains = build(torsions, chi)
    atoms = [(i + 1, name) for i, names in enumerate(chains.names[0]) for name in names if name]
    turning = Turning(PEPTIDE, atoms)
    by = rng.normal(0, 0.4, (1, turning.behind.shape[1]))
    assert len(turning.chi) == sum(bool(RESIDUES[c].turned(k)) for c in PEPTIDE.residues for k in range(6))
    turned = chi.copy()
    turned[:, turning.chi[:, 0], turning.chi[:, 1]] += by[:, 24:]
    after, _ = build(torsions + by[:, :24].reshape(1, 8, 3), turned)
    moved = turning.turned(before.astype(np.float64), by)
    np.testing.assert_allclose(moved, after, atol=1e-3)

    along, lever = turning.axes(moved)
    for angle in range(by.shape[1]):
        step = np.where(np.arange(by.shape[1]) == angle, 1e-5, 0.0)[None]
        slope = (turning.turned(moved, step) - turning.turned(moved, -step)) / 2e-5
        wanted = (np.cross(along[:, angle], moved) - lever[:, angle]) * turning.behind[:, angle, None]
        np.testing.assert_allclose(slope, wanted, atol=1e-6)
