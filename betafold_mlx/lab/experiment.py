"""What an experiment is given, and what it returns."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from betafold_mlx.data.store import Dataset, dataset_sha256
from betafold_mlx.errors import BetafoldError
from betafold_mlx.lab.budget import Budget

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
"""A line of a table: column -> number, text or None."""

Say = Callable[[str], None]
"""Called with a line of text as the work goes on."""


@dataclass(frozen=True)
class Finding:
    """One thing that was measured, and what it says.

    Attributes
    ----------
    measure, unit : str
        What the numbers are.
    value : float
        The number.
    low, high : float or None
        Ends of its 95 % interval; None where nothing was repeated.
    repeats : int
        Independent observations behind it.
    verdict : str
        The finding in words.
    """

    measure: str
    unit: str
    value: float
    low: float | None
    high: float | None
    repeats: int
    verdict: str


@dataclass(frozen=True)
class Picture:
    """A figure and the words below it."""

    figure: Figure
    caption: str


@dataclass
class Outcome:
    """What an experiment found.

    Attributes
    ----------
    findings : list of Finding
        The verdict, most important first.
    tables : dict of str to sequence of Row
        By file name, without suffix. All rows of a table have the same columns.
    pictures : dict of str to Picture
        By file name, without suffix.
    notes : list of str
        What a reader must know beside it.
    """

    findings: list[Finding] = field(default_factory=list)
    tables: dict[str, Sequence[Row]] = field(default_factory=dict)
    pictures: dict[str, Picture] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Lab:
    """What an experiment works with.

    Attributes
    ----------
    directory : Path
        Folder of all experiments; finished training runs are kept in its ``runs``.
    budget : Budget
        How much to do.
    seed : int
        The first seed; repeats count up from it.
    data : Path or None
        Folder of a data set.
    model : str or None
        Trained model to look into; None for the bundled one.
    embedder : Path or None
        Folder of a converted ESM-2.
    peptides : tuple of str
        Sequences that the user gave.
    say : callable
        Told about the progress.
    """

    directory: Path
    budget: Budget
    seed: int = 0
    data: Path | None = None
    model: str | None = None
    embedder: Path | None = None
    peptides: tuple[str, ...] = ()
    say: Say = lambda line: None

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The data set.

        Raises
        ------
        BetafoldError
            None was given, or it is damaged.
        """
        return Dataset.load(self._data)

    @functools.cached_property
    def dataset_sha256(self) -> str:
        """Its fingerprint."""
        return dataset_sha256(self._data)

    @property
    def _data(self) -> Path:
        if self.data is None:
            raise BetafoldError(
                "this experiment needs a data set: name one with --data; "
                "`betafold-mlx dataset build STRUCTURES... -o DATASET` makes one"
            )
        return self.data

    @functools.cached_property
    def small_dataset(self) -> Dataset:
        """The data set with fewer validation fragments, evenly spread, and without those of the test split."""
        fragments = [f for f in self.dataset.fragments if f.split == "validation"]
        kept = min(self.budget.items, len(fragments))
        chosen = [fragments[i * len(fragments) // kept] for i in range(kept)]
        return dataclasses.replace(self.dataset, fragments=chosen)

    @property
    def seeds(self) -> range:
        """Seeds of the repeats."""
        return range(self.seed, self.seed + self.budget.repeats)
