"""Width against depth of the pair trunk, at equal compute: SeedFold's question, at the size of peptides.

All variants get the same data and the same compute, counted by a formula (`cost`): a step of a wider or deeper trunk
costs more, so it takes fewer of them. The variants are a cross through 64 channels and 2 blocks, and a wide and flat
trunk whose step costs about as much as that of the deepest one.

What a step costs is a formula, the same on every machine. Three things take time: multiply-adds of matrix products,
which grow as the square of the width of the pairs; elementwise operations on the pairs (LayerNorm,
gates, sums, copies), which grows as the width; and the rest of the network, its losses and its update, which hardly
grow. Counted in multiply-adds alone, a narrow trunk would look eight times cheaper than it is.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from mlx.utils import tree_flatten

from betafold_mlx.lab.comparison import (
    DISTOGRAM,
    FOLDED,
    FOLDED_LDDT,
    INTERVALS,
    RMSD,
    Measure,
    difference,
    draw_runs,
    findings,
    run_rows,
)
from betafold_mlx.lab.drawing import draw_bars, panel_figure
from betafold_mlx.lab.runner import Finding, Lab, LabReport, Picture
from betafold_mlx.lab.series import Series, Variant, base_config, changed, train_series
from betafold_mlx.lab.statistics import mean_interval
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.heads import BINS
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.model.pairformer import DISTOGRAM_HIDDEN, TRANSITION
from betafold_mlx.train.loop import Trainer
from betafold_mlx.train.training_config import TrainConfig

PER_NUMBER = 3_000
"""Multiply-adds that take as long as what an update of the pairs does to one number of a pair by itself."""
PER_RESIDUE = 12_000_000
"""The same of all that is not done to pairs, for a residue. Both are rounded from a least-squares fit to the processor
time of training steps of ten trunks of 32 to 256 channels and 1 to 8 blocks (residues: 4 blocks of 96; AMD EPYC,
OpenBLAS, one thread), which it meets within a fifth. `betafold-mlx lab width` measures the steps again."""
Shape = tuple[int, int]  # channels of a pair, updates of the pairs
BASELINE: Shape = (64, 2)
WIDE, DEEP = (256, 1), (64, 8)  # a step of either costs about as much
SHAPES: tuple[Shape, ...] = ((32, 2), BASELINE, (128, 2), (256, 2), (64, 1), (64, 4), DEEP, WIDE)
SHARE = 4
"""A batch has this part of the budget's residues: for the same compute small batches make more steps."""
STEPS = 4
"""Steps of the baseline in steps of the budget: of so small batches as much work as the budget's steps."""
EVALUATIONS = 3
HEAD_WIDTH = 32
TIMED_STEPS = 6
SECONDS = "processor time of a step (s)"
LDDT = Measure("CA-lDDT", "points", lambda run: 100 * run.mean("lddt"), quality=False)
MEASURES = (FOLDED_LDDT, FOLDED, LDDT, RMSD, DISTOGRAM)


def run_width(lab: Lab) -> LabReport:
    """Train each shape for the same compute."""
    base = base_config(lab.budget)
    variants = [Variant(shape_name(shape), shape_config(base, shape)) for shape in SHAPES]
    series = train_series(lab, variants)
    cost_rows = [_cost_row(lab, variant) for variant in variants]
    return LabReport(
        findings=[
            *(
                dataclasses.replace(
                    difference(series, shape_name(WIDE), shape_name(DEEP), measure),
                    measure=f"{measure.name}, wide less deep",
                )
                for measure in MEASURES
            ),
            *findings(series, shape_name(BASELINE), MEASURES),
            *(_cost_finding(row) for row in cost_rows),
        ],
        tables={
            "runs": run_rows(series, MEASURES),
            "shapes": _shape_rows(series, cost_rows),
            "steps": cost_rows,
        },
        pictures={
            "runs": Picture(
                draw_runs(series, (FOLDED_LDDT, FOLDED)),
                "Validation structures as `fold` makes them, after the same compute. Each mark is a seed, the bar "
                "their mean.",
            ),
            "width_and_depth": Picture(
                draw_shapes(series, {row["variant"]: row[SECONDS] for row in cost_rows}),
                "CA-lDDT after folding by width, by depth, and by the processor time of a step; bars span the seeds.",
            ),
        },
        notes=[
            "The same compute each, by a formula: multiply-adds, and what is done to each number of a pair in as many "
            "of them as take as long. Steps take the measured time of this machine, which varies. "
            f"{INTERVALS}"
        ],
    )


