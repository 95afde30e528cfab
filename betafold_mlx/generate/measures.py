"""Measures of a set of chains: validity, likeness to known structures, diversity, novelty."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.evaluate.bootstrap import ClusterBootstrap, interval
from betafold_mlx.generate.fit import CA
from betafold_mlx.generate.fit_problem import MAX_OVERLAP, Fit
from betafold_mlx.generate.training_split import FavouredRegion
from betafold_mlx.generate.validity import CA_CLASH, radius_of_gyration, trace_validity
from betafold_mlx.geometry.spread import measure_apart, measure_spread
from betafold_mlx.geometry.superpose import rmsd
from betafold_mlx.structure.backbone import complete_residues, peptide_bonds
from betafold_mlx.structure.secondary import assign_secondary_structures

RESAMPLES = 2000
MIN_SAMPLES = 5  # with fewer samples there is no interval
BIN_WIDTH = 0.5  # Angstrom, of histograms
_RADII = np.arange(0.0, 40.0 + BIN_WIDTH, BIN_WIDTH)
_DISTANCES = np.arange(0.0, 124.0 + BIN_WIDTH, BIN_WIDTH)
SEPARATIONS = range(2, 13)
"""Residues apart along the chain whose distances are compared; neighbours are at bond length."""
_CHUNK = 4096  # superpositions at a time


class TrainingReferences(NamedTuple):
    """What chains are compared with, from the training split."""

    radii: np.ndarray  # `radius_histogram` of windows
    distances: np.ndarray  # `distance_histograms` of windows
    favoured: FavouredRegion
    library: list[np.ndarray]  # (L, 4, 3) backbones to look for neighbours in


class Chains(NamedTuple):
    """N chains."""

    traces: list[np.ndarray]  # (L, 3) C-alphas as they were drawn, Angstrom; finite where valid
    fits: list[Fit]  # their backbones

    def good(self) -> list[Fit]:
        """Return the backbones without a problem."""
        return [fit for fit in self.fits if not fit.problems]


def chain_figures(chains: Chains, references: TrainingReferences, seed: int) -> dict[str, Any]:
    """Return the figures of some chains as plain JSON values.

    Figures of traces are of all of them as they were drawn; figures of backbones, but for their own validity, are of
    those without a problem. Shares and means have ``low`` and ``high``, the ends of a 95 % bootstrap interval over
    samples, where there are at least `MIN_SAMPLES`; a figure that does not exist is None.
    """
    raw = [trace_validity(trace) for trace in chains.traces]
    drawn = distance_histograms([trace for trace in chains.traces if np.isfinite(trace).all()])
    fits, good = chains.fits, chains.good()
    fit_rmsds = [fit.rmsd for fit in fits if np.isfinite(fit.rmsd)]
    coordinates = [fit.coordinates for fit in good]
    traces = [backbone[:, CA] for backbone in coordinates]
    favoured = [references.favoured.holds(fit.torsions[1:-1, :2]) for fit in good]
    letters = assign_secondary_structures([trace.astype(np.float64) for trace in traces])
    near = nearest(coordinates, references.library)
    near = near[~np.isnan(near)]
    spread = diversity(coordinates)
    mean = functools.partial(mean_estimate, seed=seed)

    def share_of(letter: str) -> dict[str, Any]:
        return mean([row.count(letter) for row in letters], [len(row) for row in letters])

    return {
        "samples": len(fits),
        "trace": {
            "bonds_ok": mean([row["bonds_ok"] for row in raw]),
            "clash_free": mean([row["nearest_approach"] >= CA_CLASH for row in raw]),
            "valid": mean([row["valid"] for row in raw]),
            "distance_divergence": _four_digits(distance_divergence(drawn, references.distances)),
        },
        "backbone": {
            "bonds_ok": mean([_whole(fit.coordinates) for fit in fits]),
            "clash_free": mean([fit.overlap <= MAX_OVERLAP for fit in fits]),
            "valid": mean([not fit.problems for fit in fits]),
            "fit_rmsd_median": _four_digits(np.median(fit_rmsds)) if fit_rmsds else None,
        },
        "ramachandran_favoured": mean([row.sum() for row in favoured], [len(row) for row in favoured]),
        "secondary_structure": {"helix": share_of("H"), "strand": share_of("E"), "coil": share_of("C")},
        "radius_of_gyration": mean([radius_of_gyration(trace) for trace in traces]),
        "radius_divergence": _four_digits(jensen_shannon(radius_histogram(traces), references.radii)),
        "distance_divergence": _four_digits(
            distance_divergence(distance_histograms(traces), references.distances)
        ),
        "diversity": {
            **spread,
            "mean_rmsd": _four_digits(spread["mean_rmsd"]),
            "clusters_per_sample": _four_digits(spread["clusters"] / len(good)) if good else None,
        },
        "nearest_training_rmsd": mean(near.tolist())
        | {"median": _four_digits(np.median(near)) if len(near) else None},
    }


def figure_at(figures: Mapping[str, Any], place: str) -> Any:
    """Return what stands at ``a.b`` in `chain_figures`."""
    return functools.reduce(lambda found, name: found[name], place.split("."), figures)


def mean_estimate(sums: Sequence[Any], counts: Sequence[int] | None = None, *, seed: int) -> dict[str, Any]:
    """Return the mean of values, or of sums over counts, with its interval: ``value``, ``low``, ``high``.

    NaN, a value that a sample does not have, is left out.
    """
    values = np.array(sums, dtype=np.float64)
    weights = np.ones(len(values)) if counts is None else np.array(counts, dtype=np.float64)
    values, weights = values[~np.isnan(values)], weights[~np.isnan(values)]
    if not weights.sum():
        return {"value": None, "low": None, "high": None}
    low = high = None
    if len(values) >= MIN_SAMPLES:
        bootstrap = ClusterBootstrap(np.arange(len(values)), seed, RESAMPLES)
        low, high = interval(bootstrap.pooled_mean(values, weights))
    return {
        "value": _four_digits(values.sum() / weights.sum()),
        "low": _four_digits(low),
        "high": _four_digits(high),
    }


def _whole(backbone: np.ndarray) -> bool:
    atoms = backbone[:, :4].astype(np.float64)
    return bool(complete_residues(atoms).all() and peptide_bonds(atoms).all())


def _four_digits(value: float | np.floating[Any] | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 4)


def jensen_shannon(first: np.ndarray, second: np.ndarray) -> float:
    """Return the Jensen-Shannon divergence of two histograms (n,), bits: 0 if they are alike, 1 if nothing is shared.

    J. Lin, IEEE Trans. Inf. Theory 37, 145 (1991). NaN where one of them is empty.
    """
    if not first.sum() or not second.sum():
        return float("nan")
    p, q = first / first.sum(), second / second.sum()
    middle = (p + q) / 2

    def relative(x: np.ndarray) -> float:
        some = x > 0
        return float((x[some] * np.log2(x[some] / middle[some])).sum())

    return max((relative(p) + relative(q)) / 2, 0.0)


def radius_histogram(traces: Sequence[np.ndarray]) -> np.ndarray:
    """Return how many traces (L, 3) have a radius of gyration in each bin of `BIN_WIDTH`."""
    return np.histogram([radius_of_gyration(trace) for trace in traces], _RADII)[0].astype(float)


def distance_histograms(traces: Sequence[np.ndarray]) -> np.ndarray:
    """Return histograms of C-alpha distances, one for each separation along the chain: (`SEPARATIONS`, bins)."""
    rows = []
    for separation in SEPARATIONS:
        apart = [
            np.linalg.norm(trace[separation:].astype(np.float64) - trace[:-separation], axis=1)
            for trace in traces
            if len(trace) > separation
        ]
        rows.append(np.histogram(np.concatenate([np.zeros(0), *apart]), _DISTANCES)[0])
    return np.array(rows, dtype=float)


def distance_divergence(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean divergence of two `distance_histograms` over the separations that both have."""
    each = [jensen_shannon(a, b) for a, b in zip(first, second, strict=True)]
    known = [value for value in each if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def diversity(backbones: Sequence[np.ndarray]) -> dict[str, Any]:
    """Measure how backbones (L, >=3, 3), N, CA, C first, differ; only those of one length are compared.

    ``mean_rmsd`` of all ``pairs`` (N, CA, C, Angstrom; NaN where there is none), and the number of ``clusters``, whose
    leaders are farther than `betafold_mlx.geometry.spread.ALIKE` from all earlier ones.
    """
    total, pairs, clusters = 0.0, 0, 0
    for group in _by_length(backbones).values():
        some = np.stack([backbones[index][:, :3] for index in group])
        upper = measure_apart(some)[np.triu_indices(len(group), k=1)]
        total, pairs = total + float(upper.sum()), pairs + len(upper)
        clusters += max(measure_spread(some).clusters)
    return {"mean_rmsd": total / pairs if pairs else float("nan"), "pairs": pairs, "clusters": clusters}


def nearest(backbones: Sequence[np.ndarray], library: Sequence[np.ndarray]) -> np.ndarray:
    """Return the RMSD (n,), Angstrom, of each backbone to the nearest of a library that has the same length.

    Backbones are (L, >=3, 3), N, CA, C first; the RMSD is NaN where the library has none of the length.
    """
    known = _by_length(library)
    found = np.full(len(backbones), np.nan)
    for length, group in _by_length(backbones).items():
        if length not in known:
            continue
        # (K, 3 L, 3)
        targets = mx.array(np.stack([_flat_centred(library[index]) for index in known[length]]))
        rows = max(1, _CHUNK // len(known[length]))
        for first in range(0, len(group), rows):
            some = group[first : first + rows]
            mobile = mx.array(np.stack([_flat_centred(backbones[index]) for index in some]))
            pair = (len(some), targets.shape[0], *targets.shape[1:])
            away = rmsd(mx.broadcast_to(mobile[:, None], pair), mx.broadcast_to(targets[None], pair))
            found[some] = np.array(away.min(axis=1))
    return found


def _flat_centred(backbone: np.ndarray) -> np.ndarray:
    points = backbone[:, :3].reshape(-1, 3).astype(np.float64)
    return (points - points.mean(axis=0)).astype(np.float32)


def _by_length(backbones: Sequence[np.ndarray]) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = {}
    for index, backbone in enumerate(backbones):
        groups.setdefault(len(backbone), []).append(index)
    return groups
