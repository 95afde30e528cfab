"""Structure files in and out: PDB, mmCIF and backbone JSON lines."""

from __future__ import annotations

from betafold_mlx.structure.backbone import Backbone
from betafold_mlx.structure.bonds import infer_disulfides
from betafold_mlx.structure.jsonl import read_backbones, write_backbones

__all__ = ["Backbone", "infer_disulfides", "read_backbones", "write_backbones"]
