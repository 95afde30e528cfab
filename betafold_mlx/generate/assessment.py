"""Measure a generator against a data set, beside random coils, copies of fragments, and structures held out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from betafold_mlx.data.store import Dataset
from betafold_mlx.errors import BetafoldError
from betafold_mlx.evaluate.items import Item, evenly_spread, split_items
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
from betafold_mlx.generate.generator_config import MAX_LENGTH, MIN_LENGTH, SamplingConfig
from betafold_mlx.generate.measures import (
    Chains,
    TrainingReferences,
    chain_figures,
    distance_histograms,
    mean_estimate,
    radius_histogram,
)
from betafold_mlx.generate.network import Generator
from betafold_mlx.generate.prompt import HELIX, OPEN, STRAND, MotifPrompt, motif_of
from betafold_mlx.generate.sampler import SampleSpec, sample_traces
from betafold_mlx.generate.scales import resampling
from betafold_mlx.generate.training_split import (
    favoured_region,
    fragment_copies,
    random_coils,
    training_angles,
)

MODEL, COIL, COPY, HELD_OUT = "model", "random coil", "fragment copy", "held out"
WINDOWS = 8  # training windows a sample whose distributions are compared with
LIBRARY = 1000  # training windows of each length among which the nearest one is searched
MAX_PROMPTED = 100  # samples with each kind of prompt
SHAPE_POINTS, MOTIF_RESIDUES, HELIX_RESIDUES, STRAND_RESIDUES = 5, 8, 10, 6


def assess_generator(
    generator: Generator,
    dataset: Dataset,
    split: str,
    count: int,
    seed: int,
    sampling: SamplingConfig,
    say: Callable[[str], None],
) -> tuple[dict[str, Any], list[Fit]]:
    """Measure a generator against up to `count` structures of a split, ``validation`` or ``test``.

    Samples are as long as the held-out structures, one each. All chains, the known ones too, are reduced to C-alpha
    traces, and get backbones by the same fit, so that figures compare. Returns plain JSON values, and the generated
    backbones without a problem; BetafoldError where the split holds nothing of the model's lengths, or there is no
    training split.
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
    methods, prompts = {}, {}
    for method, some_chains in chains.items():
        methods[method] = chain_figures(some_chains, references, seed)
        say(f"measured: {method}")
    for name, test in PROMPT_TESTS.items():
        rows = [row for row, item in enumerate(items) if len(item) >= test.shortest]
        rows = evenly_spread(rows, MAX_PROMPTED)
        if rows and not (name == "shape" and generator.model.config.scales == 1):
            prompts[name] = _prompt_figures(test, generator, items, rows, chains, seed, sampling)
            say(f"prompted: {name}")
    report = {
        "split": split,
        "samples": len(items),
        "lengths": [min(lengths), max(lengths)],
        "methods": methods,
        "prompts": prompts,
        "speed": {
            "draw_per_second": round(len(items) / max(drawing, 1e-9), 2),
            "fit_per_second": round(len(items) / max(fitting, 1e-9), 2),
        },
    }
    return report, chains[MODEL].good()


def held_out_chains(dataset: Dataset, split: str, count: int) -> list[Item]:
    """Return up to `count` open chains of a split that are as long as the model's, spread over the data set."""
    items = [
        item
        for item in split_items(dataset, split)
        if MIN_LENGTH <= len(item) <= MAX_LENGTH and not item.peptide.cyclic
    ]
    if not items:
        raise BetafoldError(
            f"the data set has no open chains of {MIN_LENGTH} to {MAX_LENGTH} residues in its {split} split"
        )
    return evenly_spread(items, count)


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


