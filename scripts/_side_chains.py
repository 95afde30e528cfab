"""Measure the side chains of a model on native backbones: the table of docs/accuracy.md.

    .venv/bin/python scripts/_side_chains.py DATASET [STRUCTURES] [--model DIR]

DATASET must have side chains (`dataset build --chi`). The library that the network is compared with is counted from its
train split. Measured are the windows and peptides of its validation split, and the peptides in the folder STRUCTURES;
the data set must be kept apart from these (`dataset build --apart-from`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from betafold_mlx.data.store import Dataset
from betafold_mlx.data.windows import Window, cut_window, whole_window
from betafold_mlx.errors import BetafoldError
from betafold_mlx.evaluate.side_chains import Measured, accuracy, methods
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.model.companions import SIDE_CHAINS
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.inputs import PADDED_LENGTHS, padded_length
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.structure.reader import find_structure_files, read_structure
from betafold_mlx.train.batches import Featurizer, make_batch
from betafold_mlx.train.side_chain_trainer import make_examples

TOGETHER = 64
"""Structures of a batch."""


def windows_of(dataset: Dataset, structures: Path | None) -> dict[str, list[Window]]:
    """Return what is measured on."""
    held_out = [fragment for fragment in dataset.fragments if fragment.split == "validation"]
    peptides = dataset.peptides("validation")
    found = {
        "windows of chains": [
            cut_window(dataset, dataset.records[f.record], f.start, f.length) for f in held_out
        ],
        "bound peptides": [whole_window(dataset, record) for record in peptides if record.kind == "bound"],
        "free peptides": [
            whole_window(dataset, record) for record in peptides if record.kind in ("free", "oligomer")
        ],
    }
    if structures is not None:
        read = [b for path in find_structure_files(structures) for b in read_structure(path).backbones]
        found[structures.name] = [
            Window(Peptide.of(b.sequence, b.cyclic, b.disulfides), b.coordinates, chi=b.chi)
            for b in read
            if b.chi is not None
        ]
    return {name: windows for name, windows in found.items() if windows}


def batched(
    windows: Sequence[Window], folding: FoldingModel | None, featurizer: Featurizer | None
) -> list[Measured]:
    """Return windows in batches of one padded length."""
    examples: list[Measured] = []
    for padded in PADDED_LENGTHS:
        group = [window for window in windows if padded_length(len(window.peptide)) == padded]
        for first in range(0, len(group), TOGETHER):
            part = group[first : first + TOGETHER]
            examples.append((part, make_examples(folding, make_batch(part, padded, featurizer), part)))
    return examples


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("structures", type=Path, nargs="?")
    parser.add_argument("--model", default=None, help="The folding model, by default the bundled one.")
    parser.add_argument("--side-chains", type=Path, help="Folder of another side-chain network.")
    given = parser.parse_args()
    predictor = Predictor.load(given.model, templates=None)
    loaded = predictor.loaded
    network = SIDE_CHAINS.load(given.side_chains or loaded.path, loaded.sha256)
    dataset = Dataset.load(given.dataset)
    folding = loaded.model if network.config.states else None
    measured = {
        name: batched(windows, folding, predictor.embedder)
        for name, windows in windows_of(dataset, given.structures).items()
    }
    compared = methods(network, dataset)
    print("| chi1 / chi1+2 | residues |", " | ".join(compared), "|")
    print("|---|---:" + "|---:" * len(compared) + "|")
    for name, batches in measured.items():
        found = [accuracy(method, batches) for method in compared.values()]
        cells = [" / ".join(f"{value:.3f}" for value in share) for share, _ in found]
        print("|", " | ".join([name, " / ".join(f"{number:,}" for number in found[0][1]), *cells]), "|")


if __name__ == "__main__":
    try:
        main()
    except BetafoldError as error:
        raise SystemExit(str(error)) from None
