"""From the models of a peptide to its `Prediction`: their order, and what a reader must be warned of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.details import Details
from betafold_mlx.fold.disulfides import Pairing, rank_pairings
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.geometry.closure import Bond, measure_bonds
from betafold_mlx.model.directory import LoadedModel
from betafold_mlx.model.folding import Folded
from betafold_mlx.peptide.sequence import TRAINED_LENGTHS, Peptide
from betafold_mlx.structure.caps import crowded_caps

UNCERTAIN = 50.0
"""Mean pLDDT below which a prediction carries a warning."""


class Models(NamedTuple):
    """All S models of one peptide of L residues, in the order in which they were drawn.

    Attributes
    ----------
    peptide : Peptide
        What was folded; all L, also where the prediction is to be D.
    coordinates : numpy.ndarray
        (S, L, 5, 3) Angstrom.
    plddt : numpy.ndarray
        (S, L), 0 to 100.
    torsions : numpy.ndarray
        (S, L, 3) radians.
    pairings : tuple of Pairing
        How the model would bond the cysteines, where nothing was stated.
    details : Details or None
        What the network said on the way.
    """

    peptide: Peptide
    coordinates: np.ndarray
    plddt: np.ndarray
    torsions: np.ndarray
    pairings: tuple[Pairing, ...]
    details: Details | None


def ranked_pairings(peptide: Peptide, folded: Folded, row: int) -> tuple[Pairing, ...]:
    """Rank the ways to bond the cysteines of a row of a batch where none is stated; nothing where one is."""
    if peptide.disulfides or peptide.sequence.count("C") < 2:
        return ()
    length = len(peptide)
    distogram = np.array(folded.distogram[row, :length, :length])
    return rank_pairings(peptide.sequence, distogram, peptide.cyclic)


def assemble(
    models: Models, name: str, seed: int, loaded: LoadedModel, embedder: Mapping[str, Any]
) -> Prediction:
    """Return the prediction: models that have their bonds first, then by mean pLDDT; mirrored for D residues.

    Parameters
    ----------
    models : Models
        As they were drawn.
    name : str
        Of the peptide.
    seed : int
        They were drawn with.
    loaded : LoadedModel
        That made them.
    embedder : mapping
        Who made its features.

    Raises
    ------
    BetafoldError
        Numbers that are not finite.
    """
    peptide = models.peptide
    made = np.array([all(b.formed for b in measure_bonds(peptide, x)) for x in models.coordinates])
    order = np.lexsort((-models.plddt.mean(axis=1), ~made))
    coordinates, plddt, torsions = (x[order] for x in (models.coordinates, models.plddt, models.torsions))
    if not (np.isfinite(coordinates).all() and np.isfinite(plddt).all()):
        raise BetafoldError(f"model {loaded.name} gives no finite numbers: its weights are damaged")
    glycine = np.array([letter == "G" for letter in peptide.sequence])
    coordinates[:, glycine, 4] = np.nan
    if not peptide.cyclic:
        torsions[:, 0, 0] = np.nan
        torsions[:, -1, 1:] = np.nan
    bonds = tuple(measure_bonds(peptide, model) for model in coordinates)
    prediction = Prediction(
        id=name,
        peptide=peptide,
        coordinates=coordinates,
        plddt=plddt,
        torsions=torsions,
        bonds=bonds,
        seed=seed,
        model_name=loaded.name,
        model_sha256=loaded.sha256,
        embedder=dict(embedder),
        pairings=models.pairings,
        warnings=(
            *_warnings(peptide, bonds[0], float(plddt[0].mean()), models.pairings),
            *crowded_caps(peptide.sequence, coordinates[0], peptide.n_cap, peptide.c_cap),
        ),
        details=models.details,
    )
    return prediction.mirrored() if peptide.d_amino_acids else prediction


def _warnings(
    peptide: Peptide, bonds: Sequence[Bond], plddt: float, pairings: Sequence[Pairing]
) -> tuple[str, ...]:
    warnings = []
    shortest, longest = TRAINED_LENGTHS
    if not shortest <= len(peptide) <= longest:
        warnings.append(
            f"{len(peptide)} residues: the model was trained on {shortest} to {longest}, so expect less of it here"
        )
    if plddt < UNCERTAIN:
        warnings.append(
            f"mean pLDDT {plddt:.0f}: low confidence; it may have no fold of its own, or one unlike the training data"
        )
    if pairings:
        first = ",".join(f"{i}-{j}" for i, j in pairings[0].disulfides)
        sure = f"{first}, with probability {pairings[0].probability:.2f} among the ways to bond all cysteines"
        warnings.append(
            f"bonded as the model prefers: {sure}"
            if peptide.disulfides
            else f"no disulfides stated; the model prefers {sure}"
        )
    warnings += [f"{bond.describe()}: not formed in this model" for bond in bonds if not bond.formed]
    return tuple(warnings)
