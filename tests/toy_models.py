"""Small random folding models, sure of themselves: what they fold carries no warning of low confidence."""

import mlx.core as mx

from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.folding import FoldingModel

TOY = ModelConfig(width=32, layers=1, heads=4, ffn_width=64)


def toy_model(config=TOY):
    """Random weights from the state of `mx.random`."""
    model = FoldingModel(config)
    model.calibration.bias = mx.array(3.0)
    return model
