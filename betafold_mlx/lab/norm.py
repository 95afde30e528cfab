"""Place of the LayerNorm: pre-LN against post-LN, and the gradients of the blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from betafold_mlx.lab.comparison import usual_report
from betafold_mlx.lab.drawing import BESIDE, draw_bars, panels
from betafold_mlx.lab.runner import Finding, Lab, LabReport, Picture
from betafold_mlx.lab.series import Series, TrainedRun, Variant, base_config, train_series, with_network
from betafold_mlx.lab.statistics import found, mean_interval, words

BASELINE = "pre-LN"


def run(lab: Lab) -> LabReport:
    """Train with both, and measure the gradient of each block at the start and on the way."""
    base = base_config(lab.budget)
    series = train_series(lab, [Variant(BASELINE, base), Variant("post-LN", with_network(base, norm="post"))])
    report = usual_report(series, BASELINE, "Place of the LayerNorm")
    report.findings += [_balance(name, runs) for name, runs in series.items() if _blocks(runs[0]) > 1]
    report.tables["gradients"] = [
        {"variant": name, "seed": run.seed, "step": point["step"], "part": part, "gradient norm": value}
        for name, runs in series.items()
        for run in runs
        for point in run.gradients
        for part, value in point["norms"].items()
    ]
    report.pictures["gradients"] = Picture(
        draw_gradients(series),
        "Norm of the gradient in each block on one batch without dropout, before the first step and at each "
        "evaluation; mean over the seeds, bars span them.",
    )
    return report


def _blocks(run: TrainedRun) -> int:
    return sum(name.startswith("block") for name in run.gradients[0]["norms"])


def _balance(name: str, runs: Sequence[TrainedRun]) -> Finding:
    """Compare the last block's gradient with the first one's before any step: equal in a well-conditioned stack."""
    norms = [run.gradients[0]["norms"] for run in runs]
    ratios = [math.log2(one[f"block {_blocks(runs[0])}"] / one["block 1"]) for one in norms]
    interval = mean_interval(ratios)
    verdict = (
        f"{name}, before the first step: log2 of the last block's gradient norm over the first one's: "
        f"{words(interval, '')}."
    )
    return found(f"log2 gradient ratio last/first block, {name}", "", interval, verdict)


def draw_gradients(series: Series) -> Figure:
    """Draw the gradient norm of each part over the steps, a panel a variant."""
    figure, axes = panels(len(series), len(series), 3.8, 2.7, sharey=True)
    for axis, (name, runs) in zip(axes, series.items(), strict=True):
        steps = [point["step"] for point in runs[0].gradients]
        for number, part in enumerate(runs[0].gradients[0]["norms"]):
            values = np.array([[point["norms"][part] for point in run.gradients] for run in runs])
            draw_bars(axis, steps, values.T, number, label=part)
        axis.set_yscale("log")
        axis.set_title(name)
        axis.set_xlabel("training step")
    axes[0].set_ylabel("gradient norm")
    axes[-1].legend(**BESIDE)
    return figure
