"""Figures of a set of chains: are they valid, like known structures, unlike each other, new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from betafold_mlx.evaluate.bootstrap import ClusterBootstrap, interval
from betafold_mlx.generate.distributions import (
    distance_divergence,
    distance_histograms,
    jensen_shannon,
    radius_histogram,
)
from betafold_mlx.generate.favoured import FavouredRegion
from betafold_mlx.generate.fit import CA, MOST_OVERLAP, Fit
from betafold_mlx.generate.similarity import diversity, nearest
from betafold_mlx.generate.validity import CA_CLASH, radius_of_gyration, trace_validity
from betafold_mlx.structure.backbone import complete_residues, peptide_bonds
from betafold_mlx.structure.secondary import assign_secondary_structures

RESAMPLES = 2000
FEWEST = 5
"""Samples, below which there is no interval."""


@dataclass(frozen=True)
class References:
    """What chains are compared with.

    Attributes
    ----------
    radii : numpy.ndarray
        Histogram of the radius of gyration (`betafold_mlx.generate.distributions`).
    distances : numpy.ndarray
        Histograms of C-alpha distances.
    favoured : FavouredRegion
        Of the Ramachandran plot.
    library : list of numpy.ndarray
        (L, 4, 3) backbones of the training split, to look for neighbours in.
    """

    radii: np.ndarray
    distances: np.ndarray
    favoured: FavouredRegion
    library: list[np.ndarray]


@dataclass(frozen=True)
class Chains:
    """N chains.

    Attributes
    ----------
    traces : list of numpy.ndarray
        (L, 3) C-alphas as they were drawn, Angstrom; one that is not finite is a chain that is not valid.
    fits : list of Fit
        Their backbones.
    """

    traces: list[np.ndarray]
    fits: list[Fit]

    def good(self) -> list[Fit]:
        """Return the backbones that may be used."""
        return [fit for fit in self.fits if not fit.problems]


def figures(chains: Chains, references: References, seed: int) -> dict[str, Any]:
    """Return the figures of some chains as plain JSON values.

    What is said of traces is of all of them as they were drawn; what is said of backbones is of those without a
    problem, but for their own validity. Shares and means have ``low`` and ``high``, the ends of a 95 % bootstrap
    interval over samples, where there are at least `FEWEST`; a figure that cannot be had is None.
    """
    raw = [trace_validity(trace) for trace in chains.traces]
    drawn = distance_histograms([trace for trace in chains.traces if np.isfinite(trace).all()])
    fits, good = chains.fits, chains.good()
    off = [fit.rmsd for fit in fits if np.isfinite(fit.rmsd)]
    coordinates = [fit.coordinates for fit in good]
    traces = [backbone[:, CA] for backbone in coordinates]
    held = [references.favoured.holds(fit.torsions[1:-1, :2]) for fit in good]
    letters = assign_secondary_structures([trace.astype(np.float64) for trace in traces])
    near = nearest(coordinates, references.library)
    near = near[~np.isnan(near)]
    spread = diversity(coordinates)

    def mean(sums: Sequence[Any], counts: Sequence[int] | None = None) -> dict[str, Any]:
        return estimate(sums, counts, seed)

    def share_of(letter: str) -> dict[str, Any]:
        return mean([row.count(letter) for row in letters], [len(row) for row in letters])

    return {
        "samples": len(fits),
        "trace": {
            "bonds_ok": mean([row["bonds_ok"] for row in raw]),
            "clash_free": mean([row["nearest_approach"] >= CA_CLASH for row in raw]),
            "valid": mean([row["valid"] for row in raw]),
            "distance_divergence": _rounded(distance_divergence(drawn, references.distances)),
        },
        "backbone": {
            "bonds_ok": mean([_whole(fit.coordinates) for fit in fits]),
            "clash_free": mean([fit.overlap <= MOST_OVERLAP for fit in fits]),
            "valid": mean([not fit.problems for fit in fits]),
            "fit_rmsd_median": _rounded(np.median(off)) if off else None,
        },
        "ramachandran_favoured": mean([row.sum() for row in held], [len(row) for row in held]),
        "secondary_structure": {"helix": share_of("H"), "strand": share_of("E"), "coil": share_of("C")},
        "radius_of_gyration": mean([radius_of_gyration(trace) for trace in traces]),
        "radius_divergence": _rounded(jensen_shannon(radius_histogram(traces), references.radii)),
        "distance_divergence": _rounded(
            distance_divergence(distance_histograms(traces), references.distances)
        ),
        "diversity": {
            "mean_rmsd": _rounded(spread.mean_rmsd),
            "pairs": spread.pairs,
            "clusters": spread.clusters,
            "clusters_per_sample": _rounded(spread.clusters / len(good)) if good else None,
        },
        "nearest_training_rmsd": mean(near.tolist())
        | {"median": _rounded(np.median(near)) if len(near) else None},
    }


def estimate(sums: Sequence[Any], counts: Sequence[int] | None, seed: int) -> dict[str, Any]:
    """Return the mean of values, or of sums over counts, with its interval: ``value``, ``low``, ``high``.

    NaN, a value that a sample does not have, is left out.
    """
    values = np.array(sums, dtype=np.float64)
    weights = np.ones(len(values)) if counts is None else np.array(counts, dtype=np.float64)
    values, weights = values[~np.isnan(values)], weights[~np.isnan(values)]
    if not weights.sum():
        return {"value": None, "low": None, "high": None}
    low = high = None
    if len(values) >= FEWEST:
        bootstrap = ClusterBootstrap(np.arange(len(values)), seed, RESAMPLES)
        low, high = interval(bootstrap.pooled_mean(values, weights))
    return {"value": _rounded(values.sum() / weights.sum()), "low": _rounded(low), "high": _rounded(high)}


def _whole(backbone: np.ndarray) -> bool:
    atoms = backbone[:, :4].astype(np.float64)
    return bool(complete_residues(atoms).all() and peptide_bonds(atoms).all())


def _rounded(value: float | np.floating[Any] | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 4)
