"""A small lab on made-up structures."""

import mlx.core as mx
import pytest
from synthetic import make_dataset, toy_model

from betafold_mlx.fold import ensemble
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


@pytest.fixture(autouse=True, scope="module")
def quick_folds():
    """Minimise in a few steps, once: what the lab makes of folds is tested here, not how good they are."""
    with pytest.MonkeyPatch.context() as patch:
        for name, number in (("STEPS", 4), ("BONDED_STEPS", 4), ("ATTEMPTS", 1)):
            assert getattr(ensemble, name) >= number
            patch.setattr(ensemble, name, number)
        yield


def tiny_model(directory):
    """Save a model with random weights, and return its directory."""
    mx.random.seed(7)
    save_model(directory, toy_model(), "a card", {})
    return directory
