"""Fold the items of a split, predict them by the baselines too, and score everything alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from betafold_mlx.data.store import Dataset
from betafold_mlx.evaluate.baselines import (
    HELIX,
    STRAND,
    build_structures,
    constant_torsions,
    native_torsions,
    neighbour_torsions,
    prior_torsions,
    type_prior,
)
from betafold_mlx.evaluate.bonding import PreferredPairing, preferred_pairing
from betafold_mlx.evaluate.ensembles import Ensembles, score_ensembles
from betafold_mlx.evaluate.folding import Say, fold_all
from betafold_mlx.evaluate.items import Item
from betafold_mlx.evaluate.neighbours import nearest_windows
from betafold_mlx.evaluate.scope import measure_scope
from betafold_mlx.evaluate.scoring import Scores, score_structures
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.geometry.closure import Bond
from betafold_mlx.peptide.sequence import Peptide

MODEL, UNSTATED, OTHER = "model", "model_not_told", "other_model"
BEST_OF, MEAN_OF = "best_of_", "mean_of_"
"""How the names of an oracle's choice among some models, and of the mean over them, begin."""
SAMPLES = 5
"""Models of each item."""


@dataclass(frozen=True)
class Method:
    """A way to predict the items.

    Attributes
    ----------
    name, description : str
        For tables and JSON.
    structures : list of numpy.ndarray
        (L, A, 3) Angstrom of each item, A >= 3, N, CA, C first.
    """

    name: str
    description: str
    structures: list[np.ndarray]


@dataclass
class Baselines:
    """The baselines on some items.

    Attributes
    ----------
    methods : list of Method
        In the order of the tables; the reconstruction floor last.
    details : list of dict
        For each item its ``neighbour``: the training window that the nearest neighbour took, where there is one.
    notes : list of str
        What is missing, and why.
    """

    methods: list[Method]
    details: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Evaluation:
    """Scores of several methods on the same items.

    Attributes
    ----------
    items : list of Item
        What was predicted.
    scores : dict
        Name of the method -> Scores; the judged method first.
    descriptions : dict
        Name of the method -> what it is.
    plddt : list of numpy.ndarray or None
        (L,) confidence of the judged method for each item, 0 to 100.
    details : list of dict
        What else is to be told of each item, for its record in the report.
    notes : list of str
        What a reader should know.
    ensembles : Ensembles or None
        All models of the judged method, where it makes several.
    bonds : list of tuple of tuple of Bond, or None
        For each item and each of its models, the stated bonds as the coordinates have them.
    pairings : list of PreferredPairing, or None
        For each item with disulfides, those that the model prefers when it is told of none; None for the others.
    scope : dict or None
        See `betafold_mlx.evaluate.scope.measure_scope`.
    """

    items: list[Item]
    scores: dict[str, Scores]
    descriptions: dict[str, str]
    plddt: list[np.ndarray] | None
    details: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    ensembles: Ensembles | None = None
    bonds: list[tuple[tuple[Bond, ...], ...]] | None = None
    pairings: list[PreferredPairing | None] | None = None
    scope: dict[str, Any] | None = None


def evaluate_model(
    predictor: Predictor,
    dataset: Dataset,
    items: Sequence[Item],
    seed: int = 0,
    say: Say = lambda text: None,
    beside: Predictor | None = None,
    *,
    samples: int = SAMPLES,
    scope: int | None = None,
) -> Evaluation:
    """Fold the items with their stated chemistry and without it, and score the model beside the baselines.

    Parameters
    ----------
    predictor : Predictor
        The model.
    dataset : Dataset
        Its train split is what the type prior and the nearest neighbour know.
    items : sequence of Item
        At least one.
    seed : int
        Of the folds.
    say : callable
        Told about the progress.
    beside : Predictor, optional
        Another model to set it beside.
    samples : int
        Models of each item; the first, which the model ranks highest, is judged.
    scope : int, optional
        How many random and how many shuffled sequences to fold too; without it none, and no disordered ones.

    Returns
    -------
    Evaluation
    """
    predictions = fold_all(predictor, [item.peptide for item in items], samples, seed, say)
    # Some of the disulfides were read off the native structure, and no baseline uses any: what are they worth?
    told = [n for n, item in enumerate(items) if item.peptide.cyclic or item.peptide.disulfides]
    bare = [Peptide(items[index].peptide.sequence) for index in told]
    untold = dict(zip(told, fold_all(predictor, bare, samples, seed, say, "folded, not told:"), strict=True))
    plain = [untold.get(index, prediction) for index, prediction in enumerate(predictions)]
    baselines = predict_baselines(items, dataset, say)
    say(f"scoring {samples * len(items)} models")
    ensembles = score_ensembles(
        items,
        [list(prediction.coordinates) for prediction in predictions],
        [prediction.plddt.mean(axis=1).tolist() for prediction in predictions],
    )
    first = f", first of {samples}" if samples > 1 else ""
    scores = {MODEL: ensembles.first()}
    descriptions = {MODEL: _in_words(predictor) + first}
    if samples > 1:
        scores |= several(ensembles, str(samples))
        descriptions |= describe_several(str(samples), f"the {samples} models of each item")
    unstated = Method(
        UNSTATED, f"the same model{first}, rings and disulfides not stated", [p.coordinates[0] for p in plain]
    )
    methods = [unstated]
    if beside is not None:
        others = fold_all(
            beside, [item.peptide for item in items], samples, seed, say, "folded, other model:"
        )
        methods.append(Method(OTHER, _in_words(beside) + first, [p.coordinates[0] for p in others]))
    methods += baselines.methods
    stated = f"the model is told the ring or the disulfides of {len(told)} of {len(items)} items; no baseline uses them"
    return Evaluation(
        items=list(items),
        scores=scores | score_methods(items, methods, say),
        descriptions=descriptions | {method.name: method.description for method in methods},
        plddt=[prediction.plddt[0] for prediction in predictions],
        details=baselines.details,
        notes=[stated, *baselines.notes],
        ensembles=ensembles if samples > 1 else None,
        bonds=[prediction.bonds for prediction in predictions],
        pairings=_pairings(items, plain),
        scope=None
        if scope is None
        else measure_scope(predictor, dataset, items, predictions, scope, samples, seed, say),
    )


