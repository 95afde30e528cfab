"""The experiments by name; the module of each is imported when it is run."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from betafold_mlx.lab.experiment import Lab, Outcome


class Entry(NamedTuple):
    """What is known of an experiment without running it."""

    title: str
    needs_data: bool


EXPERIMENTS = {
    "toy": Entry("Attention on copy and shift tasks, under right and wrong masks", False),
    "attention": Entry("Attention maps of a trained network, and what its heads look at", False),
    "mask": Entry("Padding masks that are wrong on purpose", True),
    "positions": Entry("Learned, sinusoidal, ring-aware and no positions", True),
    "depth": Entry("Layers and heads, and when overfitting sets in", True),
    "dropout": Entry("Dropout of 0, 0.1 and 0.3", True),
    "norm": Entry("Pre-LN against post-LN, and the gradients of the blocks", True),
    "schedule": Entry("Warm-up and weight decay", True),
    "distogram": Entry("With and without the distance head", True),
    "width": Entry("Wide against deep pair trunks at equal compute", True),
    "stability": Entry("Rates and warm-ups for a wide pair trunk", True),
    "recipe": Entry("The training recipe, with one part of it left out or changed", True),
    "distill": Entry("Labels of a teacher beside experimental structures", True),
    "generator": Entry("A generator of backbones without one of its parts", True),
    "failures": Entry("When and why predicted structures break", True),
    "limits": Entry("What limits the accuracy: the network, or the folding", True),
    "embeddings": Entry("What a language model adds", True),
}


def run_experiment(name: str, lab: Lab) -> Outcome:
    """Run an experiment.

    Raises
    ------
    BetafoldError
        What it needs is missing or damaged.
    """
    outcome: Outcome = importlib.import_module(f"betafold_mlx.lab.{name}").run(lab)
    return outcome
