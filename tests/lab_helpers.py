"""A small lab on made-up structures."""

import mlx.core as mx
from synthetic import make_dataset, toy_model

from betafold_mlx.lab.budget import Budget
from betafold_mlx.lab.runner import Lab
from betafold_mlx.model.directory import save_model

TINY = Budget(
    name="tiny", steps=4, repeats=1, width=16, layers=2, tokens=96, items=8, windows=60
)  # layers: of a baseline


def tiny_lab(tmp_path, repeats=1, **values):
    """A lab with a data set; `values` are further fields of it."""
    import dataclasses

    data = tmp_path / "data"
    if not data.exists():
        make_dataset(chains=6, peptides=6).save(data)
    budget = dataclasses.replace(TINY, repeats=repeats)
    return Lab(**{"directory": tmp_path / "lab", "budget": budget, "data": data, **values})


def tiny_model(directory):
    """Save a model with random weights, and return its directory."""
    mx.random.seed(7)
    save_model(directory, toy_model(), "a card", {})
    return directory
