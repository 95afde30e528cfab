"""Width against depth of the pair trunk, at equal compute: SeedFold's question, at the size of peptides.

All variants get the same data and the same compute, counted by a formula (`betafold_mlx.lab.compute`): a step of a
wider or deeper trunk costs more, so it takes fewer of them. The variants are a cross through 64 channels and 2 blocks,
and a wide and flat trunk whose step costs about as much as that of the deepest one.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from mlx.utils import tree_flatten

from betafold_mlx.lab.compare import DISTOGRAM, INTERVALS, RMSD, Measure, draw_runs, findings, run_rows
from betafold_mlx.lab.compute import cost, multiply_adds
from betafold_mlx.lab.experiment import Finding, Lab, Outcome, Picture
from betafold_mlx.lab.figures import COLOURS, MARKS, new_figure, styled
from betafold_mlx.lab.series import Series, train_series
from betafold_mlx.lab.statistics import compared, mean_interval, paired_difference
from betafold_mlx.lab.variants import Variant, base_config, with_network
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.train.config import TrainConfig
from betafold_mlx.train.loop import Trainer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Shape = tuple[int, int]
"""Channels of a pair, updates of the pairs."""

BASELINE: Shape = (64, 2)
WIDE, DEEP = (256, 1), (64, 8)
"""A step of either costs about as much."""
SHAPES: tuple[Shape, ...] = ((32, 2), BASELINE, (128, 2), (256, 2), (64, 1), (64, 4), DEEP, WIDE)

SHARE = 4
"""A batch has this part of the budget's residues: for the same compute small batches make more steps."""
STEPS = 4
"""Steps of the baseline in steps of the budget: of so small batches as much work as the budget's steps."""
EVALUATIONS = 3
HEAD_WIDTH = 32
TIMED_STEPS = 6

LDDT = Measure("CA-lDDT", "points", lambda run: 100 * run.mean("lddt"), quality=False)
FOLDED = Measure("backbone RMSD after folding", "Å", lambda run: run.mean("folded_rmsd"))
FOLDED_LDDT = Measure(
    "CA-lDDT after folding", "points", lambda run: 100 * run.mean("folded_lddt"), quality=False
)
MEASURES = (FOLDED_LDDT, FOLDED, LDDT, RMSD, DISTOGRAM)


def run(lab: Lab) -> Outcome:
    """Train each shape for the same compute."""
    base = base_config(lab.budget)
    variants = {shape: Variant(name_of(shape), config_of(base, shape)) for shape in SHAPES}
    series = train_series(lab, list(variants.values()))
    cost_rows = [_cost_row(lab, variant) for variant in variants.values()]
    return Outcome(
        findings=[
            *(_wide_against_deep(series, measure) for measure in MEASURES),
            *findings(series, name_of(BASELINE), MEASURES),
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
                draw_shapes(series, cost_rows),
                "CA-lDDT after folding by width, by depth, and by the processor time of a step; bars span the seeds.",
            ),
        },
        notes=[
            "The same compute each, by a formula: multiply-adds, and what is done to each number of a pair in as many "
            "of them as take as long. Steps take the measured time of this machine, which varies. "
            f"{INTERVALS}"
        ],
    )


def name_of(shape: Shape) -> str:
    """Return a shape in words."""
    return f"width {shape[0]} × {shape[1]} block{'s' * (shape[1] > 1)}"


