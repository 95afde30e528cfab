"""Measure a generator against a data set, beside random coils, copies of fragments, and structures held out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from betafold_mlx.data.store import Dataset
from betafold_mlx.errors import BetafoldError
from betafold_mlx.evaluate.items import Item, split_items
from betafold_mlx.generate.backbones import (
    MAX_MOTIF_RMSD,
    known_torsions,
    motif_rmsd,
    secondary_kept,
    secondary_structures,
    shape_rmsd,
)
from betafold_mlx.generate.fit import CA, fit_traces
from betafold_mlx.generate.fit_problem import Fit
from betafold_mlx.generate.measures import (
    Chains,
    TrainingReferences,
    chain_figures,
    distance_histograms,
    estimate,
    radius_histogram,
)
from betafold_mlx.generate.network import Generator
from betafold_mlx.generate.prompt import HELIX, OPEN, STRAND, motif_of
from betafold_mlx.generate.sampler import SampleSpec, sample_traces
from betafold_mlx.generate.scales import resampling
from betafold_mlx.generate.settings import MAX_LENGTH, MIN_LENGTH, SamplingConfig
from betafold_mlx.generate.training_split import (
    favoured_region,
    fragment_copies,
    random_coils,
    training_angles,
)

MODEL, COIL, COPY, HELD_OUT = "model", "random coil", "fragment copy", "held out"

WINDOWS = 8
"""Training windows a sample whose distributions are compared with."""

LIBRARY = 1000
"""Training windows of each length among which the nearest one is searched."""

MAX_PROMPTED = 100
"""Samples with each kind of prompt."""

SHAPE_POINTS, MOTIF_RESIDUES, HELIX_RESIDUES, STRAND_RESIDUES = 5, 8, 10, 6


def evaluate_generator(
    generator: Generator,
    dataset: Dataset,
    split: str,
    count: int,
    seed: int,
    sampling: SamplingConfig,
    say: Callable[[str], None],
) -> tuple[dict[str, Any], list[Fit]]:
    """Measure a generator.

    Samples are as long as the held-out structures, one each. All chains, the known ones too, are reduced to C-alpha
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
        Maximum number of samples.
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
        The generated backbones without a problem.

    Raises
    ------
    BetafoldError
        Where the split holds nothing of the model's lengths, or there is no training split.
    """
    items = held_out_chains(dataset, split, count)
    lengths = [len(item) for item in items]
    say(f"{len(items)} samples of {min(lengths)} to {max(lengths)} residues")
    references = training_references(dataset, lengths, seed)

    started = time.perf_counter()
    specs = [SampleSpec(length, number) for number, length in enumerate(lengths)]
    drawn = sample_traces(generator.model, specs, seed, sampling)
    drawing = time.perf_counter() - started
    fits = fit_traces(drawn)
    fitting = time.perf_counter() - started - drawing
    chains = {MODEL: Chains(drawn, fits)}
    for method, backbones in (
        (COIL, random_coils(dataset, lengths, seed)),
        (COPY, fragment_copies(dataset, lengths, seed)),
        (HELD_OUT, [item.coordinates for item in items]),
    ):
        traces = [backbone[:, CA] for backbone in backbones]
        chains[method] = Chains(traces, fit_traces(traces))
    say("fitted backbones")
    methods = {}
    for method, some_chains in chains.items():
        methods[method] = chain_figures(some_chains, references, seed)
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
        if MIN_LENGTH <= len(item) <= MAX_LENGTH and not item.peptide.cyclic
    ]
    if not items:
        raise BetafoldError(
            f"the data set has no open chains of {MIN_LENGTH} to {MAX_LENGTH} residues in its {split} split"
        )
    count = min(count, len(items))
    return [items[number * len(items) // count] for number in range(count)]


def training_references(dataset: Dataset, lengths: Sequence[int], seed: int) -> TrainingReferences:
    """Return what chains of these lengths are compared with, from windows of the training split."""
    traces = [window[:, CA] for window in fragment_copies(dataset, list(lengths) * WINDOWS, seed + 1)]
    library = [length for length in sorted(set(lengths)) for _ in range(LIBRARY)]
    return TrainingReferences(
        radius_histogram(traces),
        distance_histograms(traces),
        favoured_region(training_angles(dataset)),
        fragment_copies(dataset, library, seed + 2),
    )


def _prompts(
    generator: Generator,
    items: list[Item],
    unprompted: dict[str, Chains],
    seed: int,
    sampling: SamplingConfig,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Return how well prompts are followed, and how well chains made without prompts would pass the same tests."""
    report: dict[str, Any] = {}

    def draw(rows: list[int], **prompts: Sequence[Any]) -> list[np.ndarray]:
        """Sample chains as long as some items; `prompts` are fields of `SampleSpec`, one value a row."""
        specs = [
            SampleSpec(len(items[row]), row, **{name: values[k] for name, values in prompts.items()})
            for k, row in enumerate(rows)
        ]
        return sample_traces(generator.model, specs, seed, sampling)

    def with_fits(rows: list[int], prompted: list[Fit]) -> dict[str, list[Fit]]:
        others = {_label(name): [unprompted[name].fits[row] for row in rows] for name in (MODEL, COIL, COPY)}
        return {MODEL: prompted} | others

    def with_traces(rows: list[int], prompted: list[np.ndarray]) -> dict[str, list[np.ndarray]]:
        others = {_label(name): [unprompted[name].traces[row] for row in rows] for name in (MODEL, COPY)}
        return {MODEL: prompted} | others

    def add(prompt: str, what: str, values: dict[str, list[float]], done: str) -> None:
        report[prompt] = {
            "what": what,
            "samples": len(values[MODEL]),
            "methods": {name: estimate(some, None, seed) for name, some in values.items()},
        }
        say(f"prompted: {done}")

    rows = _rows(items, SHAPE_POINTS + 1)
    if rows and generator.model.config.scales > 1:
        shapes = [
            resampling(len(items[row]), SHAPE_POINTS) @ items[row].coordinates[:, CA].astype(np.float32)
            for row in rows
        ]
        rmsds = {
            name: [shape_rmsd(shape, fit.coordinates[:, CA]) for shape, fit in zip(shapes, fits, strict=True)]
            for name, fits in with_fits(rows, fit_traces(draw(rows, shape=shapes))).items()
        }
        add("shape", f"RMSD to {SHAPE_POINTS} points of a held-out structure, A", rmsds, "shapes")

    rows = _rows(items, 2 * MOTIF_RESIDUES)
    if rows:  # the middle of a held-out structure, in a chain of its length
        places = [(len(items[row]) - MOTIF_RESIDUES) // 2 for row in rows]
        motifs = [
            motif_of(items[row].coordinates[start : start + MOTIF_RESIDUES], start, items[row].id)
            for row, start in zip(rows, places, strict=True)
        ]
        drawn = draw(rows, motif=[(motif.start, motif.trace) for motif in motifs])
        kept = {}
        for name, traces in with_traces(rows, drawn).items():
            known = [known_torsions(motif, len(trace)) for motif, trace in zip(motifs, traces, strict=True)]
            kept[name] = [
                float(not fit.problems and motif_rmsd(motif, fit.coordinates) <= MAX_MOTIF_RMSD)
                for motif, fit in zip(motifs, fit_traces(traces, known=known), strict=True)
            ]
        what = (
            f"share with the motif of {MOTIF_RESIDUES} residues within {MAX_MOTIF_RMSD:g} A, and no problem"
        )
        add("motif", what, kept, "motifs")

    rows = _rows(items, MIN_LENGTH)
    closed = {
        name: [float(not fit.problems) for fit in fit_traces(traces, rings=True)]
        for name, traces in with_traces(rows, draw(rows, cyclic=[True] * len(rows))).items()
    }
    add("ring", "share that closes to a ring, with no problem", closed, "rings")

    for name, letter, size in (("helix", HELIX, HELIX_RESIDUES), ("strand", STRAND, STRAND_RESIDUES)):
        rows = _rows(items, size + 2)
        if rows:
            lengths = [len(items[row]) for row in rows]
            wanted = [(OPEN * ((n - size) // 2) + letter * size).ljust(n, OPEN) for n in lengths]
            shares = {
                method: [
                    secondary_kept(want, have)
                    for want, have in zip(wanted, secondary_structures(fits), strict=True)
                ]
                for method, fits in with_fits(rows, fit_traces(draw(rows, secondary=wanted))).items()
            }
            add(name, f"share of {size} residues in the middle that are {name}", shares, name)
    return report


def _label(method: str) -> str:
    """Return the name of a method in the table of prompts, where it had none."""
    return f"{MODEL}, not asked" if method == MODEL else method


def _rows(items: Sequence[Item], shortest: int) -> list[int]:
    """Return up to `MAX_PROMPTED` items that are long enough, spread over all."""
    rows = [row for row, item in enumerate(items) if len(item) >= shortest]
    count = min(MAX_PROMPTED, len(rows))
    return [rows[number * len(rows) // count] for number in range(count)]
