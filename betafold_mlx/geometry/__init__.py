"""Backbone geometry as MLX operations: batched, masked, differentiable, on any device."""

from __future__ import annotations

from betafold_mlx.geometry.nerf import build_backbone, has_cb
from betafold_mlx.geometry.superpose import rmsd, superpose, superposition
from betafold_mlx.geometry.torsions import backbone_torsions, dihedral, wrap

__all__ = [
    "backbone_torsions",
    "build_backbone",
    "dihedral",
    "has_cb",
    "rmsd",
    "superpose",
    "superposition",
    "wrap",
]
