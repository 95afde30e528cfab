"""All models of each item: the first, the best, their mean, and how well confidence ranks them.

The best is chosen by the native structure: it is a bound for a perfect ranking, not a prediction.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from betafold_mlx.evaluate.bootstrap import MIN_CLUSTERS, ClusterBootstrap, interval
from betafold_mlx.evaluate.items import Item
from betafold_mlx.evaluate.reliability import spearman
from betafold_mlx.evaluate.structure_scores import Scores, score_structures
from betafold_mlx.evaluate.summaries import ends

MIN_MODELS = 3
"""With fewer models of an item there is no order to speak of."""


@dataclass(frozen=True)
class Ensembles:
    """The models of n items, m in all."""

    # of all m models: item after item, and of each item in the order in which its models were ranked
    scores: Scores
    counts: np.ndarray  # (n,) int: number of models of each item, at least 1
    plddt: np.ndarray | None = None  # (m,) mean pLDDT of each model, 0 to 100

    @property
    def parts(self) -> list[slice]:
        """The models of each of n items."""
        return [slice(a, b) for a, b in itertools.pairwise([0, *np.cumsum(self.counts).tolist()])]

    @property
    def rmsd(self) -> list[np.ndarray]:
        """Angstrom, (models,) for each of n items: what the models of an item are compared by.

        Backbone RMSD, NaN for a model that has only CA atoms; CA RMSD for an item none of whose models has more. The
        two must not be compared: that of CA atoms is smaller.
        """
        backbone, ca = self.scores.rmsd, self.scores.ca_rmsd
        return [backbone[part] if np.isfinite(backbone[part]).any() else ca[part] for part in self.parts]

    def first(self) -> Scores:
        """Return the scores of the first model of each item."""
        return self.scores.select(np.array([part.start for part in self.parts], dtype=int))

    def best(self) -> Scores:
        """Return the scores of the model of lowest RMSD of each item, the first of equal ones."""
        best = [
            part.start + int(np.nanargmin(rmsd)) for part, rmsd in zip(self.parts, self.rmsd, strict=True)
        ]
        return self.scores.select(np.array(best, dtype=int))

    def mean(self) -> Scores:
        """Return scores averaged over the models of each item, for the figures of a model taken at random.

        A value that some models lack is averaged over the others. The secondary structure is empty.
        """
        means: dict[str, Any] = {}
        for name, values in vars(self.scores).items():
            if name == "secondary_structure":
                means[name] = [""] * len(self.counts)
            else:
                each = [_known_mean(np.stack(list(values[part]))) for part in self.parts]
                means[name] = np.array(each) if isinstance(values, np.ndarray) else each
        return Scores(**means)

    def select(self, items: np.ndarray) -> Ensembles:
        """Return the models of some items."""
        parts = self.parts
        models = np.concatenate(
            [np.zeros(0, int), *(np.arange(parts[i].start, parts[i].stop) for i in items)]
        )
        plddt = None if self.plddt is None else self.plddt[models]
        return Ensembles(self.scores.select(models), self.counts[items], plddt)

    def table(self, item: int) -> dict[str, Any]:
        """Return ``rmsd`` (backbone), ``ca_rmsd``, ``lddt`` and, where known, ``mean_plddt`` of an item's models."""
        part = self.parts[item]
        table = {
            "rmsd": self.scores.rmsd[part],
            "ca_rmsd": self.scores.ca_rmsd[part],
            "lddt": [values.mean() for values in self.scores.lddt[part]],
        }
        return table if self.plddt is None else table | {"mean_plddt": self.plddt[part]}


def _known_mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis of what is not NaN; NaN where everything is."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def score_ensembles(
    items: Sequence[Item], models: Sequence[Sequence[np.ndarray]], plddt: Sequence[Sequence[float]] | None
) -> Ensembles:
    """Score every model of every item: n times at least one (L, A, 3), Angstrom, N, CA, C first, best ranked first.

    `plddt` holds the mean pLDDT of each of them, 0 to 100.
    """
    repeated = [item for item, structures in zip(items, models, strict=True) for _ in structures]
    scores = score_structures(repeated, [structure for structures in models for structure in structures])
    flat = None if plddt is None else np.array([value for values in plddt for value in values], dtype=float)
    return Ensembles(scores, np.array([len(structures) for structures in models], dtype=int), flat)


def ranking_figures(ensembles: Ensembles, bootstrap: ClusterBootstrap | None) -> dict[str, Any] | None:
    """Return how well confidence ranks the models of one peptide, over the items of a group that have `MIN_MODELS`.

    None where no item has. Else ``n``, and ``models`` in all; ``spearman_rmsd``: mean over items of Spearman's
    correlation of mean pLDDT with RMSD among the item's models (negative is right), and ``spearman_n``, the items
    where it is defined; ``hit_rate``: share of items whose first model is the best one, ``chance``: what a blind
    choice would reach, and ``hit_rate_minus_chance``; ``rmsd_first``, ``rmsd_mean``, ``rmsd_best``: mean over items
    of the RMSD of the first, of all, of the best model; ``first_minus_mean``: their difference (negative is right).

    The correlation and the two differences have ``mean``, ``low``, ``high`` (95 % interval over clusters) and
    ``excludes_zero``; the last three are None without a bootstrap, with too few clusters, or where all items say
    the same: resampling those would call certain what a few agreed on by chance.
    """
    if ensembles.plddt is None or not (ensembles.counts >= MIN_MODELS).any():
        return None
    rows = [
        _rank(ensembles.plddt[part], rmsd) for part, rmsd in zip(ensembles.parts, ensembles.rmsd, strict=True)
    ]
    models, correlation, hit, chance, first, mean, best = np.array(rows).T  # (n,) each, NaN where too few
    count = int(np.isfinite(models).sum())
    if not count:
        return None
    return {
        "n": count,
        "models": int(np.nansum(models)),
        "spearman_rmsd": _estimate(correlation, bootstrap),
        "spearman_n": int(np.isfinite(correlation).sum()),
        "hit_rate": np.nanmean(hit),
        "chance": np.nanmean(chance),
        "hit_rate_minus_chance": _estimate(hit - chance, bootstrap),
        "rmsd_first": np.nanmean(first),
        "rmsd_mean": np.nanmean(mean),
        "rmsd_best": np.nanmean(best),
        "first_minus_mean": _estimate(first - mean, bootstrap),
    }


def _rank(plddt: np.ndarray, rmsd: np.ndarray) -> list[float]:
    """Return number, Spearman's correlation, hit, chance, first, mean and best RMSD of (models,) of one item."""
    known = np.isfinite(rmsd)
    if known.sum() < MIN_MODELS or not known[0]:
        return [float("nan")] * 7
    kept = rmsd[known]
    is_best = kept == kept.min()  # equal models are all the best
    correlation = spearman(plddt[known], kept)
    return [len(kept), correlation, is_best[0], is_best.mean(), kept[0], kept.mean(), kept.min()]


def _estimate(values: np.ndarray, bootstrap: ClusterBootstrap | None) -> dict[str, Any]:
    """Return the mean of what is defined of (n,) values, with its interval."""
    known = np.isfinite(values)
    if not known.any():
        return {"mean": float("nan"), **ends(None, None)}
    mean = float(values[known].mean())
    if bootstrap is None or bootstrap.clusters_of(known) < MIN_CLUSTERS or np.ptp(values[known]) == 0:
        return {"mean": mean, **ends(None, None)}
    samples = bootstrap.pooled_mean(np.where(known, values, 0.0), known.astype(float))
    return {"mean": mean, **ends(*interval(samples))}
