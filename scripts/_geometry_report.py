"""Check the stereochemistry of a model's all-atom folds: the table of docs/accuracy.md.

    .venv/bin/python scripts/_geometry_report.py DATASET [--split test] [--limit N] [--model DIR]

The first model of each fragment and peptide of the split is counted (`betafold_mlx.evaluate.stereochemistry`).
Templates are those of the training split, as in `evaluate`.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from pathlib import Path

from betafold_mlx.data.store import Dataset
from betafold_mlx.errors import BetafoldError
from betafold_mlx.evaluate.items import split_items
from betafold_mlx.evaluate.stereochemistry import Counts, measure
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.fold.predictor import Predictor

RATES = {
    "bond outliers, %": ("bond outliers", "bonds", 100),
    "angle outliers, %": ("angle outliers", "angles", 100),
    "overlaps per 1,000 atoms": ("overlaps", "atoms", 1000),
    "rotamer outliers, %": ("rotamer outliers", "side chains", 100),
    "wrong hands, %": ("wrong hands", "centres", 100),
    "bonds formed, %": ("formed", "stated", 100),
    "models with a clash of side chains, %": ("crowded", "models", 100),
}
"""What is printed: how many of what, times what."""


def counts_of(prediction: Prediction, predictor: Predictor) -> Counts:
    """Return what is counted of the first model."""
    network = predictor.side_chains
    counts = measure(prediction, rotamers=None if network is None else network.rotamers)
    stated = prediction.bonds[0]
    more = {"models": 1, "stated": len(stated), "formed": sum(bond.formed for bond in stated)}
    counts.update(more | {"crowded": int(any(prediction.side_chain_clashes[:1]))})
    return counts


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", default="test", choices=["validation", "test"])
    parser.add_argument("--limit", type=int, help="At most so many of each kind.")
    parser.add_argument("--model", help="The folding model, by default the bundled one.")
    given = parser.parse_args()
    predictor = Predictor.load(given.model)
    data = Dataset.load(given.dataset)
    if predictor.templates is not None:
        known = {record.id for record in data.records if record.split != "train"}
        predictor.templates = predictor.templates.without(known)
    items = split_items(data, given.split, given.limit)
    groups: dict[str, Counts] = defaultdict(Counter)
    for item, prediction in zip(items, predictor.fold_many([i.peptide for i in items]), strict=True):
        counts = counts_of(prediction, predictor)
        peptide = item.peptide
        form = "rings" if peptide.cyclic else "disulfides" if peptide.disulfides else "linear"
        for group in ("all", item.kind, form):
            groups[group] += counts
    print("|", " | ".join(["", "models", *RATES]), "|")
    print("|---" + "|---:" * (len(RATES) + 1) + "|")
    for group, counts in groups.items():
        cells = [
            f"{times * counts[part] / counts[of]:.2f}" if counts[of] else "-"
            for part, of, times in RATES.values()
        ]
        print("|", " | ".join([group, f"{counts['models']:,}", *cells]), "|")


if __name__ == "__main__":
    try:
        main()
    except BetafoldError as error:
        raise SystemExit(str(error)) from None
