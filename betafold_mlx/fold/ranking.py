"""Order of the models of a peptide, and the warnings of a prediction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from betafold_mlx.fold.disulfides import DisulfidePattern
from betafold_mlx.geometry.closure import Bond, measure_bonds
from betafold_mlx.peptide.sequence import TRAINED_LENGTHS, Peptide
from betafold_mlx.structure.caps import crowded_caps

UNCERTAIN = 50.0
"""Mean pLDDT below which a prediction carries a warning."""


def rank_models(
    peptide: Peptide, coordinates: np.ndarray, plddt: np.ndarray
) -> tuple[np.ndarray, tuple[tuple[Bond, ...], ...]]:
    """Rank models: those that have their stated bonds first, then by mean pLDDT.

    Parameters
    ----------
    peptide : Peptide
        L residues and their stated chemistry.
    coordinates : numpy.ndarray
        (S, L, 5, 3) Angstrom.
    plddt : numpy.ndarray
        (S, L), 0 to 100.

    Returns
    -------
    order : numpy.ndarray
        (S,) indices, best first.
    bonds : tuple of tuple of Bond
        The stated bonds of each model, best first.
    """
    bonds = [measure_bonds(peptide, model) for model in coordinates]
    broken = [not all(bond.formed for bond in model) for model in bonds]
    order = np.lexsort((-plddt.mean(axis=1), broken))
    return order, tuple(bonds[index] for index in order)


def collect_warnings(
    peptide: Peptide,
    coordinates: np.ndarray,
    plddt: np.ndarray,
    bonds: Sequence[Bond],
    patterns: Sequence[DisulfidePattern],
) -> tuple[str, ...]:
    """Return what a user should know of a prediction, one sentence each.

    Parameters
    ----------
    peptide : Peptide
        L residues and their stated chemistry.
    coordinates : numpy.ndarray
        (L, 5, 3) Angstrom, of the first model.
    plddt : numpy.ndarray
        (L,), of the first model.
    bonds : sequence of Bond
        Its stated bonds.
    patterns : sequence of DisulfidePattern
        How the model would bond the cysteines, where nothing was stated.
    """
    warnings = []
    shortest, longest = TRAINED_LENGTHS
    if not shortest <= len(peptide) <= longest:
        warnings.append(
            f"{len(peptide)} residues: the model was trained on {shortest} to {longest}, so expect less of it here"
        )
    mean = float(plddt.mean())
    if mean < UNCERTAIN:
        warnings.append(
            f"mean pLDDT {mean:.0f}: low confidence; it may have no fold of its own, or one unlike the training data"
        )
    if patterns:
        first = ",".join(f"{i}-{j}" for i, j in patterns[0].disulfides)
        sure = f"{first}, with probability {patterns[0].probability:.2f} among the ways to bond all cysteines"
        warnings.append(
            f"bonded as the model prefers: {sure}"
            if peptide.disulfides
            else f"no disulfides stated; the model prefers {sure}"
        )
    warnings += [f"{bond.describe()}: not formed in this model" for bond in bonds if not bond.formed]
    return (*warnings, *crowded_caps(peptide.sequence, coordinates, peptide.n_cap, peptide.c_cap))
