"""A small lab on made-up structures."""

from synthetic import make_dataset

from betafold_mlx.lab.budget import Budget
from betafold_mlx.lab.experiment import Lab

TINY = Budget(
    name="tiny", steps=4, repeats=1, width=16, layers=2, tokens=96, items=8, windows=40
)  # layers: of a baseline


def tiny_lab(tmp_path, repeats=1, **values):
    """A lab with a data set; `values` are further fields of it."""
    import dataclasses

    data = tmp_path / "data"
    if not data.exists():
        make_dataset(chains=6, peptides=6).save(data)
    budget = dataclasses.replace(TINY, repeats=repeats)
    return Lab(**{"directory": tmp_path / "lab", "budget": budget, "data": data, **values})
