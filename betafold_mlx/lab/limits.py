"""What limits the accuracy: what the network says, or what folding makes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from betafold_mlx.data.windows import Window
from betafold_mlx.evaluate.groups import group_items
from betafold_mlx.evaluate.items import Item, split_items
from betafold_mlx.evaluate.scores import score_structures
from betafold_mlx.fold.ensemble import refine
from betafold_mlx.geometry.frames import distances
from betafold_mlx.geometry.spread import measure_apart
from betafold_mlx.lab.experiment import Lab, Outcome, Picture
from betafold_mlx.lab.figures import COLOURS, new_figure, styled
from betafold_mlx.lab.scoring import described
from betafold_mlx.lab.statistics import clustered_difference, compared
from betafold_mlx.lab.trained import Trained, load_trained
from betafold_mlx.model.distogram import CENTRES
from betafold_mlx.model.folding import Folded
from betafold_mlx.model.inputs import padded_length
from betafold_mlx.model.ramachandran import TorsionMixture
from betafold_mlx.train.batches import Batch, make_batch
from betafold_mlx.train.losses import Targets

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARP = 0.5
"""Deviation with which native distances are told, Angstrom: a bin of the distogram."""
EFFORT = 4
SAMPLES = 20
_TOGETHER = 32

BASELINE = "as folded"
GROUPS = (
    *("fragments", "fragments 10-15", "fragments 16-22", "fragments 23-30"),
    *("peptides free+oligomer", "peptides bound"),
)

Change = Callable[[Folded, Targets], Folded]


def run(lab: Lab) -> Outcome:
    """Fold validation structures with more work, with more samples, and with part of the answer told."""
    trained = load_trained(lab)
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
        models = _fold(trained, items, lab.seed, 1, effort, change)
        found[name] = score_structures(items, [each[0] for each in models]).rmsd
    lab.say(f"{SAMPLES} samples")
    found |= _chosen(items, _fold(trained, items, lab.seed, SAMPLES, 1, None))
    clusters = np.array([item.cluster for item in items])
    groups = {name: rows for name, rows in group_items(items).items() if name in GROUPS}
    return Outcome(
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
                {**described(item), **{f"{name} (Å)": float(rmsd[index]) for name, rmsd in found.items()}}
                for index, item in enumerate(items)
            ],
        },
        pictures={
            "groups": Picture(
                draw({name: rmsd[groups["fragments"]] for name, rmsd in found.items()}),
                "Share of the validation fragments that come out within a backbone RMSD. Dashed: an oracle is needed.",
            )
        },
        notes=[
            *trained.notes,
            f"{len(items)} validation structures. Native distances are told as normal distributions of {SHARP:g} Å "
            "around them, native regions as the states of the mixture that the native phi and psi belong to. "
            f"The best of {SAMPLES} is found by an oracle; the most central one has the least mean RMSD to the others.",
        ],
    )


def native_distances(folded: Folded, targets: Targets) -> Folded:
    """Return the answer with the native C-alpha distances, told sharply."""
    ca = targets.coordinates[:, :, 1]
    off = mx.array(CENTRES.astype(np.float32)) - distances(ca, ca)[..., None]
    return folded._replace(distogram=mx.square(off) * (-0.5 / SHARP**2))


def native_regions(folded: Folded, targets: Targets) -> Folded:
    """Return the answer with each residue in the states of the mixture that its native phi and psi belong to."""
    mixture = folded.mixture
    even = mx.zeros_like(mixture.log_weights)

    def total(log_weights: mx.array) -> mx.array:
        told = TorsionMixture(log_weights, mixture.centre, mixture.concentration)
        return told.log_density(targets.torsions[..., :2], targets.defined[..., :2]).sum()

    # The derivative of a mixture's log density by a log weight is the probability of that state, given the torsions.
    belongs = mx.grad(total)(even)
    return folded._replace(
        mixture=TorsionMixture(mx.log(mx.maximum(belongs, 1e-9)), mixture.centre, mixture.concentration)
    )


def _fold(
    trained: Trained, items: Sequence[Item], seed: int, samples: int, effort: int, change: Change | None
) -> list[np.ndarray]:
    """Return the models of each item: (S, L, 5, 3) Angstrom."""
    models: dict[int, np.ndarray] = {}
    for padded in sorted({padded_length(len(item)) for item in items}):
        members = [index for index, item in enumerate(items) if padded_length(len(item)) == padded]
        for first in range(0, len(members), _TOGETHER):
            part = members[first : first + _TOGETHER]
            batch = _batch([items[index] for index in part], padded, trained)
            folded = trained.loaded.model(batch.inputs)
            if change is not None:
                folded = change(folded, batch.targets)
            coordinates = np.array(refine(folded, batch.inputs, seed, range(samples), effort).coordinates)
            models |= {index: coordinates[row, :, : len(items[index])] for row, index in enumerate(part)}
    return [models[index] for index in range(len(items))]


def _batch(items: Sequence[Item], padded: int, trained: Trained) -> Batch:
    return make_batch([Window(item.peptide, item.coordinates) for item in items], padded, trained.embedder)


def _chosen(items: Sequence[Item], models: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the RMSD of the best of some samples, and of the most central one."""
    each = np.stack(
        [score_structures(items, [model[number] for model in models]).rmsd for number in range(SAMPLES)]
    )  # (S, n)
    central = [int(measure_apart(model).mean(axis=1).argmin()) for model in models]
    return {
        "best of 5": each[:5].min(axis=0),
        f"best of {SAMPLES}": each.min(axis=0),
        f"most central of {SAMPLES}": each[central, np.arange(len(items))],
    }


@styled
def draw(found: dict[str, np.ndarray]) -> Figure:
    """Draw how many structures come out within an RMSD."""
    figure = new_figure(6.4, 3.8)
    axis = figure.subplots()
    for number, (name, rmsd) in enumerate(found.items()):
        oracle = name.startswith(("best", "native", "both"))
        share = 100 * np.arange(1, len(rmsd) + 1) / len(rmsd)
        axis.plot(np.sort(rmsd), share, "--" if oracle else "-", color=(*COLOURS, "0.5")[number], label=name)
    axis.set_xlim(0, 10)
    axis.set_ylim(0, 100)
    axis.set_xlabel("backbone RMSD (Å)")
    axis.set_ylabel("fragments within (%)")
    axis.grid(color="0.9")
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
