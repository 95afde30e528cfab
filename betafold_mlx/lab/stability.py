"""What keeps a wide pair trunk from collapsing: a longer warm-up, or a smaller learning rate.

SeedFold's wide trunks collapsed in training until the warm-up was three times as long and the rate little more than
half. Here a wide trunk is trained at several rates with several warm-ups, beside a narrow one, and the gradient is
watched at every step. A trunk has *collapsed* where its distances are no better than one distribution that is the
same for every pair.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from matplotlib.figure import Figure

from betafold_mlx.data.windows import WindowSampler
from betafold_mlx.errors import BetafoldError
from betafold_mlx.evaluate.items import split_items
from betafold_mlx.lab.comparison import (
    DISTOGRAM,
    FOLDED,
    FOLDED_LDDT,
    INTERVALS,
    RMSD,
    draw_runs,
    findings,
    rows_of_runs,
    run_rows,
)
from betafold_mlx.lab.drawing import BESIDE, COLOURS, draw_band, panel_figure
from betafold_mlx.lab.runner import Finding, Lab, LabReport, Picture, Row
from betafold_mlx.lab.series import Series, TrainedRun, Variant, base_config, train_series
from betafold_mlx.lab.width import pair_trunk
from betafold_mlx.model.heads import BINS, EDGES
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.train.run import DivergedError
from betafold_mlx.train.training_config import TrainConfig

WIDE, NARROW = 256, 64
RATES = (1e-3, 3e-3)
WARMUPS = {"long": 0.3, "short": 0.1, "no": 0.0}
"""Shares of the steps; SeedFold's long warm-up is three times its usual one."""
WINDOWS = 500  # training windows whose distances make the distribution that is the same for every pair

MEASURES = (DISTOGRAM, FOLDED, FOLDED_LDDT, RMSD)
STEP_COLUMNS = ("step", "learning_rate", "loss", "distogram_loss", "gradient_norm")


def run_stability(lab: Lab) -> LabReport:
    """Train a wide trunk at each rate with each warm-up, and a narrow one at each rate with the short one."""
    base = base_config(lab.budget)
    configs = trunk_configs(base)
    series: Series = {}
    lost: dict[str, str] = {}
    for name, config in configs.items():
        try:
            series |= train_series(lab, [Variant(name, config)])
        except DivergedError as error:
            lost[name] = str(error)
            lab.say(f"{name}: {error}")
    if not series:
        raise BetafoldError(f"no run finished: {next(iter(lost.values()))}")
    known = constant_loss(lab)
    stability = rows_of_runs(series, lambda run: [stability_row(run, base.clip, known)])
    return LabReport(
        findings=[
            *(_stability(name, [row for row in stability if row["variant"] == name]) for name in series),
            *(
                _collapsed(name, 1.0, lab.budget.repeats, f"{name}: collapsed: {error.partition(':')[0]}.")
                for name, error in lost.items()
            ),
            *findings(series, next(iter(series)), MEASURES),
        ],
        tables={
            "runs": run_rows(series, MEASURES),
            "stability": stability,
            "gradients": rows_of_runs(
                series, lambda run: ({key: step[key] for key in STEP_COLUMNS} for step in run.steps)
            ),
        },
        pictures={
            "gradients": Picture(
                draw_gradients(series, configs),
                "Norm of the gradient at every step before it is clipped (dotted: the limit), and the loss; mean over "
                "the seeds, the band spans them.",
            ),
            "runs": Picture(
                draw_runs(series, (DISTOGRAM, FOLDED)),
                f"Validation structures after training. One distribution for all pairs would have a distogram loss of "
                f"{known:.2f} nats. Each mark is a seed, the bar their mean.",
            ),
        },
        notes=[
            f"Collapsed: a distogram loss of {known:.2f} nats or more on validation structures, which the distances of "
            f"{WINDOWS} training windows reach as one distribution for all pairs. {INTERVALS}"
        ],
    )


