"""A data set that was built and split, and models that label for tests."""

import mlx.core as mx
from data_helpers import random_backbones, write
from toy_models import toy_model

from betafold_mlx.data.build import build_dataset
from betafold_mlx.data.store import dataset_sha256
from betafold_mlx.distill.guard import Guard
from betafold_mlx.model.directory import save_model


def built_dataset(folder, peptides=40, chains=40):
    """Build a data set in `folder`, and return it."""
    source = write(folder.parent / "source.jsonl", random_backbones(peptides=peptides, chains=chains))
    dataset, _ = build_dataset([source])
    dataset.save(folder)
    return dataset


def guard_of(folder, dataset):
    return Guard(dataset, dataset_sha256(folder))


def save_toy(directory, seed=7, sure=3.0, training=None):
    """Save a model with random weights, and return its directory."""
    mx.random.seed(seed)
    model = toy_model()
    model.calibration.bias = mx.array(sure)
    save_model(directory, model, "a card", training or {})
    return directory
