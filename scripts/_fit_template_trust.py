"""Fit the probability that a template is right, as `betafold_mlx/templates/search.py` has it.

    python scripts/_fit_template_trust.py datasets/mini

Looks up peptides and windows of the train and validation splits in the train split's library, without hits of more than
65 % identity, and prints the weights, and how often hits of a predicted probability were within 3 A (C-alphas of the
aligned residues), by five-fold cross-validation over clusters.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from betafold_mlx.data.sampling import SamplerConfig
from betafold_mlx.data.store import Dataset
from betafold_mlx.data.template_library import build_template_library
from betafold_mlx.data.windows import Window, WindowSampler, whole_window
from betafold_mlx.evaluate.items import split_items
from betafold_mlx.geometry.spread import rotations_onto
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.templates.search import Hit, search
from betafold_mlx.templates.stretches import cut_stretches
from betafold_mlx.train.calibrate import fit_logistic

MAX_IDENTITY, RIGHT, HITS = 0.65, 3.0, 8
BANDS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


def ca_rmsd(a: np.ndarray, b: np.ndarray) -> float:
    """Return the RMSD of points (n, 3) after superposition, Angstrom."""
    a, b = (points.astype(np.float64) - points.mean(axis=0) for points in (a, b))
    return float(np.sqrt(np.square(a @ rotations_onto(a[None], b[None])[0] - b).sum(axis=1).mean()))


def report(name: str, found: Iterable[tuple[int, Window, Hit]]) -> None:
    """Fit one model of trust to hits, each with the number of its example, and print it."""
    rows, right, owner = [], [], []
    for number, window, hit in found:
        unmatched = 1 - hit.matched if window.peptide.disulfides else 0.0
        rows.append([hit.score / 50, hit.coverage, np.log(len(hit.query) / 20), unmatched])
        right.append(ca_rmsd(hit.ca, window.coordinates[hit.query, 1]) < RIGHT)
        owner.append(number)
    x, y, group = np.array(rows), np.array(right, dtype=float), np.array(owner)
    share = 1.0 / np.bincount(group)[group]
    predicted = np.zeros(len(y))
    for part in range(5):
        held = group % 5 == part
        weight, bias = fit_logistic(x[~held], y[~held], share[~held])
        predicted[held] = 1 / (1 + np.exp(-(x[held] @ weight + bias)))
    weight, bias = fit_logistic(x, y, share)
    print(f"{name}: {', '.join(f'{value:.2f}' for value in (bias, *weight))}   ({len(y)} hits)")
    for low, high in itertools.pairwise(BANDS):
        band = (predicted >= low) & (predicted < high)
        if band.any():
            print(f"  given {low:.1f} to {high:.1f}: {band.sum()} hits, {y[band].mean():.0%} right")


def main(directory: Path) -> None:
    """Print the three models."""
    dataset = Dataset.load(directory)
    library = build_template_library(dataset)
    peptides = [
        whole_window(dataset, record)
        for split in ("train", "validation")
        for record in dataset.peptides(split)
        if record.kind != "mhc_bound"
    ]
    entries = [
        (number, window, hit)
        for number, window in enumerate(peptides)
        for hit in search(window.peptide, library, HITS, max_identity=MAX_IDENTITY)
    ]
    rich = [len(window.peptide.disulfides) >= 2 for window in peptides]
    report("TRUST_RICH", (each for each in entries if rich[each[0]]))
    report("TRUST_OTHER", (each for each in entries if not rich[each[0]]))
    sampler = WindowSampler(dataset, PADDED_LENGTHS, 99, SamplerConfig(tokens=800))
    windows = [window for step in range(16) for window in sampler.batch(step)[0]]
    windows += [Window(item.peptide, item.coordinates) for item in split_items(dataset, "validation")]
    chains = library.chains
    assert chains is not None
    cuts = cut_stretches(chains, [window.peptide for window in windows])
    stretches = [(n, window, cut) for n, (window, cut) in enumerate(zip(windows, cuts, strict=True))]
    report(
        "TRUST_CHAIN",
        (
            (number, window, hit)
            for number, window, cut in stretches
            if cut is not None and len(window.peptide.disulfides) < 2
            for hit in search(window.peptide, cut, HITS, None, MAX_IDENTITY, of_chains=True)
        ),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