def trunk_configs(base: TrainConfig) -> dict[str, TrainConfig]:
    """Return the settings of each variant by its name."""
    chosen = [(WIDE, rate, warmup) for rate in RATES for warmup in WARMUPS]
    chosen += [(NARROW, rate, "short") for rate in RATES]
    return {
        f"width {width} at {rate:g} with {warmup} warm-up": dataclasses.replace(
            pair_trunk(base, width, 1),
            learning_rate=rate,
            warmup=round(WARMUPS[warmup] * base.steps),
            evaluate_every=-(-base.steps // 2),
        )
        for width, rate, warmup in chosen
    }


def constant_loss(lab: Lab) -> float:
    """Return the distogram loss on validation structures of one distribution for all pairs, in nats.

    The distribution is that of C-alpha distances in training windows, two residues apart or more, as
    `betafold_mlx.train.losses.distogram_loss` counts them.
    """
    sampler = WindowSampler(lab.dataset, PADDED_LENGTHS, lab.seed)
    windows = (window for step in itertools.count() for window in sampler.batch(step)[0])
    chosen = itertools.islice(windows, WINDOWS)
    counts = sum((_histogram(window.coordinates) for window in chosen), np.ones(BINS))
    surprise = -np.log(counts / counts.sum())
    items = split_items(lab.small_dataset, "validation", lab.budget.items)
    shares = [_histogram(item.coordinates) for item in items]
    return float(np.mean([share @ surprise / share.sum() for share in shares]))


def _histogram(coordinates: np.ndarray) -> np.ndarray:
    """Return how many C-alpha distances of a backbone (L, A, 3) fall into each bin, two residues apart or more."""
    ca = coordinates[:, 1].astype(np.float64)
    first, second = np.triu_indices(len(ca), 2)
    bins = np.searchsorted(EDGES, np.linalg.norm(ca[first] - ca[second], axis=-1), side="right")
    return np.bincount(bins, minlength=BINS).astype(np.float64)


def stability_row(run: TrainedRun, clip: float, known: float) -> Row:
    """Return what the steps of a run say of its stability.

    `clip` is the maximum norm that is not clipped, `known` the `constant_loss`.
    """
    norms, losses = (np.array([step[of] for step in run.steps]) for of in ("gradient_norm", "loss"))
    tenth = max(1, len(losses) // 10)
    distances = run.mean("distogram_loss")
    return {
        "largest gradient norm": float(norms.max()),
        "median gradient norm": float(np.median(norms)),
        "gradient norm of the last tenth": float(norms[-tenth:].mean()),
        "steps clipped (%)": 100 * float((norms > clip).mean()),
        "loss of the first tenth": float(losses[:tenth].mean()),
        "loss of the last tenth": float(losses[-tenth:].mean()),
        "validation distogram loss (nats)": distances,
        "collapsed": int(not distances < known),
    }


def _stability(name: str, rows: list[Row]) -> Finding:
    """Say how many runs collapsed, and what their gradients were."""
    collapsed = sum(row["collapsed"] for row in rows)
    norm, clipped, loss = (
        np.mean([row[column] for row in rows])
        for column in ("gradient norm of the last tenth", "steps clipped (%)", "loss of the last tenth")
    )
    verdict = (
        f"{name}: {collapsed} of {len(rows)} runs collapsed; gradient norm at most "
        f"{max(row['largest gradient norm'] for row in rows):.1f}, {norm:.2f} at the end, {clipped:.0f}% of the steps "
        f"clipped; loss {loss:.2f} at the end."
    )
    return _collapsed(name, collapsed / len(rows), len(rows), verdict)


def _collapsed(name: str, share: float, repeats: int, verdict: str) -> Finding:
    return Finding(f"runs that collapsed, {name}", "", share, None, None, repeats, verdict)


def draw_gradients(series: Series, configs: dict[str, TrainConfig]) -> Figure:
    """Draw the gradient norm and the loss of every step, a column a rate, a colour a warm-up."""
    rates = list(dict.fromkeys(configs[name].learning_rate for name in series))
    figure, axes = panel_figure(2 * len(rates), len(rates), 4.2, 2.5, sharex=True, sharey="row")
    for norms, losses, rate in zip(axes, axes[len(rates) :], rates, strict=False):
        names = [name for name in series if configs[name].learning_rate == rate]
        for colour, name in zip(COLOURS, names, strict=False):
            steps = [step["step"] for step in series[name][0].steps]
            for axis, quantity in ((norms, "gradient_norm"), (losses, "loss")):
                values = np.array([[step[quantity] for step in run.steps] for run in series[name]])
                draw_band(axis, steps, values, colour, lw=1, label=name.replace(f" at {rate:g}", ""))
        norms.axhline(configs[names[0]].clip, color="0.5", lw=0.8, ls=":")
        norms.set_title(f"learning rate {rate:g}")
        norms.set_yscale("log")
        losses.set_xlabel("training step")
    axes[0].set_ylabel("gradient norm")
    axes[len(rates)].set_ylabel("loss")
    axes[len(rates) - 1].legend(**BESIDE)
    return figure