def multiply_adds(network: ModelConfig, length: int) -> int:
    """Return the multiply-adds of the matrix products for one peptide of so many padded residues, forward.

    Of the pair trunk and the distance head; the heads of residues are the same for all widths, and a thousandth of it.
    """
    n, width, pair = length, network.width, network.pair_width
    residues = n * (4 * width * width + 2 * width * network.ffn_width) + 2 * n * n * width  # of a block
    speak = n * width * 4 * pair + n * n * pair * pair
    sides = pair // 2
    multiplication = n * n * (pair * (4 * sides + pair) + sides * n + sides * pair)
    projections = n * n * (pair * (4 * pair + network.triangle_heads) + pair * pair)
    if network.triangle == "additive":
        attention = n * n * pair * (2 * pair // network.triangle_heads + n)
    else:
        attention = n * n * pair * 2 * n
    transition = n * n * 2 * TRANSITION * pair * pair
    bias = n * n * pair * network.heads
    update = speak + 2 * multiplication + 2 * (projections + attention) + transition + bias
    head = n * n * DISTOGRAM_HIDDEN * (pair + BINS)
    return network.layers * residues + network.pair_blocks * update + head


def cost(network: ModelConfig, length: int) -> int:
    """Return `multiply_adds`, and those that would take as long as all else: the work of one peptide in a step."""
    numbers = network.pair_blocks * length * length * network.pair_width
    return multiply_adds(network, length) + PER_NUMBER * numbers + PER_RESIDUE * length


def shape_name(shape: Shape) -> str:
    """Return a shape in words."""
    return f"width {shape[0]} × {shape[1]} block{'s' * (shape[1] > 1)}"


def shape_config(base: TrainConfig, shape: Shape) -> TrainConfig:
    """Return the settings of a shape: as many steps as the compute of the baseline pays for, one at least.

    The baseline takes the steps of `base` times `STEPS`.
    """
    config, length = pair_trunk(base, *shape), PADDED_LENGTHS[-1]
    share = cost(pair_trunk(base, *BASELINE).network, length) / cost(config.network, length)
    steps = max(1, round(STEPS * base.steps * share))
    return dataclasses.replace(
        config, steps=steps, warmup=max(1, steps // 10), evaluate_every=-(-steps // EVALUATIONS)
    )


def pair_trunk(base: TrainConfig, width: int, blocks: int) -> TrainConfig:
    """Return settings with a pair trunk, and batches of a part of the residues (`SHARE`)."""
    heads = max(1, width // HEAD_WIDTH)
    tokens = max(PADDED_LENGTHS[-1], base.sampler.tokens // SHARE)
    trunk = {"trunk": "pairformer", "pair_width": width, "pair_blocks": blocks, "triangle_heads": heads}
    return changed(changed(base, "network", **trunk), "sampler", tokens=tokens)


def _cost_row(lab: Lab, variant: Variant) -> dict[str, Any]:
    """Return what a variant's steps cost, by the formula and by the clock."""
    network, steps = variant.config.network, variant.config.steps
    arrays: list[tuple[str, Any]] = tree_flatten(FoldingModel(network).trainable_parameters())  # type: ignore[assignment]
    seconds = step_seconds(lab, variant.config)
    return {
        "variant": variant.name,
        "parameters": sum(array.size for _, array in arrays),
        "multiply-adds of a peptide, forward": multiply_adds(network, PADDED_LENGTHS[-1]),
        "steps": steps,
        "compute (cost of a peptide x steps)": cost(network, PADDED_LENGTHS[-1]) * steps,
        SECONDS: seconds,
        "processor time of all steps (s)": seconds * steps,
    }


def step_seconds(lab: Lab, config: TrainConfig) -> float:
    """Return the mean processor time of a training step in seconds, over the same batches for all networks."""
    count = TIMED_STEPS + 1
    config = dataclasses.replace(config, seed=lab.seed, steps=count, evaluate_every=count, warmup=1)
    ends: list[float] = []

    def watch(figures: dict[str, Any]) -> None:
        if "loss" in figures:
            ends.append(time.process_time())

    with TemporaryDirectory() as folder:
        Trainer(Path(folder), lab.small_dataset, config, lab.dataset_sha256).run(watch)
    return (ends[-1] - ends[0]) / TIMED_STEPS  # but for the first step, which allocates


def _cost_finding(row: dict[str, Any]) -> Finding:
    name, seconds = row["variant"], row[SECONDS]
    verdict = (
        f"{name}: {row['parameters'] / 1e6:.2f} million parameters, {row['steps']} steps of {seconds:.2f} s of "
        f"processor time, {row['processor time of all steps (s)']:.0f} s together."
    )
    return Finding(f"processor time of a step, {name}", "s", seconds, None, None, TIMED_STEPS, verdict)


def _shape_rows(series: Series, cost_rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a table with a line a shape: the means over the seeds with their intervals, and what a step costs."""
    rows = []
    for spent in cost_rows:
        row: dict[str, Any] = {key: spent[key] for key in ("variant", "parameters", "steps", SECONDS)}
        for measure in MEASURES:
            found, name = mean_interval([measure.of(run) for run in series[spent["variant"]]]), measure.title
            row |= {name: found.mean, f"{name} low": found.low, f"{name} high": found.high}
        rows.append(row)
    return rows


def draw_shapes(series: Series, seconds: dict[str, float]) -> Figure:
    """Draw the accuracy against width, against depth, and against the processor time of a step."""
    figure, axes = panel_figure(3, 3, 2.9, 2.7, sharey=True)
    known = [shape for shape in SHAPES if shape_name(shape) in series]
    widths = sorted(shape for shape in known if shape[1] == BASELINE[1])
    depths = sorted(shape for shape in known if shape[0] == BASELINE[0])
    lines: list[tuple[list[Shape], list[float], str]] = [
        (widths, [shape[0] for shape in widths], f"width, {BASELINE[1]} blocks"),
        (depths, [shape[1] for shape in depths], f"blocks, width {BASELINE[0]}"),
        (known, [seconds[shape_name(shape)] for shape in known], SECONDS),
    ]
    for number, (axis, (shapes, places, label)) in enumerate(zip(axes, lines, strict=True)):
        values = np.array([[FOLDED_LDDT.of(run) for run in series[shape_name(shape)]] for shape in shapes])
        draw_bars(axis, places, values, number, "-" if number < 2 else "none", capsize=3)
        axis.set_xscale("log", base=2)
        axis.set_xlabel(label)
        if number < 2:
            axis.set_xticks(places, [str(place) for place in places])
    for shape, place, height in zip(known, lines[2][1], values.mean(axis=1), strict=True):
        text, at = f"{shape[0]} × {shape[1]}", (place, height)
        axes[2].annotate(text, at, textcoords="offset points", xytext=(5, 5), fontsize=7)
    axes[0].set_ylabel(FOLDED_LDDT.title)
    return figure
