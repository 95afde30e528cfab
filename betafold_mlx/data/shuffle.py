"""Peptides whose residues stand in another order."""

from __future__ import annotations

import numpy as np

from betafold_mlx.peptide.sequence import Peptide


def shuffled(peptide: Peptide, rng: np.random.Generator) -> Peptide:
    """Return the peptide with its residues in another order: rings stay rings, bonded cysteines stay where they are."""
    letters = np.array(list(peptide.sequence))
    bonded = {place - 1 for pair in peptide.disulfides for place in pair}
    places = np.array([place for place in range(len(letters)) if place not in bonded])
    letters[places] = letters[rng.permutation(places)]
    return Peptide.of("".join(letters), cyclic=peptide.cyclic, disulfides=peptide.disulfides)
