"""Template libraries made by hand."""

import mlx.core as mx
import numpy as np

from betafold_mlx.geometry import build_backbone
from betafold_mlx.peptide.sequence import ALPHABET, residue_ids
from betafold_mlx.templates.library import TemplateLibrary

LETTERS = list(ALPHABET)


def random_sequence(rng, shortest=8, longest=40):
    return "".join(rng.choice(LETTERS, size=int(rng.integers(shortest, longest + 1))))


def library_of(entries):
    """Make a library of entries.

    Each is a sequence (length L), or a tuple of it, its disulfides (1-based), whether it is a ring, and its torsions
    (L, 3) in radians; without these its backbone is a helix.
    """
    entries = [(entry,) if isinstance(entry, str) else entry for entry in entries]
    sequences, partners, rings, ca, torsions = [], [], [], [], []
    for sequence, disulfides, cyclic, angles in (
        (*entry, *((), False, None)[len(entry) - 1 :]) for entry in entries
    ):
        if angles is None:
            angles = np.tile(np.radians([-63.0, -42.0, 180.0]), (len(sequence), 1))
        built = build_backbone(
            mx.array(angles.astype(np.float32))[None], mx.array(residue_ids(sequence))[None]
        )
        partner = np.full(len(sequence), -1, dtype=np.int16)
        for i, j in disulfides:
            partner[i - 1], partner[j - 1] = j - 1, i - 1
        known = angles.astype(np.float64).copy()
        known[0, 0] = known[-1, 1:] = np.nan
        positions = np.array(built)[0, :, 1].astype(np.float64)
        sequences.append(sequence)
        partners.append(partner)
        rings.append(cyclic)
        ca.append(positions - positions.mean(axis=0))
        torsions.append(known)
    return TemplateLibrary(
        names=tuple(f"{n}ABC_A" for n in range(len(entries))),
        clusters=np.arange(len(entries), dtype=np.int32),
        offsets=np.cumsum([0, *map(len, sequences)]).astype(np.int32),
        residues=np.concatenate([residue_ids(sequence) for sequence in sequences]).astype(np.uint8),
        partner=np.concatenate(partners),
        cyclic=np.array(rings),
        ca=np.concatenate(ca).astype(np.float16),
        torsions=np.concatenate(torsions).astype(np.float16),
    )
