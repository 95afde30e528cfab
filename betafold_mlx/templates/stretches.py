"""Stretches of chains as templates: their backbones rebuilt from torsions, with ideal geometry."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from betafold_mlx.geometry import build_backbone
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.templates.chains import CIS, ChainLibrary, Stretch
from betafold_mlx.templates.library import TemplateLibrary


def cut_stretches(chains: ChainLibrary, peptides: Sequence[Peptide]) -> list[TemplateLibrary | None]:
    """Return for each peptide a library of the stretches of chains that it is most like; None where there is none."""
    found = chains.nearest(peptides)
    if not any(found):
        return [None] * len(peptides)
    owner = np.repeat(np.arange(len(found)), list(map(len, found)))
    whole = _rebuilt(chains, [stretch for of_one in found for stretch in of_one])
    return [whole.subset(owner == number) if of_one else None for number, of_one in enumerate(found)]


def _rebuilt(chains: ChainLibrary, stretches: Sequence[Stretch]) -> TemplateLibrary:
    lengths = np.array([stretch.last - stretch.first for stretch in stretches])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = np.concatenate([np.arange(stretch.first, stretch.last) for stretch in stretches])
    residues = (chains.residues[rows] % CIS).astype(np.uint8)
    torsions = chains.angles(rows)
    inside = np.arange(lengths.max()) < lengths[:, None]  # (E, longest)
    padded = np.zeros((*inside.shape, 3), dtype=np.float32)
    kinds = np.zeros(inside.shape, dtype=np.int32)
    padded[inside], kinds[inside] = torsions, residues
    built = build_backbone(mx.array(padded), mx.array(kinds), mx.array(inside))
    ca = np.array(built)[:, :, 1].astype(np.float64)
    ca -= (ca * inside[..., None]).sum(axis=1, keepdims=True) / lengths[:, None, None]
    torsions[offsets[:-1], 0] = np.nan
    torsions[offsets[1:] - 1, 1:] = np.nan
    return TemplateLibrary(
        names=tuple(chains.name(stretch) for stretch in stretches),
        clusters=np.array([stretch.chain for stretch in stretches], dtype=np.int32),
        offsets=offsets.astype(np.int32),
        residues=residues,
        partner=np.concatenate([chains.partners(stretch.first, stretch.last) for stretch in stretches]),
        cyclic=np.zeros(len(stretches), dtype=bool),
        ca=ca[inside].astype(np.float16),
        torsions=torsions.astype(np.float16),
    )