def config_of(base: TrainConfig, shape: Shape) -> TrainConfig:
    """Return the settings of a shape: as many steps as the compute of the baseline pays for, one at least.

    Parameters
    ----------
    base : TrainConfig
        The settings that variants start from; its steps, times `STEPS`, are those of `BASELINE`.
    shape : tuple
        Channels of a pair, updates of the pairs.
    """

    def shaped(width: int, blocks: int) -> TrainConfig:
        heads = max(1, width // HEAD_WIDTH)
        return with_network(
            base, trunk="pairformer", pair_width=width, pair_blocks=blocks, triangle_heads=heads
        )

    config = shaped(*shape)
    length = PADDED_LENGTHS[-1]
    share = cost(shaped(*BASELINE).network, length) / cost(config.network, length)
    steps = max(1, round(STEPS * base.steps * share))
    return dataclasses.replace(
        config,
        sampler=dataclasses.replace(base.sampler, tokens=max(length, base.sampler.tokens // SHARE)),
        steps=steps,
        warmup=max(1, steps // 10),
        evaluate_every=-(-steps // EVALUATIONS),
    )


def _wide_against_deep(series: Series, measure: Measure) -> Finding:
    """Compare the wide and flat trunk with the narrow and deep one."""
    wide, deep = name_of(WIDE), name_of(DEEP)
    values = [[measure.of(run) for run in series[name]] for name in (wide, deep)]
    found = compared(
        wide, deep, measure.name, measure.unit, paired_difference(*values), quality=measure.quality
    )
    return dataclasses.replace(found, measure=f"{measure.name}, wide less deep")


def _cost_row(lab: Lab, variant: Variant) -> dict[str, Any]:
    """Return what a variant's steps cost, by the formula and by the clock."""
    network = variant.config.network
    arrays: list[tuple[str, Any]] = tree_flatten(FoldingModel(network).trainable_parameters())  # type: ignore[assignment]
    seconds = step_seconds(lab, variant.config)
    return {
        "variant": variant.name,
        "parameters": sum(array.size for _, array in arrays),
        "multiply-adds of a peptide, forward": multiply_adds(network, PADDED_LENGTHS[-1]),
        "steps": variant.config.steps,
        "compute (cost of a peptide x steps)": cost(network, PADDED_LENGTHS[-1]) * variant.config.steps,
        "processor time of a step (s)": seconds,
        "processor time of all steps (s)": seconds * variant.config.steps,
    }


def step_seconds(lab: Lab, config: TrainConfig) -> float:
    """Return the mean processor time of a training step in seconds, over the same batches for all networks."""
    config = dataclasses.replace(
        config, seed=lab.seed, steps=TIMED_STEPS + 1, evaluate_every=TIMED_STEPS + 1, warmup=1
    )
    dataset = lab.small_dataset
    ends: list[float] = []

    def watch(figures: dict[str, Any]) -> None:
        if "loss" in figures:
            ends.append(time.process_time())

    with TemporaryDirectory() as folder:
        Trainer(Path(folder), dataset, config, lab.dataset_sha256).run(watch)
    return (ends[-1] - ends[0]) / TIMED_STEPS  # but for the first step, which allocates


def _cost_finding(row: dict[str, Any]) -> Finding:
    name, seconds = row["variant"], row["processor time of a step (s)"]
    verdict = (
        f"{name}: {row['parameters'] / 1e6:.2f} million parameters, {row['steps']} steps of {seconds:.2f} s of "
        f"processor time, {row['processor time of all steps (s)']:.0f} s together."
    )
    return Finding(f"processor time of a step, {name}", "s", seconds, None, None, TIMED_STEPS, verdict)


def _shape_rows(series: Series, cost_rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a table with a line a shape: the means over the seeds with their intervals, and what a step costs."""
    rows = []
    for spent in cost_rows:
        row: dict[str, Any] = {key: spent[key] for key in ("variant", "parameters", "steps")}
        row["processor time of a step (s)"] = spent["processor time of a step (s)"]
        for measure in MEASURES:
            found = mean_interval([measure.of(run) for run in series[spent["variant"]]])
            name = f"{measure.name} ({measure.unit})"
            row |= {name: found.mean, f"{name} low": found.low, f"{name} high": found.high}
        rows.append(row)
    return rows


@styled
def draw_shapes(series: Series, cost_rows: Sequence[dict[str, Any]]) -> Figure:
    """Draw the accuracy against width, against depth, and against the processor time of a step."""
    figure = new_figure(9.6, 3.2)
    axes = figure.subplots(1, 3, sharey=True)
    seconds = {row["variant"]: row["processor time of a step (s)"] for row in cost_rows}
    known = [shape for shape in SHAPES if name_of(shape) in series]
    lines = (
        (axes[0], [s for s in known if s[1] == BASELINE[1]], lambda s: s[0], f"width, {BASELINE[1]} blocks"),
        (axes[1], [s for s in known if s[0] == BASELINE[0]], lambda s: s[1], f"blocks, width {BASELINE[0]}"),
        (axes[2], known, lambda s: seconds[name_of(s)], "processor time of a step (s)"),
    )
    for number, (axis, shapes, place, label) in enumerate(lines):
        shapes = sorted(shapes, key=place)
        values = np.array([[FOLDED_LDDT.of(run) for run in series[name_of(shape)]] for shape in shapes])
        mean = values.mean(axis=1)
        axis.errorbar(
            [place(shape) for shape in shapes],
            mean,
            yerr=[mean - values.min(axis=1), values.max(axis=1) - mean],
            marker=MARKS[number],
            color=COLOURS[number],
            linestyle="-" if number < 2 else "none",
            capsize=3,
        )
        axis.set_xscale("log", base=2)
        axis.set_xlabel(label)
        if number < 2:
            axis.set_xticks([place(shape) for shape in shapes], [str(place(shape)) for shape in shapes])
        else:
            for shape, height in zip(shapes, mean, strict=True):
                axis.annotate(
                    f"{shape[0]} × {shape[1]}",
                    (place(shape), height),
                    textcoords="offset points",
                    xytext=(5, 5),
                    fontsize=7,
                )
    axes[0].set_ylabel(f"{FOLDED_LDDT.name} ({FOLDED_LDDT.unit})")
    return figure
