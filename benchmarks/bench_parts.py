"""Where the time goes: the operations of ESM2-8M on 16 x 32 tokens, of a training step and of a fold, one by one.

``times a pass`` says how often an operation runs; GFLOP/s counts the arithmetic of matrix products alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest
from bench_head import random_batch
from pytest_benchmark.fixture import BenchmarkFixture

from betafold_mlx import Predictor
from betafold_mlx.esm.model import Esm2
from betafold_mlx.esm.sizes import SIZES, EsmConfig
from betafold_mlx.model.attention import scaled_dot_product_attention
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.functions import gelu
from betafold_mlx.model.inputs import collate
from betafold_mlx.peptide.sequence import ALPHABET, Peptide
from betafold_mlx.train.losses import total_loss
from betafold_mlx.train.training_config import LossWeights

BATCH, TOKENS = 16, 32
WHOLE = "the whole"
LINEAR, EXPAND, CONTRACT = "linear map of attention", "linear map 320 to 1280", "linear map 1280 to 320"
ATTEND, GELU, NORM, TURN = "scores, softmax, mean of values", "GELU", "LayerNorm", "rotary positions"
ESM_PARTS = (WHOLE, LINEAR, EXPAND, CONTRACT, ATTEND, GELU, NORM, TURN)
FORWARD, BOTH, STACK, UPDATE = (
    "forward",
    "forward and backward",
    "Transformer, forward and backward",
    "clip and AdamW",
)
Part = tuple[Callable[[], Any], int, float]  # what is computed, how often in a pass, FLOP of its products


def measured(benchmark: BenchmarkFixture, call: Callable[[], Any], times: int = 1, flop: float = 0.0) -> None:
    """Measure a call that returns arrays, and note what it does a second."""
    benchmark(lambda: mx.eval(call()))
    benchmark.extra_info["times a pass"] = times
    if flop and benchmark.stats is not None:
        benchmark.extra_info["GFLOP/s"] = flop / benchmark.stats.stats.min / 1e9


@pytest.mark.benchmark(group="product of two 1024 x 1024 matrices")
def bench_matrix_product(benchmark: BenchmarkFixture) -> None:
    square = mx.random.normal((1024, 1024))
    measured(benchmark, lambda: square @ square, flop=2.0 * 1024**3)


def esm_parts() -> dict[str, Part]:
    """Return the operations of ESM2-8M on arrays of their size."""
    config = EsmConfig(*SIZES["8M"])
    network = Esm2(config)
    block, width, hidden, layers = network.blocks[0], config.width, config.ffn_width, config.layers
    ids = mx.random.randint(4, 24, (BATCH, TOKENS))
    x, wide = (mx.random.normal((BATCH, TOKENS, size)) for size in (width, hidden))
    heads = mx.random.normal((BATCH, config.heads, TOKENS, config.head_width))
    mask, periods = mx.ones((BATCH, TOKENS), mx.bool_), 1.0 / network.inv_freq
    mx.eval(network.parameters(), ids, x, wide, heads, mask, periods)
    rows = 2.0 * BATCH * TOKENS
    turned: dict[str, Any] = {"traditional": False, "base": None, "scale": 1.0, "offset": 0, "freqs": periods}
    return {
        WHOLE: (lambda: network.embed(ids), 1, 0.0),
        LINEAR: (lambda: block.attention.query(x), 4 * layers, rows * width * width),
        EXPAND: (lambda: block.expand(x), layers, rows * width * hidden),
        CONTRACT: (lambda: block.contract(wide), layers, rows * hidden * width),
        ATTEND: (
            lambda: scaled_dot_product_attention(heads, heads, heads, mask)[0],
            layers,
            2 * rows * TOKENS * width,
        ),
        GELU: (lambda: gelu(wide), layers, 0.0),
        NORM: (lambda: block.attention_norm(x), 2 * layers + 1, 0.0),
        TURN: (lambda: mx.fast.rope(heads, config.head_width, **turned), 2 * layers, 0.0),
    }


@pytest.mark.benchmark(group=f"ESM2-8M, {BATCH} x {TOKENS} tokens")
@pytest.mark.parametrize("part", ESM_PARTS)
def bench_esm_part(benchmark: BenchmarkFixture, part: str) -> None:
    measured(benchmark, *esm_parts()[part])


def step_parts() -> dict[str, Callable[[], Any]]:
    """Return a training step up to one point after another, on one whole batch."""
    config = ModelConfig()
    network, batch, key = FoldingModel(config), random_batch(96), mx.random.key(0)
    mask = batch.inputs.mask

    def loss(key: mx.array) -> mx.array:
        return total_loss(network(batch.inputs, key), batch.targets, mask, LossWeights())[0]

    gradient, optimizer = nn.value_and_grad(network, loss), optim.AdamW(1e-4)
    states, bias = mx.random.normal((*mask.shape, config.width)), mx.zeros((96, config.heads, 32, 32))
    stack = nn.value_and_grad(
        network.transformer, lambda: network.transformer(states, mask, bias, key)[0].sum()
    )
    gradients = gradient(key)[1]
    mx.eval(gradients, states, bias)

    def update() -> list[Any]:
        optimizer.update(network, optim.clip_grad_norm(gradients, 1.0)[0])
        return [network.parameters(), optimizer.state]

    return {
        FORWARD: lambda: loss(key),
        BOTH: lambda: gradient(key),
        STACK: stack,
        UPDATE: update,
    }


@pytest.mark.benchmark(group="training step of 96 x 32 residues")
@pytest.mark.parametrize("part", [FORWARD, BOTH, STACK, UPDATE])
def bench_step_part(benchmark: BenchmarkFixture, part: str) -> None:
    measured(benchmark, step_parts()[part])


@pytest.mark.benchmark(group="fold of 64 peptides of 24 residues")
@pytest.mark.parametrize("part", ["network", WHOLE])
def bench_fold_part(benchmark: BenchmarkFixture, part: str) -> None:
    predictor = Predictor.load("betafold-mini")
    letters = [letter for letter in ALPHABET if letter != "C"]
    rows = np.random.default_rng(0).choice(letters, (64, 24))
    peptides = [Peptide.parse("".join(row)) for row in rows]
    network, inputs = predictor.loaded.model, collate(peptides)

    def answer() -> list[mx.array]:
        folded = network(inputs)
        return [folded.vectors, folded.coordinates, folded.mixture.log_weights, folded.distogram]

    if part == "network":
        measured(benchmark, answer)
    else:
        benchmark(predictor.fold_many, peptides)
