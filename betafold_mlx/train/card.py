"""The model card that a training run writes beside its best weights."""

from __future__ import annotations

from betafold_mlx.train.training_config import TrainConfig


def training_card(config: TrainConfig, step: int, figures: dict[str, float], dataset: str) -> str:
    """Return the card in Markdown, with the validation figures of a step; `dataset` is the data set in words."""
    network = config.network
    rows = "\n".join(f"| {name} | {value:.2f} |" for name, value in figures.items())
    return f"""# A betafold-mlx folding model

Reads {network.embedder.describe()}; {network.describe()}.
Written by `betafold-mlx train` at step {step} of {config.steps} (seed {config.seed}), trained on a data set of
{dataset}.

Validation figures at that step (they picked this checkpoint, so they flatter it; `betafold-mlx evaluate DATASET
--model DIR --split test` gives figures to quote):

| figure | value |
|---|---|
{rows}

RMSD in Angstrom over N, CA, C; angles in degrees.
"""
