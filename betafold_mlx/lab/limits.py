"""What limits the accuracy: the network, or the folding."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import mlx.core as mx
import numpy as np
from matplotlib.figure import Figure

from betafold_mlx.evaluate.groups import group_items
from betafold_mlx.evaluate.items import Item, split_items
from betafold_mlx.evaluate.structure_scores import score_structures
from betafold_mlx.fold.ensemble import refine
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.geometry.frames import distances
from betafold_mlx.geometry.spread import measure_apart
from betafold_mlx.lab.answers import item_batches, structure_facts
from betafold_mlx.lab.drawing import BESIDE, COLOURS, panel_figure
from betafold_mlx.lab.runner import Lab, LabReport, Picture
from betafold_mlx.lab.statistics import clustered_difference, compared
from betafold_mlx.model.folding import Folded
from betafold_mlx.model.heads import CENTRES
from betafold_mlx.train.losses import Targets

SHARP = 0.5  # standard deviation of given native distances, Angstrom: a bin of the distogram
EFFORT = 4
SAMPLES = 20
_TOGETHER = 32
BASELINE, FOLLOWED = "as folded", "followed: "
GROUPS = (
    *("fragments", "fragments 10-15", "fragments 16-22", "fragments 23-30", "fragments 31-50"),
    *("peptides free+oligomer", "peptides bound"),
)
Change = Callable[[Folded, Targets], Folded]


def run_limits(lab: Lab) -> LabReport:
    """Fold validation structures with more work, with more samples, and with a part of the native structure given."""
    predictor, notes = lab.load_model()
    items = split_items(lab.dataset, "validation", lab.budget.test_items)
    found: dict[str, np.ndarray] = {}
    for name, effort, change in (
        (BASELINE, 1, None),
        (f"{EFFORT} times the steps", EFFORT, None),
        ("native regions of phi and psi", 1, native_regions),
        ("native distances", 1, native_distances),
        ("both", 1, lambda folded, targets: native_distances(native_regions(folded, targets), targets)),
    ):
        lab.say(name)
        models = _fold_changed(predictor, items, lab.seed, 1, effort, change, traced=effort == 1)
        found[name] = score_structures(items, [each[0] for each in models]).rmsd
        if effort == 1:  # the last candidate follows the distances from the start
            found[FOLLOWED + (name if change else "distances")] = score_structures(
                items, [each[-1] for each in models]
            ).rmsd
    lab.say(f"{SAMPLES} samples")
    models = _fold_changed(predictor, items, lab.seed, SAMPLES, 1, None)
    samples = zip(*models, strict=True)
    each = np.stack([score_structures(items, sample).rmsd for sample in samples])  # (S, n)
    central = [int(measure_apart(model).mean(axis=1).argmin()) for model in models]
    found |= {
        "best of 5": each[:5].min(axis=0),
        f"best of {SAMPLES}": each.min(axis=0),
        f"most central of {SAMPLES}": each[central, np.arange(len(items))],
    }
    clusters = np.array([item.cluster for item in items])
    groups = {name: rows for name, rows in group_items(items).items() if name in GROUPS}
    return LabReport(
        findings=[
            compared(
                name,
                BASELINE,
                f"backbone RMSD, {group}",
                "Å",
                clustered_difference(rmsd[rows], found[BASELINE][rows], clusters[rows], lab.seed),
            )
            for group, rows in groups.items()
            for name, rmsd in found.items()
            if name != BASELINE
        ],
        tables={
            "groups": [
                {
                    "group": group,
                    "structures": len(rows),
                    "way": name,
                    "median RMSD (Å)": float(np.median(rmsd[rows])),
                    "mean RMSD (Å)": float(rmsd[rows].mean()),
                }
                for group, rows in groups.items()
                for name, rmsd in found.items()
            ],
            "structures": [
                structure_facts(item) | {f"{name} (Å)": float(rmsd[i]) for name, rmsd in found.items()}
                for i, item in enumerate(items)
            ],
        },
        pictures={
            "groups": Picture(
                draw_shares({name: rmsd[groups["fragments"]] for name, rmsd in found.items()}),
                "Share of the validation fragments that come out within a backbone RMSD. Dashed: an oracle is needed. "
                "Dotted: the candidate that follows the distances.",
            )
        },
        notes=[
            *notes,
            f"{len(items)} validation structures. Native distances are given as normal distributions of {SHARP:g} Å "
            "around them, native regions as the states of the mixture that the native phi and psi belong to. "
            f"The best of {SAMPLES} is found by an oracle; the most central one has the lowest mean RMSD to all.",
        ],
    )


def native_distances(folded: Folded, targets: Targets) -> Folded:
    """Return the answer with narrow distributions of the native C-alpha distances."""
    ca = targets.coordinates[:, :, 1]
    off = mx.array(CENTRES.astype(np.float32)) - distances(ca, ca)[..., None]
    return folded._replace(distogram=mx.square(off) * (-0.5 / SHARP**2))


def native_regions(folded: Folded, targets: Targets) -> Folded:
    """Return the answer with each residue in the states of the mixture that its native phi and psi belong to."""
    mixture = folded.mixture

    def total(log_weights: mx.array) -> mx.array:
        told = dataclasses.replace(mixture, log_weights=log_weights)
        return told.log_density(targets.torsions[..., :2], targets.defined[..., :2]).sum()

    # The derivative of a mixture's log density by a log weight is the probability of that state, given the torsions.
    belongs = mx.grad(total)(mx.zeros_like(mixture.log_weights))
    return folded._replace(
        mixture=dataclasses.replace(mixture, log_weights=mx.log(mx.maximum(belongs, 1e-9)))
    )


def _fold_changed(
    predictor: Predictor,
    items: Sequence[Item],
    seed: int,
    samples: int,
    effort: int,
    change: Change | None,
    traced: bool = False,
) -> list[np.ndarray]:
    """Return the models of each item: (S, L, 5, 3) Angstrom."""
    models: dict[int, np.ndarray] = {}
    for part, batch in item_batches(items, predictor.embedder, together=_TOGETHER):
        answer = predictor.loaded.model(batch.inputs)
        if change is not None:
            answer = change(answer, batch.targets)
        made = refine(answer, batch.inputs, seed, range(samples), effort, traced=traced)
        coordinates = np.array(made.coordinates)
        models |= {index: coordinates[row, :, : len(items[index])] for row, index in enumerate(part)}
    return [models[index] for index in range(len(items))]


def draw_shares(found: dict[str, np.ndarray]) -> Figure:
    """Draw how many structures come out within an RMSD."""
    figure, (axis,) = panel_figure(1, 1, 5.6, 3.3)
    for number, (name, rmsd) in enumerate(found.items()):
        oracle = name.startswith(("best", "native", "both"))
        share = 100 * np.arange(1, len(rmsd) + 1) / len(rmsd)
        line = ":" if name.startswith(FOLLOWED) else "--" if oracle else "-"
        axis.plot(np.sort(rmsd), share, line, color=COLOURS[number % len(COLOURS)], label=name)
    axis.set(xlim=(0, 10), ylim=(0, 100), xlabel="backbone RMSD (Å)", ylabel="fragments within (%)")
    axis.grid(color="0.9")
    axis.legend(**BESIDE)
    return figure
