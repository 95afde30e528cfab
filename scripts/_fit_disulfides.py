"""Fit how `betafold_mlx/fold/disulfides.py` weighs the network, frameworks and templates, and measure each.

    python scripts/_fit_disulfides.py weights/betafold-mini peptides.jsonl.gz peptides-more.jsonl.gz

Reads peptides with two disulfides or more. Templates are those of the model directory without the peptide itself and
without entries of the same sequence. The weights are fitted to the training and validation splits of the directory's
`splits.txt`; the figures of these splits are cross-validated, each family of one framework held out in turn. Rows
without frameworks are what a family gets that is not in the table. A family counts by the square root of its size in
the fit.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from betafold_mlx.data.known_splits import KnownSplits
from betafold_mlx.fold.disulfides import MAX_CYSTEINES, NETWORK_ALONE, network_scores, template_scores
from betafold_mlx.fold.frameworks import match_frameworks
from betafold_mlx.fold.pipeline import BOND_TEMPLATES
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.model.inputs import collate
from betafold_mlx.peptide.bonds import Disulfides
from betafold_mlx.peptide.sequence import MAX_LENGTH, Peptide
from betafold_mlx.structure.entry import entry_id
from betafold_mlx.structure.jsonl import read_backbones
from betafold_mlx.templates.search import find_bonds

MISLABELLED = 0.06
"""Share of the peptides whose disulfides may be wrong: those inferred from CB agree with SG-SG in 94 %."""

RIDGE = 0.05
DISTANT = 0.65
BANDS = (0.0, 0.3, 0.5, 0.7, 0.9, 0.97, 1.01)


@dataclass(frozen=True)
class Example:
    """Scores of all ways to pair a peptide's cysteines: (ways, 3) by network, frameworks, templates."""

    name: str
    test: bool
    family: str
    scores: np.ndarray
    distant: np.ndarray  # (ways,) templates of at most `DISTANT` identity
    native: int


def read_example(predictor: Predictor, splits: KnownSplits, name: str, peptide: Peptide) -> Example | None:
    """Score a peptide whose disulfides are known; None where they are no way to pair all its cysteines."""
    assert predictor.templates is not None
    free = Peptide.of(peptide.sequence, cyclic=peptide.cyclic)
    answer = predictor.loaded.model(collate([free]))
    size = len(free)
    distogram = np.array(answer.distogram[0, :size, :size])
    ways, network = network_scores(free.sequence, distogram, free.cyclic)
    native: Disulfides = tuple(sorted(peptide.disulfides))
    if native not in ways:
        left_out(name, "its disulfides leave more cysteines than one")
        return None
    known = match_frameworks(free.sequence, free.cyclic)
    library = predictor.templates.without({name})
    library = library.subset(np.array([library.sequence(n) != free.sequence for n in range(len(library))]))
    near, far = (find_bonds(free, library, BOND_TEMPLATES, limit) for limit in (1.0, DISTANT))
    names = [framework.name for frameworks in known.values() for framework in frameworks]
    return Example(
        name,
        splits.splits.get((entry_id(name[:4]), True)) == "test",
        names[-1] if names else name,
        np.stack([network, [float(way in known) for way in ways], template_scores(ways, near)], axis=1),
        template_scores(ways, far),
        ways.index(native),
    )


