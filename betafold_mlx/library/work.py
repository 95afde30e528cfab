"""What is done with a window of records, on whichever machine: fold its peptides, and say what is to be written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.library.settings import Settings
from betafold_mlx.library.sinks import Rendered, Sink
from betafold_mlx.peptide.sequence import Peptide


class Task(NamedTuple):
    """What is to be folded of a window, in its order.

    Attributes
    ----------
    names : list of str
        Of their files.
    ids : list of str
        As the user knows them.
    peptides : list of Peptide
        The peptides.
    """

    names: list[str]
    ids: list[str]
    peptides: list[Peptide]


class Folded(NamedTuple):
    """What came out of a task.

    Attributes
    ----------
    predictions : list of Prediction
        In its order.
    rendered : Rendered or None
        What is to be written of them; None where that is still to be made.
    """

    predictions: list[Prediction]
    rendered: Rendered | None


class Work:
    """Does tasks.

    Parameters
    ----------
    predictor : Predictor
        Folds.
    settings : Settings
        How.
    sink : Sink
        Renders.
    """

    def __init__(self, predictor: Predictor, settings: Settings, sink: Sink) -> None:
        self._predictor, self._settings, self._sink = predictor, settings, sink

    def fold(self, task: Task) -> list[Prediction]:
        """Fold the peptides of a task, batches of one padded length together."""
        return self._predictor.fold_many(
            task.peptides,
            ids=task.ids,
            samples=self._settings.samples,
            seed=self._settings.seed,
            auto_disulfides=self._settings.auto_disulfides,
            details=self._settings.report is not None,
            batch_size=self._settings.batch_size,
        )

    def render(self, task: Task, predictions: Sequence[Prediction]) -> Rendered:
        """Return what is to be written of them; without MLX, so that another thread may do it."""
        return self._sink.render(task.names, predictions)
