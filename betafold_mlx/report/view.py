"""The models of a prediction that a report shows, turned for display."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from betafold_mlx.geometry.spread import rotations_onto
from betafold_mlx.report.bands import Band, band_of

if TYPE_CHECKING:
    from betafold_mlx.fold.prediction import Prediction

MAX_MODELS = 20
"""More models make the file large and the choice long; all of them are in the structure file."""


class ResidueView(NamedTuple):
    """A residue of a model."""

    name: str  # ``K14``; of a D peptide ``D-K14``, glycine never
    letter: str  # one-letter code
    plddt: float  # 0 to 100
    band: Band  # the band of its pLDDT
    angles: tuple[float | None, ...]  # phi, psi, omega in degrees, None where undefined
    structure: str  # H, E or C

    @property
    def title(self) -> str:
        """Its name and confidence in words."""
        return f"{self.name}: pLDDT {self.plddt:.0f}, {self.band.name}"


@dataclass(frozen=True)
class PredictionView:
    """The first models of a prediction."""

    prediction: Prediction  # the whole prediction
    coordinates: np.ndarray  # (M, L, 5, 3) float64 Angstrom, M at most `MAX_MODELS`, from `lay_out`
    atoms: np.ndarray  # (M, n, 3) float64 Angstrom, those of `Prediction.names`, laid out alike

    @property
    def ranks(self) -> range:
        """Places of the models that are shown, from 0."""
        return range(len(self.coordinates))

    @property
    def ticks(self) -> list[int]:
        """Residue numbers that the axes of the pictures show."""
        length = len(self.prediction.sequence)
        return sorted({1, length, *range(5, length - 1, 5)})

    @functools.cached_property
    def residues(self) -> list[list[ResidueView]]:
        """The residues of each model."""
        return [
            [self._residue(rank, place) for place in range(len(self.prediction.sequence))]
            for rank in self.ranks
        ]

    def _residue(self, rank: int, place: int) -> ResidueView:
        prediction = self.prediction
        letter = prediction.sequence[place]
        handed = "D-" if prediction.peptide.d_amino_acids and letter != "G" else ""
        plddt = float(prediction.plddt[rank, place])
        angles = np.degrees(prediction.torsions[rank, place].astype(float)).tolist()
        return ResidueView(
            name=f"{handed}{letter}{place + 1}",
            letter=letter,
            plddt=plddt,
            band=band_of(plddt),
            angles=tuple(None if math.isnan(angle) else angle for angle in angles),
            structure=prediction.secondary_structure[rank][place],
        )


def view(prediction: Prediction) -> PredictionView:
    """Choose and lay out what is shown."""
    return PredictionView(prediction, *lay_out(prediction.coordinates[:MAX_MODELS], prediction.heavy_atoms()))


def lay_out(coordinates: np.ndarray, atoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return models laid on the first one, its mean at the origin, its longest extent along x, the next along y.

    All motions are proper: nothing is reflected. `coordinates` (M, L, 5, 3) and `atoms` (M or more, n, 3), Angstrom.
    """
    models = coordinates.astype(np.float64)
    backbone = models[:, :, :3].reshape(len(models), -1, 3)
    middle = backbone.mean(axis=1)[:, None]
    centred = backbone - middle
    first = centred[0]
    axes = np.linalg.svd(first, full_matrices=False)[2].T  # columns: directions of falling extent
    axes *= np.where(first[0] @ axes > 0, -1.0, 1.0)  # the first residue to the left and below
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    turn = rotations_onto(centred, first) @ axes
    return (models - middle[:, None]) @ turn[:, None], (atoms[: len(models)] - middle) @ turn
