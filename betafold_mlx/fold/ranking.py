"""Order of the models of a peptide, and the warnings of a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from betafold_mlx.fold.foreign import approximations, is_mirrored, unknown_bonds
from betafold_mlx.geometry.checks import Bond, count_clashes_of, measure_stated
from betafold_mlx.geometry.spread import mirror_image
from betafold_mlx.peptide.cap_bonds import has_cap_bond
from betafold_mlx.peptide.sequence import TRAINED_LENGTHS, Peptide

if TYPE_CHECKING:
    from betafold_mlx.fold.disulfides import DisulfidePattern

UNCERTAIN = 50.0
"""Mean pLDDT below which a prediction carries a warning."""


UNIFORM_LENGTH, UNIFORM_SHARE, UNIFORM_KINDS = 8, 0.6, 2
"""A peptide of so many residues or more carries a warning where one residue makes up this share, or where there are so
few kinds: of the first 102,129 stretches of 16 residues in the training chains 6 have such a share, and none so few."""

CLASH_COST = 30.0
"""pLDDT that a clash for each residue costs a model in the ranking."""


class Ranking(NamedTuple):
    """Order of S models, and what it looked at, best first.

    Attributes
    ----------
    order : numpy.ndarray
        (S,) indices of the models.
    bonds : tuple of tuple of Bond
        The stated bonds of each.
    clashes : tuple of int
        Pairs of atoms in each that are too close.
    through : tuple of bool
        Whether the chain runs through itself.
    """

    order: np.ndarray
    bonds: tuple[tuple[Bond, ...], ...]
    clashes: tuple[int, ...]
    through: tuple[bool, ...]


def rank_models(
    peptide: Peptide, coordinates: np.ndarray, plddt: np.ndarray, chi: np.ndarray | None = None
) -> Ranking:
    """Rank models: first those that have their stated bonds and do not run through themselves, then by mean pLDDT.

    Parameters
    ----------
    peptide : Peptide
        L residues and their stated chemistry.
    coordinates : numpy.ndarray
        (S, L, 5, 3) Angstrom.
    plddt : numpy.ndarray
        (S, L), 0 to 100.
    chi : numpy.ndarray, optional
        (S, L, K) radians of residues with stated bonds, where there are others than a ring and disulfides.
    """
    own = mirror_image(coordinates) if is_mirrored(peptide) else coordinates
    bonds = measure_stated(peptide, own, chi)
    broken = np.array([not all(bond.formed for bond in model) for model in bonds])
    clashes, through = count_clashes_of(peptide, coordinates)
    score = plddt.mean(axis=1) - CLASH_COST * clashes / len(peptide)
    order = np.lexsort((-score, broken.astype(int) + through))
    return Ranking(
        order,
        tuple(bonds[index] for index in order),
        tuple(clashes[order].tolist()),
        tuple(through[order].tolist()),
    )


def collect_warnings(
    peptide: Peptide,
    coordinates: np.ndarray,
    plddt: np.ndarray,
    ranking: Ranking,
    patterns: Sequence[DisulfidePattern],
) -> tuple[str, ...]:
    """Return what a user should know of a prediction, one sentence each.

    Parameters
    ----------
    peptide : Peptide
        L residues and their stated chemistry; its notes come first.
    coordinates : numpy.ndarray
        (L, 5, 3) Angstrom, of the first model.
    plddt : numpy.ndarray
        (L,), of the first model.
    ranking : Ranking
        Of all models.
    patterns : sequence of DisulfidePattern
        How the model would bond the cysteines, where nothing was stated.
    """
    warnings = list(peptide.notes)
    shortest, longest = TRAINED_LENGTHS
    if not shortest <= len(peptide) <= longest:
        warnings.append(
            f"{len(peptide)} residues: the model was trained on {shortest} to {longest}, so expect less of it here"
        )
    most = max(map(peptide.sequence.count, set(peptide.sequence))) / len(peptide)
    if len(peptide) >= UNIFORM_LENGTH and (
        most >= UNIFORM_SHARE or len(set(peptide.sequence)) <= UNIFORM_KINDS
    ):
        warnings.append(
            "few kinds of residues: the model has seen hardly any such chain, so its pLDDT means little here"
        )
    if approximate := approximations(peptide):
        warnings.append(approximate)
    if unknown := unknown_bonds(peptide):
        warnings.append(unknown)
    mean = float(plddt.mean())
    if mean < UNCERTAIN:
        warnings.append(
            f"mean pLDDT {mean:.0f}: low confidence; it may have no fold of its own, or one unlike the training data"
        )
    if patterns:
        first = ",".join(f"{i}-{j}" for i, j in patterns[0].disulfides)
        sure = f"{first}, with probability {patterns[0].probability:.2f} among the ways to bond all cysteines"
        if patterns[0].frameworks:
            sure += f", as in {patterns[0].frameworks[-1].name}"
        warnings.append(
            f"bonded as the model prefers: {sure}"
            if peptide.disulfides
            else f"no disulfides stated, so the cysteines are free; disulfide auto would bond {sure}"
        )
    warnings += faults(ranking.bonds[0], ranking.through[0])
    if peptide.n_cap or peptide.c_cap:
        from betafold_mlx.structure.caps import crowded_caps

        n_cap = None if has_cap_bond(peptide) else peptide.n_cap  # side chains make room for that one
        warnings += crowded_caps(peptide.sequence, coordinates, n_cap, peptide.c_cap)
    return tuple(warnings)


def faults(bonds: Sequence[Bond], through: bool) -> list[str]:
    """Say of a model, a line each, whether its chain runs through itself and which stated bonds it lacks."""
    lines = ["the chain runs through itself: do not use this model"] if through else []
    return lines + [f"{bond.describe()}: not formed in this model" for bond in bonds if not bond.formed]
