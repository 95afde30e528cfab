"""Means over validation structures of variants against a baseline, with intervals for other seeds and structures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from betafold_mlx.lab.compare import Measure
from betafold_mlx.lab.experiment import Finding
from betafold_mlx.lab.series import Series
from betafold_mlx.lab.statistics import compared, seeds_and_clusters


class Column(NamedTuple):
    """A column of `betafold_mlx.lab.scoring.structure_rows`, and the rows whose mean is asked for."""

    name: str
    unit: str
    column: str
    chosen: Callable[[dict[str, Any]], bool] = lambda row: True

    @property
    def measure(self) -> Measure:
        """The same as a figure of a run."""
        return Measure(self.name, self.unit, lambda run: run.mean(self.column, self.chosen))


FOLDED = Column("backbone RMSD after folding", "Å", "folded_rmsd")
PSI = Column("psi error", "°", "psi_error")
COLUMNS = (
    FOLDED,
    Column(
        "backbone RMSD of fragments after folding", "Å", "folded_rmsd", lambda row: row["kind"] == "fragment"
    ),
    Column(
        "backbone RMSD of peptides after folding", "Å", "folded_rmsd", lambda row: row["kind"] != "fragment"
    ),
    Column(
        "backbone RMSD of bonded peptides and fragments after folding",
        "Å",
        "folded_rmsd",
        lambda row: row["chemistry"] != "linear",
    ),
    Column("backbone RMSD", "Å", "rmsd"),
    Column("phi error", "°", "phi_error"),
    PSI,
)

MEASURES = tuple(column.measure for column in COLUMNS)

INTERVALS = (
    "The intervals hold for other seeds and for other structures: Student's over paired seeds and a bootstrap over "
    "clusters of structures, added in quadrature. Each stands by itself: of twenty comparisons that mean nothing, one "
    "looks like a difference."
)


def column_findings(series: Series, baseline: str, clusters: np.ndarray, seed: int) -> list[Finding]:
    """Return the verdict on each variant against the baseline, by each column.

    Parameters
    ----------
    series : Series
        The runs.
    baseline : str
        One of the variants.
    clusters : numpy.ndarray
        (n,) of the structures that each run has a row for.
    seed : int
        Of the bootstrap.
    """
    found = []
    for column in COLUMNS:
        rows = [place for place, row in enumerate(series[baseline][0].items) if column.chosen(row)]
        values = {
            name: np.array([[run.items[place][column.column] for place in rows] for run in runs])
            for name, runs in series.items()
        }
        for name in series:
            if name != baseline and rows:
                interval = seeds_and_clusters(values[name], values[baseline], clusters[rows], seed)
                found.append(compared(name, baseline, column.name, column.unit, interval))
    return found