def probabilities(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the probability of each way."""
    total = scores @ weights
    share = np.exp(total - total.max())
    return share / share.sum()


def fit(examples: list[Example], used: list[bool]) -> np.ndarray:
    """Fit the weights of the terms that are used; the network's is drawn to 1, the others to 0."""
    sizes = Counter(example.family for example in examples)
    start = np.array(NETWORK_ALONE)

    def loss(free: np.ndarray) -> float:
        weights = np.zeros(3)
        weights[used] = free
        total = RIDGE * np.square(weights - start)[used].sum()
        for example in examples:
            p = probabilities(example.scores, weights)
            noisy = (1 - MISLABELLED) * p[example.native] + MISLABELLED / len(p)
            total -= np.log(noisy) / np.sqrt(sizes[example.family])
        return float(total)

    fitted = np.zeros(3)
    fitted[used] = minimize(loss, start[used] + 0.5).x
    return fitted


def weights_for(scores: np.ndarray, fitted: dict[str, np.ndarray]) -> np.ndarray:
    """Choose weights as `rank_disulfides` does."""
    with_templates, with_framework = scores[:, 2].any(), scores[:, 1].any()
    return fitted["templates" if with_templates else "framework" if with_framework else "network"]


def changed(example: Example, source: str) -> np.ndarray:
    """Return an example's scores without what a row of the table has no use of."""
    scores = example.scores.copy()
    if "distant" in source:
        scores[:, 2] = example.distant
    if "templates" not in source:
        scores[:, 2] = 0
    if "frameworks" not in source:
        scores[:, 1] = 0
    if "network" not in source:
        scores[:, 0] = 0
    return scores


def fit_all(examples: list[Example]) -> dict[str, np.ndarray]:
    """Fit the three rows of weights."""
    return {
        "network": np.array(NETWORK_ALONE),
        "framework": fit(examples, [True, True, False]),
        "templates": fit(examples, [True, True, True]),
    }


SOURCES = (
    "network",
    "frameworks",
    "network, frameworks",
    "network, templates",
    "network, distant templates",
    "network, frameworks, templates",
    "network, frameworks, distant templates",
)
SHIPPED = "network, frameworks, templates"


def report(title: str, examples: list[Example], weights: dict[str, dict[str, np.ndarray]]) -> None:
    """Print how often the first way is right by source, and how often it is in bands of its probability."""
    sizes = Counter(example.family for example in examples)
    share = np.array([1 / sizes[example.family] for example in examples])
    print(f"\n{title}: {len(examples)} peptides, {len(sizes)} families")
    for source in SOURCES:
        rows = []
        for example in examples:
            scores = changed(example, source)
            p = probabilities(scores, weights_for(scores, weights[example.family]))
            first = p >= p.max() - 1e-9
            rows.append((first[example.native] / first.sum(), p.max(), np.log(p[example.native])))
        right, stated, log = np.array(rows).T
        by_family = np.average(np.array(rows), axis=0, weights=share)
        print(
            f"  {source:40} right {right.mean():.0%}, stated {stated.mean():.0%}, log p {log.mean():.2f}; "
            f"by family right {by_family[0]:.0%}, stated {by_family[1]:.0%}, log p {by_family[2]:.2f}"
        )
        if source == SHIPPED:
            shipped = right, stated
    right, stated = shipped
    for low, high in itertools.pairwise(BANDS):
        band = (stated >= low) & (stated < high)
        if band.any():
            print(f"  stated {low:.2f} to {high:.2f}: {band.sum()} peptides, {right[band].mean():.0%} right")


def left_out(name: str, problem: str) -> None:
    """Say which record of a file cannot be used."""
    print(f"left out: {name}: {problem}")


def main(model: Path, files: list[Path]) -> None:
    """Print the figures and the constants."""
    predictor = Predictor.load(model)
    splits = KnownSplits.read(model / "splits.txt")
    examples = []
    for record in (record for file in files for record in read_backbones(file, left_out)):
        cysteines = record.sequence.count("C")
        if len(record.disulfides) < 2 or cysteines > MAX_CYSTEINES or len(record.sequence) > MAX_LENGTH:
            continue
        peptide = Peptide.of(record.sequence, cyclic=record.cyclic, disulfides=record.disulfides)
        example = read_example(predictor, splits, record.id, peptide)
        examples += [example] if example is not None else []
    fitted, test = [e for e in examples if not e.test], [e for e in examples if e.test]
    families = sorted({example.family for example in fitted})
    held_out = {family: fit_all([e for e in fitted if e.family != family]) for family in families}
    whole = fit_all(fitted)
    report("Training and validation splits, families held out", fitted, held_out)
    report("Test split", test, {example.family: whole for example in test})
    print(f"\nWITH_FRAMEWORK = {tuple(whole['framework'].round(2).tolist())}")
    print(f"WITH_TEMPLATES = {tuple(whole['templates'].round(2).tolist())}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
