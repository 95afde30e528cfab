"""What templates, the chains, the judge and the candidate that follows the distances bring, on the validation split.

    python scripts/_ablation.py datasets/mini [MODEL]

Prints mean backbone RMSD, Angstrom, of the first model and of the best of five, and clashes a thousand atoms of the
first, each with its difference to the whole (95 % bootstrap intervals over clusters).
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np

from betafold_mlx.data.store import Dataset
from betafold_mlx.evaluate.ensembles import score_ensembles
from betafold_mlx.evaluate.items import FRAGMENT, split_items
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.lab.statistics import clustered_difference

SAMPLES = 5


def main(directory: Path, model: str | None) -> None:
    """Fold the validation split in five ways, and print what each loses."""
    dataset = Dataset.load(directory)
    items = [item for item in split_items(dataset, "validation") if item.kind != "mhc_bound"]
    whole = Predictor.load(model)
    assert whole.templates is not None
    held_out = {record.id for record in dataset.records if record.split != "train"}
    library = whole.templates.without(held_out)
    entries = dataclasses.replace(library, chains=None)
    clusters = np.array([item.cluster for item in items])
    groups = {
        "fragments": np.array([item.kind == FRAGMENT for item in items]),
        "peptides": np.array([item.kind != FRAGMENT for item in items]),
    }
    reference: tuple[np.ndarray, np.ndarray] | None = None
    for name, templates, judge, candidates in (
        ("all of it", library, whole.judge, SAMPLES),
        ("20 candidates", library, whole.judge, 20),
        ("no chains", entries, whole.judge, SAMPLES),
        ("no templates", None, whole.judge, SAMPLES),
        ("no judge, nothing follows the distances", library, None, SAMPLES),
        ("no judge, no templates", None, None, SAMPLES),
    ):
        predictor = Predictor(whole.loaded, whole.embedder, templates, judge=judge)
        folded = predictor.fold_many([item.peptide for item in items], samples=SAMPLES, candidates=candidates)
        scored = score_ensembles(
            items,
            [list(each.coordinates) for each in folded],
            [each.plddt.mean(axis=1).tolist() for each in folded],
        )
        first, best = scored.first().rmsd, scored.best().rmsd
        reference = reference or (first, best)
        clashes = np.array([each.clashes[0] for each in folded])
        atoms = np.array([5 * len(item) for item in items])
        for group, rows in groups.items():
            columns = []
            for rmsd, own in zip((first, best), reference, strict=True):
                change = clustered_difference(rmsd[rows], own[rows], clusters[rows], 0)
                columns.append(
                    f"{rmsd[rows].mean():.2f} ({change.mean:+.2f}, {change.low:+.2f} to {change.high:+.2f})"
                )
            rate = 1000 * clashes[rows].sum() / atoms[rows].sum()
            print(
                f"{name:40} {group:10} first {columns[0]}  best {columns[1]}  clashes {rate:.1f}", flush=True
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
