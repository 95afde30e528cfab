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
from betafold_mlx.evaluate.items import Item
from betafold_mlx.evaluate.neighbours import nearest_windows
from betafold_mlx.evaluate.scoring import Scores, score_structures
from betafold_mlx.predict import Predictor
from betafold_mlx.sequence import Peptide

Say = Callable[[str], None]
"""Called with a line of text as the work goes on."""

MODEL, UNSTATED, OTHER = "model", "model_not_told", "other_model"
_FOLDED_TOGETHER = 128


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
    """

    items: list[Item]
    scores: dict[str, Scores]
    descriptions: dict[str, str]
    plddt: list[np.ndarray] | None
    details: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)


def evaluate_model(
    predictor: Predictor,
    dataset: Dataset,
    items: Sequence[Item],
    seed: int = 0,
    say: Say = lambda text: None,
    beside: Predictor | None = None,
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
        Of the fold.
    say : callable
        Told about the progress.
    beside : Predictor, optional
        Another model to set it beside.

    Returns
    -------
    Evaluation
    """
    structures, plddt = _fold(predictor, [item.peptide for item in items], seed, say)
    # Some of the disulfides were read off the native structure, and no baseline uses any: what are they worth?
    plain, _ = _fold(predictor, [Peptide(item.peptide.sequence) for item in items], seed, say)
    methods = [
        Method(MODEL, _in_words(predictor), structures),
        Method(UNSTATED, "the same model, rings and disulfides not stated", plain),
    ]
    if beside is not None:
        folded, _ = _fold(beside, [item.peptide for item in items], seed, say)
        methods.append(Method(OTHER, _in_words(beside), folded))
    baselines = predict_baselines(items, dataset, say)
    methods += baselines.methods
    told = sum(item.peptide.cyclic or bool(item.peptide.disulfides) for item in items)
    stated = (
        f"the model is told the ring or the disulfides of {told} of {len(items)} items; no baseline uses them"
    )
    return Evaluation(
        items=list(items),
        scores=score_methods(items, methods, say),
        descriptions={method.name: method.description for method in methods},
        plddt=plddt,
        details=baselines.details,
        notes=[stated, *baselines.notes],
    )


def _in_words(predictor: Predictor) -> str:
    loaded, embedder = predictor.loaded, predictor.describe_embedder()
    features = "" if embedder["kind"] == "residue" else f", features of {embedder['label']}"
    return f"model {loaded.name} (sha256 {loaded.sha256[:12]}){features}"


def _fold(
    predictor: Predictor, peptides: Sequence[Peptide], seed: int, say: Say
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    order = sorted(range(len(peptides)), key=lambda index: len(peptides[index]))  # little padding
    structures: list[np.ndarray] = [np.zeros((0, 5, 3))] * len(peptides)
    plddt: list[np.ndarray] = [np.zeros(0)] * len(peptides)
    for first in range(0, len(order), _FOLDED_TOGETHER):
        part = order[first : first + _FOLDED_TOGETHER]
        predictions = predictor.fold_many([peptides[index] for index in part], seed=seed)
        for index, prediction in zip(part, predictions, strict=True):
            structures[index], plddt[index] = prediction.coordinates[0], prediction.plddt[0]
        say(f"folded {first + len(part)} of {len(order)}")
    return structures, plddt


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
