"""Measure a generator against a data set, beside random coils, copies of fragments, and structures held out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from betafold_mlx.data.store import Dataset
from betafold_mlx.errors import BetafoldError
from betafold_mlx.evaluate.items import Item, split_items
from betafold_mlx.generate.backbones import (
    known_torsions,
    motif_rmsd,
    secondary_kept,
    secondary_structures,
    shape_rmsd,
)
from betafold_mlx.generate.baselines import fragment_copies, random_coils
from betafold_mlx.generate.directory import Generator
from betafold_mlx.generate.distributions import distance_histograms, radius_histogram
from betafold_mlx.generate.favoured import favoured_region, training_angles
from betafold_mlx.generate.fit import CA, Fit, fit_traces
from betafold_mlx.generate.measures import Chains, References, estimate, figures
from betafold_mlx.generate.prompt import HELIX, OPEN, STRAND, MotifPrompt, motif_of
from betafold_mlx.generate.requests import Motif
from betafold_mlx.generate.sampler import SamplingConfig, sample_traces
from betafold_mlx.generate.scales import LONGEST, SHORTEST, resampled
from betafold_mlx.generate.validity import MOST_MOTIF_RMSD

Say = Callable[[str], None]

MODEL, COIL, COPY, HELD_OUT = "model", "random coil", "fragment copy", "held out"

WINDOWS = 8
"""Training windows a sample: their distributions are what is compared with."""

LIBRARY = 1000
"""Training windows of each length that the nearest one is looked for among."""

PROMPTS = 100
"""Samples with each kind of prompt, at most."""

SHAPE_POINTS, MOTIF_RESIDUES, HELIX_RESIDUES, STRAND_RESIDUES = 5, 8, 10, 6


def evaluate_generator(
    generator: Generator,
    dataset: Dataset,
    split: str,
    count: int,
    seed: int,
    sampling: SamplingConfig,
    say: Say,
) -> tuple[dict[str, Any], list[Fit]]:
    """Measure a generator.

    Samples are as long as the held-out structures, one each. All chains, the known ones too, are taken for C-alpha
    traces, and get backbones by the same fit, so that figures compare.

    Parameters
    ----------
    generator : Generator
        The model.
    dataset : Dataset
        Data set.
    split : str
        ``validation`` or ``test``: the structures held out.
    count : int
        Samples, at most.
    seed : int
        Random seed.
    sampling : SamplingConfig
        How to sample.
    say : callable
        Takes a line of progress.

    Returns
    -------
    report : dict
        Plain JSON values.
    samples : list of Fit
        The generated backbones, those with a problem left out.

    Raises
    ------
    BetafoldError
        Where the split holds nothing of the model's lengths, or there is no training split.
    """
    items = held_out_chains(dataset, split, count)
    lengths = [len(item) for item in items]
    say(f"{len(items)} samples of {min(lengths)} to {max(lengths)} residues")
    references = references_of(dataset, lengths, seed)

    started = time.perf_counter()
    drawn = sample_traces(generator.model, lengths, seed, list(range(len(items))), sampling)
    drawing = time.perf_counter() - started
    traces = {
        MODEL: drawn,
        COIL: [coil[:, CA] for coil in random_coils(dataset, lengths, seed)],
        COPY: [copy[:, CA] for copy in fragment_copies(dataset, lengths, seed)],
        HELD_OUT: [item.coordinates[:, CA] for item in items],
    }
    chains: dict[str, Chains] = {}
    fitting = 0.0
    for method, some in traces.items():
        started = time.perf_counter()
        chains[method] = Chains(some, fit_traces(some))
        if method == MODEL:
            fitting = time.perf_counter() - started
    say("fitted backbones")
    methods = {}
    for method, some_chains in chains.items():
        methods[method] = figures(some_chains, references, seed)
        say(f"measured: {method}")
    report = {
        "split": split,
        "samples": len(items),
        "lengths": [min(lengths), max(lengths)],
        "methods": methods,
        "prompts": _prompts(generator, items, chains, seed, sampling, say),
        "speed": {
            "draw_per_second": round(len(items) / max(drawing, 1e-9), 2),
            "fit_per_second": round(len(items) / max(fitting, 1e-9), 2),
        },
    }
    return report, chains[MODEL].good()


def held_out_chains(dataset: Dataset, split: str, count: int) -> list[Item]:
    """Return up to `count` open chains of a split that are as long as the model's, spread over the data set.

    Raises
    ------
    BetafoldError
        Where there is none.
    """
    items = [
        item
        for item in split_items(dataset, split)
        if SHORTEST <= len(item) <= LONGEST and not item.peptide.cyclic
    ]
    if not items:
        raise BetafoldError(
            f"the data set has no open chains of {SHORTEST} to {LONGEST} residues in its {split} split"
        )
    count = min(count, len(items))
    return [items[number * len(items) // count] for number in range(count)]


def references_of(dataset: Dataset, lengths: Sequence[int], seed: int) -> References:
    """Return what chains of these lengths are compared with, from windows of the training split."""
    windows = fragment_copies(dataset, list(lengths) * WINDOWS, seed + 1)
    traces = [window[:, CA] for window in windows]
    library = fragment_copies(
        dataset, [length for length in sorted(set(lengths)) for _ in range(LIBRARY)], seed + 2
    )
    return References(
        radius_histogram(traces),
        distance_histograms(traces),
        favoured_region(training_angles(dataset)),
        library,
    )


def _prompts(
    generator: Generator,
    items: list[Item],
    unprompted: dict[str, Chains],
    seed: int,
    sampling: SamplingConfig,
    say: Say,
) -> dict[str, Any]:
    """Return how well the samples do what is asked, and how well those do it that were not asked."""

    def draw(rows: list[int], **prompts: Any) -> list[np.ndarray]:
        lengths = [len(items[row]) for row in rows]
        return sample_traces(generator.model, lengths, seed, rows, sampling, **prompts)

    report: dict[str, Any] = {}
    rows = _rows(items, SHAPE_POINTS + 1)
    if rows and generator.config.scales > 1:
        shapes = [_shape(items[row]) for row in rows]
        fits = fit_traces(draw(rows, coarse=shapes))
        asked = {MODEL: fits} | _of(unprompted, rows)
        report["shape"] = _measured(
            {
                name: [
                    shape_rmsd(shape, fit.coordinates[:, CA]) for shape, fit in zip(shapes, some, strict=True)
                ]
                for name, some in asked.items()
            },
            f"RMSD to {SHAPE_POINTS} points of a held-out structure, A",
            seed,
        )
        say("prompted: shapes")
    rows = _rows(items, 2 * MOTIF_RESIDUES)
    if rows:
        report["motif"] = _motifs([items[row] for row in rows], rows, draw, unprompted, seed)
        say("prompted: motifs")
    rows = _rows(items, SHORTEST)
    report["ring"] = _rings(rows, draw(rows, cyclic=[True] * len(rows)), unprompted, seed)
    say("prompted: rings")
    for name, letter, size in (("helix", HELIX, HELIX_RESIDUES), ("strand", STRAND, STRAND_RESIDUES)):
        rows = _rows(items, size + 2)
        if rows:
            wanted = [_middle(len(items[row]), letter, size) for row in rows]
            asked = {MODEL: fit_traces(draw(rows, secondary=wanted))} | _of(unprompted, rows)
            report[name] = _measured(
                {
                    method: [
                        secondary_kept(want, have)
                        for want, have in zip(wanted, secondary_structures(some), strict=True)
                    ]
                    for method, some in asked.items()
                },
                f"share of {size} residues in the middle that are {name}",
                seed,
            )
            say(f"prompted: {name}")
    return report


def _motifs(
    items: list[Item],
    rows: list[int],
    draw: Callable[..., list[np.ndarray]],
    unprompted: dict[str, Chains],
    seed: int,
) -> dict[str, Any]:
    """Return how often a motif is held: the middle of a held-out structure, in a chain of its length."""
    motifs = [_motif(item) for item in items]
    traces = {MODEL: draw(rows, motifs=[Motif(motif.start, motif.trace) for motif in motifs])}
    for name in (MODEL, COPY):
        traces[_unasked(name)] = [unprompted[name].traces[row] for row in rows]
    kept = {}
    for name, some in traces.items():
        known = [known_torsions(motif, len(trace)) for motif, trace in zip(motifs, some, strict=True)]
        kept[name] = [
            float(not fit.problems and motif_rmsd(motif, fit.coordinates) <= MOST_MOTIF_RMSD)
            for motif, fit in zip(motifs, fit_traces(some, known=known), strict=True)
        ]
    what = f"share with the motif of {MOTIF_RESIDUES} residues within {MOST_MOTIF_RMSD:g} A, and no problem"
    return _measured(kept, what, seed)


def _rings(
    rows: list[int], drawn: list[np.ndarray], unprompted: dict[str, Chains], seed: int
) -> dict[str, Any]:
    """Return how often a ring closes: backbones fitted as rings, to traces that were drawn as rings and others."""
    traces = {MODEL: drawn}
    for name in (MODEL, COPY):
        traces[_unasked(name)] = [unprompted[name].traces[row] for row in rows]
    closed = {
        name: [float(not fit.problems) for fit in fit_traces(some, rings=True)]
        for name, some in traces.items()
    }
    return _measured(closed, "share that closes to a ring, with no problem", seed)


def _of(unprompted: dict[str, Chains], rows: list[int]) -> dict[str, list[Fit]]:
    """Return the backbones of the same rows that were made without a prompt."""
    return {_unasked(name): [unprompted[name].fits[row] for row in rows] for name in (MODEL, COIL, COPY)}


def _unasked(method: str) -> str:
    return f"{MODEL}, not asked" if method == MODEL else method


def _measured(values: dict[str, list[float]], what: str, seed: int) -> dict[str, Any]:
    return {
        "what": what,
        "samples": len(next(iter(values.values()))),
        "methods": {name: estimate(some, None, seed) for name, some in values.items()},
    }


def _rows(items: Sequence[Item], shortest: int) -> list[int]:
    """Return up to `PROMPTS` items that are long enough."""
    rows = [row for row, item in enumerate(items) if len(item) >= shortest]
    count = min(PROMPTS, len(rows))
    return [rows[number * len(rows) // count] for number in range(count)]


def _shape(item: Item) -> np.ndarray:
    return np.array(resampled(mx.array(item.coordinates[:, CA].astype(np.float32)), SHAPE_POINTS))


def _motif(item: Item) -> MotifPrompt:
    start = (len(item) - MOTIF_RESIDUES) // 2
    return motif_of(item.coordinates[start : start + MOTIF_RESIDUES], start, item.id)


def _middle(length: int, letter: str, size: int) -> str:
    start = (length - size) // 2
    return (OPEN * start + letter * size).ljust(length, OPEN)
