"""The trained model that an experiment looks into."""

from __future__ import annotations

from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.lab.experiment import Lab
from betafold_mlx.model.directory import LoadedModel
from betafold_mlx.train.batches import Featurizer


class Trained:
    """A model, and what must be said of it.

    Parameters
    ----------
    predictor : Predictor
        The model.
    notes : list of str
        What a reader must know.
    """

    def __init__(self, predictor: Predictor, notes: list[str]) -> None:
        self.predictor = predictor
        self.notes = notes

    @property
    def loaded(self) -> LoadedModel:
        """The network and where it came from."""
        return self.predictor.loaded

    @property
    def embedder(self) -> Featurizer | None:
        """What makes its features."""
        return self.predictor.embedder


def load_trained(lab: Lab) -> Trained:
    """Load the model that the user named, or the bundled one.

    Raises
    ------
    BetafoldError
        No such model, or a damaged one.
    """
    predictor = Predictor.load(lab.model)
    notes = [f"Model {predictor.loaded.name}, sha256 {predictor.loaded.sha256:.12}."]
    if lab.data is not None and predictor.loaded.trained_on != lab.dataset_sha256:
        notes.append(
            "The model was trained on another data set: the test structures may be like its training structures, and "
            "its errors larger in truth."
        )
    return Trained(predictor, notes)