class PromptTest(NamedTuple):
    """How well a kind of prompt is followed."""

    what: str  # is measured, in words
    shortest: int  # residues of the shortest held-out structure that it is tried with
    ask: Callable[[Item], Any]  # makes the prompt from a held-out structure
    fields: Callable[[Any], dict[str, Any]]  # makes fields of `SampleSpec` from the prompt
    score: Callable[[Any, Fit], float]  # compares a backbone with the prompt
    # Fits backbones to traces with their prompts, where the fit needs these.
    refit: Callable[[list[np.ndarray], list[Any]], list[Fit]] | None = None


def _middle_motif(item: Item) -> MotifPrompt:
    start = (len(item) - MOTIF_RESIDUES) // 2
    return motif_of(item.coordinates[start : start + MOTIF_RESIDUES], start, item.id)


def _fit_motifs(traces: list[np.ndarray], motifs: list[MotifPrompt]) -> list[Fit]:
    pairs = zip(motifs, traces, strict=True)
    return fit_traces(traces, known=[known_torsions(motif, len(trace)) for motif, trace in pairs])


def _secondary_test(name: str, letter: str, size: int) -> PromptTest:
    return PromptTest(
        f"share of {size} residues in the middle that are {name}",
        size + 2,
        lambda item: (OPEN * ((len(item) - size) // 2) + letter * size).ljust(len(item), OPEN),
        lambda letters: {"secondary": letters},
        lambda letters, fit: secondary_kept(letters, secondary_structures([fit])[0]),
    )


PROMPT_TESTS = {
    "shape": PromptTest(
        f"RMSD to {SHAPE_POINTS} points of a held-out structure, A",
        SHAPE_POINTS + 1,
        lambda item: resampling(len(item), SHAPE_POINTS) @ item.coordinates[:, CA].astype(np.float32),
        lambda points: {"shape": points},
        lambda points, fit: shape_rmsd(points, fit.coordinates[:, CA]),
    ),
    "motif": PromptTest(
        f"share with the motif of {MOTIF_RESIDUES} residues within {MAX_MOTIF_RMSD:g} A, and no problem",
        2 * MOTIF_RESIDUES,
        _middle_motif,
        lambda motif: {"motif": (motif.start, motif.trace)},
        lambda motif, fit: not fit.problems and motif_rmsd(motif, fit.coordinates) <= MAX_MOTIF_RMSD,
        _fit_motifs,
    ),
    "ring": PromptTest(
        "share that closes to a ring, with no problem",
        MIN_LENGTH,
        lambda item: None,
        lambda _: {"cyclic": True},
        lambda _, fit: not fit.problems,
        lambda traces, _: fit_traces(traces, rings=True),
    ),
    "helix": _secondary_test("helix", HELIX, HELIX_RESIDUES),
    "strand": _secondary_test("strand", STRAND, STRAND_RESIDUES),
}


def _prompt_figures(
    test: PromptTest,
    generator: Generator,
    items: list[Item],
    rows: list[int],
    unprompted: dict[str, Chains],
    seed: int,
    sampling: SamplingConfig,
) -> dict[str, Any]:
    """Return how well prompts are followed, and how well chains made without prompts pass the same test."""
    asked = [test.ask(items[row]) for row in rows]
    specs = [
        SampleSpec(len(items[row]), row, **test.fields(own)) for row, own in zip(rows, asked, strict=True)
    ]
    traces = sample_traces(generator.model, specs, seed, sampling)
    fits = {MODEL: fit_traces(traces) if test.refit is None else test.refit(traces, asked)}
    for method in (MODEL, COIL, COPY) if test.refit is None else (MODEL, COPY):
        label, chains = f"{MODEL}, not asked" if method == MODEL else method, unprompted[method]
        if test.refit is None:
            fits[label] = [chains.fits[row] for row in rows]
        else:
            fits[label] = test.refit([chains.traces[row] for row in rows], asked)
    scores = {
        label: [test.score(own, fit) for own, fit in zip(asked, some, strict=True)]
        for label, some in fits.items()
    }
    return {
        "what": test.what,
        "samples": len(rows),
        "methods": {label: mean_estimate(some, seed=seed) for label, some in scores.items()},
    }
