"""Where the LayerNorm stands: pre-LN against post-LN, and what the gradients of the blocks say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from betafold_mlx.lab.compare import outcome
from betafold_mlx.lab.experiment import Finding, Lab, Outcome, Picture
from betafold_mlx.lab.figures import COLOURS, MARKS, new_figure, styled
from betafold_mlx.lab.series import Run, Series, train_series
from betafold_mlx.lab.statistics import mean_interval, words
from betafold_mlx.lab.variants import Variant, base_config, with_network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASELINE = "pre-LN"


def run(lab: Lab) -> Outcome:
    """Train with both, and measure the gradient of each block at the start and on the way."""
    base = base_config(lab.budget)
    variants = [Variant(BASELINE, base), Variant("post-LN", with_network(base, norm="post"))]
    series = train_series(lab, variants)
    result = outcome(series, BASELINE, "Place of the LayerNorm")
    result.findings += [_balance(name, runs) for name, runs in series.items() if _blocks(runs[0]) > 1]
    result.tables["gradients"] = gradient_rows(series)
    result.pictures["gradients"] = Picture(
        draw_gradients(series),
        "Norm of the gradient in each block on one batch without dropout, before the first step and at each "
        "evaluation; mean over the seeds, bars span them.",
    )
    return result


def _blocks(run: Run) -> int:
    return sum(name.startswith("block") for name in run.gradients[0]["norms"])


def _balance(name: str, runs: Sequence[Run]) -> Finding:
    """Compare the last block's gradient with the first one's before any step: equal in a well-conditioned stack."""
    last = f"block {_blocks(runs[0])}"
    ratios = [
        math.log2(run.gradients[0]["norms"][last] / run.gradients[0]["norms"]["block 1"]) for run in runs
    ]
    found = mean_interval(ratios)
    verdict = (
        f"{name}, before the first step: log2 of the last block's gradient norm over the first one's: "
        f"{words(found, '')}."
    )
    measure = f"log2 gradient ratio last/first block, {name}"
    return Finding(measure, "", found.mean, found.low, found.high, found.repeats, verdict)


def gradient_rows(series: Series) -> list[dict[str, Any]]:
    """Return a table of all gradient norms."""
    return [
        {"variant": name, "seed": run.seed, "step": point["step"], "part": part, "gradient norm": value}
        for name, runs in series.items()
        for run in runs
        for point in run.gradients
        for part, value in point["norms"].items()
    ]


@styled
def draw_gradients(series: Series) -> Figure:
    """Draw the gradient norm of each part over the steps, a panel a variant."""
    figure = new_figure(3.4 * len(series) + 1.6, 3.2)
    axes = figure.subplots(1, len(series), sharey=True, squeeze=False)[0]
    for axis, (name, runs) in zip(axes, series.items(), strict=True):
        steps = [point["step"] for point in runs[0].gradients]
        for number, part in enumerate(runs[0].gradients[0]["norms"]):
            values = np.array([[point["norms"][part] for point in run.gradients] for run in runs])
            mean = values.mean(axis=0)
            axis.errorbar(
                steps,
                mean,
                yerr=[mean - values.min(axis=0), values.max(axis=0) - mean],
                marker=MARKS[number % len(MARKS)],
                ms=4,
                color=COLOURS[number % len(COLOURS)],
                lw=1,
                label=part,
            )
        axis.set_yscale("log")
        axis.set_title(name)
        axis.set_xlabel("training step")
    axes[0].set_ylabel("gradient norm")
    axes[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
