"""What of a prediction the report shows, laid out for looking at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.geometry.spread import rotations_onto

MOST_MODELS = 20
"""More models make the file large and the choice long; all of them are in the structure file."""


@dataclass(frozen=True)
class Shown:
    """The first models of a prediction.

    Attributes
    ----------
    prediction : Prediction
        All of it.
    coordinates : numpy.ndarray
        (M, L, 5, 3) float64 Angstrom, M at most `MOST_MODELS`: each model laid on the first, its mean at the origin,
        its longest extent along x and the next along y.
    """

    prediction: Prediction
    coordinates: np.ndarray

    @property
    def ranks(self) -> range:
        """Places of the models that are shown, from 0."""
        return range(len(self.coordinates))


def shown(prediction: Prediction) -> Shown:
    """Choose and lay out what is shown."""
    return Shown(prediction, lay_out(prediction.coordinates[:MOST_MODELS]))


def lay_out(coordinates: np.ndarray) -> np.ndarray:
    """Return models (M, L, 5, 3) as `Shown` has them. All motions are proper: nothing is reflected."""
    atoms = coordinates.astype(np.float64)
    backbone = atoms[:, :, :3].reshape(len(atoms), -1, 3)
    middle = backbone.mean(axis=1)
    centred = backbone - middle[:, None]
    first = centred[0]
    axes = np.linalg.svd(first, full_matrices=False)[2].T  # columns: directions of falling extent
    axes *= np.where(first[0] @ axes > 0, -1.0, 1.0)  # the first residue to the left and below
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    turn = rotations_onto(centred, first) @ axes
    return (atoms - middle[:, None, None]) @ turn[:, None]


def residue_name(prediction: Prediction, place: int) -> str:
    """Return a residue in words, as ``K14``; that of a D peptide as ``D-K14``, glycine never."""
    letter = prediction.sequence[place]
    handed = "D-" if prediction.peptide.d_amino_acids and letter != "G" else ""
    return f"{handed}{letter}{place + 1}"
