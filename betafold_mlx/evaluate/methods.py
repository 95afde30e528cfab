"""Score a model and the baselines on the same items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from betafold_mlx.data.store import Dataset
from betafold_mlx.evaluate.baselines import Method, predict_baselines
from betafold_mlx.evaluate.batching import Say, fold_all
from betafold_mlx.evaluate.bond_rates import disulfide_record
from betafold_mlx.evaluate.ensembles import Ensembles, score_ensembles
from betafold_mlx.evaluate.items import Item
from betafold_mlx.evaluate.scope import measure_scope
from betafold_mlx.evaluate.structure_scores import Scores, score_structures
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.geometry.checks import Bond
from betafold_mlx.peptide.sequence import Peptide

MODEL, UNSTATED, OTHER = "model", "model_not_told", "other_model"
NO_TEMPLATES, DISTANT_TEMPLATES = "no_templates", "distant_templates"
DISTANT = 0.6
"""Identity up to which a template counts as distant."""
BEST_OF, MEAN_OF = "best_of_", "mean_of_"
"""How the names of an oracle's choice among some models, and of the mean over them, begin."""
SAMPLES = 5
"""Models of each item."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of several methods on the same items."""

    items: list[Item]
    scores: dict[str, Scores]  # name of the method -> Scores; the judged method first
    descriptions: dict[str, str]  # name of the method -> what it is
    plddt: list[np.ndarray] | None  # (L,) confidence of the judged method for each item, 0 to 100
    details: list[dict[str, Any]]  # what else is to be told of each item, for its record in the report
    notes: list[str] = field(default_factory=list)  # what a reader should know
    ensembles: Ensembles | None = None  # all models of the judged method, where it makes several
    # for each item and each of its models, the stated bonds as the coordinates have them
    bonds: list[tuple[tuple[Bond, ...], ...]] | None = None
    # `betafold_mlx.evaluate.bond_rates.disulfide_record` of each item, with what the model prefers when none are
    # stated
    disulfides: list[dict[str, Any] | None] | None = None
    scope: dict[str, Any] | None = None  # see `betafold_mlx.evaluate.scope.measure_scope`


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
    """Fold at least one item with its stated chemistry and without it, and score the model beside the baselines.

    The train split of the data set is what the type prior and the nearest neighbour know; `beside` is another model
    to compare with. Of the `samples` of each item the first, which the model ranks highest, is judged. `scope` is how
    many random and how many shuffled sequences to fold too; without it none, and no disordered ones.
    """
    predictions = fold_all(predictor, [item.peptide for item in items], samples, seed, say)
    # Some of the disulfides were read off the native structure, and no baseline uses any: what are they worth?
    stated = [n for n, item in enumerate(items) if item.peptide.cyclic or item.peptide.disulfides]
    bare = [Peptide.of(items[index].peptide.sequence) for index in stated]
    again = dict(zip(stated, fold_all(predictor, bare, samples, seed, say, "folded, not told:"), strict=True))
    plain = [again.get(index, prediction) for index, prediction in enumerate(predictions)]
    baselines = predict_baselines(items, dataset, say)
    say(f"scoring {samples * len(items)} models")
    ensembles = score_ensembles(
        items,
        [list(prediction.coordinates) for prediction in predictions],
        [prediction.plddt.mean(axis=1).tolist() for prediction in predictions],
    )
    first = f", first of {samples}" if samples > 1 else ""
    scores = {MODEL: ensembles.first()}
    descriptions = {MODEL: _label(predictor) + first}
    if samples > 1:
        add_several(scores, descriptions, ensembles, str(samples), f"the {samples} models of each item")
    text = f"the same model{first}, rings and disulfides not stated"
    methods = [Method(UNSTATED, text, [prediction.coordinates[0] for prediction in plain])]
    if predictor.templates is not None:
        methods += _with_fewer_templates(predictor, items, predictions, samples, seed, say)
    if beside is not None:
        peptides = [item.peptide for item in items]
        others = fold_all(beside, peptides, samples, seed, say, "folded, other model:")
        methods.append(Method(OTHER, _label(beside) + first, [one.coordinates[0] for one in others]))
    add_methods(scores, descriptions, items, methods + baselines.methods, say)
    note = f"the model is told the ring or the disulfides of {len(stated)} of {len(items)} items; no baseline uses them"
    return Evaluation(
        items=list(items),
        scores=scores,
        descriptions=descriptions,
        plddt=[prediction.plddt[0] for prediction in predictions],
        details=baselines.details,
        notes=[note, *baselines.notes],
        ensembles=ensembles if samples > 1 else None,
        bonds=[prediction.bonds for prediction in predictions],
        disulfides=[
            disulfide_record(item.peptide, prediction.disulfide_patterns)
            for item, prediction in zip(items, plain, strict=True)
        ],
        scope=None
        if scope is None
        else measure_scope(predictor, dataset, items, predictions, scope, samples, seed, say),
    )


def _with_fewer_templates(
    predictor: Predictor,
    items: Sequence[Item],
    predictions: Sequence[Prediction],
    samples: int,
    seed: int,
    say: Say,
) -> list[Method]:
    """Fold the items that have templates without them, and with those of at most `DISTANT` identity."""
    methods = []
    for name, text, library, limit in (
        (NO_TEMPLATES, "the same model without templates", None, 1.0),
        (
            DISTANT_TEMPLATES,
            f"the same model, templates of at most {DISTANT:.0%} identity",
            predictor.templates,
            DISTANT,
        ),
    ):
        other = Predictor(predictor.loaded, predictor.embedder, library, limit, predictor.judge)
        lost = [
            index
            for index, prediction in enumerate(predictions)
            if any(library is None or hit.identity > limit for hit in prediction.templates)
        ]
        again = fold_all(
            other, [items[index].peptide for index in lost], samples, seed, say, f"{text}: folded"
        )
        changed = dict(zip(lost, again, strict=True))
        models = [changed.get(index, one).coordinates[0] for index, one in enumerate(predictions)]
        methods.append(Method(name, text, models))
    return methods


def _label(predictor: Predictor) -> str:
    loaded, embedder = predictor.loaded, predictor.describe_embedder()
    features = "" if embedder["kind"] == "residue" else f", features of {embedder['label']}"
    return f"model {loaded.name} (sha256 {loaded.sha256[:12]}){features}"


def add_several(
    scores: dict[str, Scores], descriptions: dict[str, str], ensembles: Ensembles, of: str, models: str
) -> None:
    """Add the best model of each item and the mean over its models; `models` says what these are."""
    scores |= {BEST_OF + of: ensembles.best(), MEAN_OF + of: ensembles.mean()}
    descriptions |= {
        BEST_OF
        + of: f"no prediction but an oracle: of {models} the one of lowest RMSD, chosen with the native in hand",
        MEAN_OF + of: f"the mean over {models}: what one taken at random is worth",
    }


def add_methods(
    scores: dict[str, Scores],
    descriptions: dict[str, str],
    items: Sequence[Item],
    methods: Sequence[Method],
    say: Say = lambda text: None,
) -> None:
    """Add each method's scores on the items."""
    for method in methods:
        say(f"scoring {method.name.replace('_', ' ')}")
        scores[method.name] = score_structures(items, method.structures)
        descriptions[method.name] = method.description