def _in_words(predictor: Predictor) -> str:
    loaded, embedder = predictor.loaded, predictor.describe_embedder()
    features = "" if embedder["kind"] == "residue" else f", features of {embedder['label']}"
    return f"model {loaded.name} (sha256 {loaded.sha256[:12]}){features}"


def several(ensembles: Ensembles, of: str) -> dict[str, Scores]:
    """Return the scores of the best model of each item and the mean over its models, by the methods' names."""
    return {BEST_OF + of: ensembles.best(), MEAN_OF + of: ensembles.mean()}


def describe_several(of: str, models: str) -> dict[str, str]:
    """Return what the methods of `several` are."""
    return {
        BEST_OF
        + of: f"no prediction but an oracle: of {models} the one of lowest RMSD, chosen with the native in hand",
        MEAN_OF + of: f"the mean over {models}: what one taken at random is worth",
    }


def _pairings(items: Sequence[Item], plain: Sequence[Prediction]) -> list[PreferredPairing | None]:
    """Return the disulfides that the model prefers where it is told nothing; None for an item without any."""
    return [
        preferred_pairing(item.peptide, prediction.disulfide_patterns)
        for item, prediction in zip(items, plain, strict=True)
    ]


def predict_baselines(
    items: Sequence[Item], dataset: Dataset | None = None, say: Say = lambda text: None
) -> Baselines:
    """Predict the items by the baselines.

    Parameters
    ----------
    items : sequence of Item
        What to predict.
    dataset : Dataset, optional
        Without it, or where its train split has nothing to offer, the baselines that learn from it are left out.
    say : callable
        Told about the progress.

    Returns
    -------
    Baselines
    """
    baselines = Baselines([], [{} for _ in items])

    def add(name: str, description: str, torsions: list[np.ndarray]) -> None:
        baselines.methods.append(Method(name, description, build_structures(items, torsions)))

    add("constant_helix", "phi {:g}, psi {:g}, omega {:g}".format(*HELIX), constant_torsions(items, HELIX))
    add("constant_strand", "phi {:g}, psi {:g}, omega {:g}".format(*STRAND), constant_torsions(items, STRAND))
    if dataset is not None:
        known = [index for index, record in enumerate(dataset.records) if record.split == "train"]
        if known:
            text = "circular mean torsions of each residue type in the train split"
            add("type_prior", text, prior_torsions(items, type_prior(dataset)))
            _add_neighbours(baselines, items, dataset, known, add, say)
        else:
            baselines.notes.append("no type prior and no nearest neighbour: the train split is empty")
    add("reconstruction_floor", "native torsions rebuilt with ideal geometry", native_torsions(items))
    return baselines


def _add_neighbours(
    baselines: Baselines,
    items: Sequence[Item],
    dataset: Dataset,
    known: list[int],
    add: Callable[[str, str, list[np.ndarray]], None],
    say: Say,
) -> None:
    chains = [dataset.records[index].sequence for index in known]
    say(f"searching {sum(map(len, chains))} training residues for {len(items)} nearest neighbours")
    start = time.perf_counter()
    found = nearest_windows([item.peptide.sequence for item in items], chains)
    say(f"that took {time.perf_counter() - start:.1f} s")
    neighbours = [neighbour for neighbour in found if neighbour is not None]
    if len(neighbours) < len(items):
        missing = len(items) - len(neighbours)
        baselines.notes.append(f"no nearest neighbour: {missing} items are longer than any training chain")
        return
    text = "torsions of the train split's window with the best ungapped BLOSUM62 score"
    add("nearest_neighbour", text, neighbour_torsions(dataset, known, items, neighbours))
    for details, neighbour in zip(baselines.details, neighbours, strict=True):
        chain = dataset.records[known[neighbour.chain]].id
        details["neighbour"] = {"id": chain, "start": neighbour.start + 1, "score": neighbour.score}


def score_methods(
    items: Sequence[Item], methods: Sequence[Method], say: Say = lambda text: None
) -> dict[str, Scores]:
    """Score each method's structures on the same items."""
    scores = {}
    for method in methods:
        say(f"scoring {method.name.replace('_', ' ')}")
        scores[method.name] = score_structures(items, method.structures)
    return scores
