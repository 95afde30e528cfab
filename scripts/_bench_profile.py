"""Where the time of the encoder, of a training step and of a fold goes, for ``scripts/bench --only profile``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import betafold_mlx  # noqa: F401 - loads OpenBLAS: before anything imports mlx.core

import mlx.core as mx  # isort: skip
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from _bench_measure import measure
from _bench_ours import outputs, random_batch

from betafold_mlx.esm.config import SIZES, EsmConfig
from betafold_mlx.esm.model import Esm2
from betafold_mlx.fold.confidence import confidence_features
from betafold_mlx.fold.ensemble import refine
from betafold_mlx.model.attention import scaled_dot_product_attention
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.functions import gelu
from betafold_mlx.model.inputs import collate
from betafold_mlx.peptide.sequence import ALPHABET, Peptide
from betafold_mlx.train.losses import LossWeights, total_loss

FLOAT = 4  # bytes


class Row(NamedTuple):
    """A part: how long it takes, the arithmetic of its matrix products, and the bytes it must move at least."""

    name: str
    seconds: float
    flops: float = 0.0
    bytes: float = 0.0


def profile(folder: Path, quick: bool) -> dict[str, Any]:
    """Return the parts; the worker takes it for the times."""
    size = 1024
    square = mx.random.normal((size, size))
    rate = 2 * size**3 / min(each.wall for each in measure(lambda: mx.eval(square @ square), quick))
    parts = [_encoder(16, 32, quick), _step(96, quick), _fold(64, quick)]
    return {
        "matmul_flops": rate,
        "parts": [
            {"what": what, "seconds": whole, "rows": [row._asdict() for row in (*rows, _rest(whole, rows))]}
            for what, whole, rows in parts
        ],
    }


def _encoder(batch: int, tokens: int, quick: bool) -> tuple[str, float, list[Row]]:
    """Take an ESM2-8M forward apart: each operation by itself, on arrays of its size, times how often it runs."""
    config = EsmConfig(*SIZES["8M"])
    network = Esm2(config)
    ids = mx.random.randint(4, 24, (batch, tokens))
    block, width, hidden = network.blocks[0], config.width, config.ffn_width
    x, wide = mx.random.normal((batch, tokens, width)), mx.random.normal((batch, tokens, hidden))
    heads = mx.random.normal((batch, config.heads, tokens, config.head_width))
    mask, periods = mx.ones((batch, tokens), mx.bool_), 1.0 / network.inv_freq
    mx.eval(network.parameters(), ids, x, wide, heads, mask, periods)
    rows, layers = batch * tokens, config.layers

    def linear(inputs: int, outputs: int, times: int) -> dict[str, float]:
        moved = rows * (inputs + outputs) + inputs * outputs
        return {"flops": 2.0 * rows * inputs * outputs * times, "bytes": float(FLOAT * moved * times)}

    def turn() -> mx.array:
        return mx.fast.rope(
            heads, config.head_width, traditional=False, base=None, scale=1.0, offset=0, freqs=periods
        )

    pairs = batch * config.heads * tokens * tokens
    attention = {"flops": 4.0 * pairs * config.head_width, "bytes": FLOAT * (4.0 * rows * width + pairs)}
    normed = FLOAT * 2.0 * rows * width
    table = [
        (
            "4 linear maps of attention",
            lambda: block.attention.query(x),
            4 * layers,
            linear(width, width, 4 * layers),
        ),
        ("linear map 320 to 1280", lambda: block.expand(x), layers, linear(width, hidden, layers)),
        ("linear map 1280 to 320", lambda: block.contract(wide), layers, linear(hidden, width, layers)),
        (
            "scores, softmax, mean of values",
            lambda: scaled_dot_product_attention(heads, heads, heads, mask)[0],
            layers,
            {name: value * layers for name, value in attention.items()},
        ),
        ("GELU", lambda: gelu(wide), layers, {"bytes": layers * FLOAT * 2.0 * rows * hidden}),
        ("LayerNorm", lambda: block.attention_norm(x), 2 * layers + 1, {"bytes": (2 * layers + 1) * normed}),
        ("rotary positions", turn, 2 * layers, {"bytes": 2 * layers * normed}),
    ]
    found = [Row(name, times * _time(call, quick), **cost) for name, call, times, cost in table]
    whole = _time(lambda: network.embed(ids), quick)
    return f"ESM2-8M, {batch} x {tokens} tokens", whole, found


def _step(count: int, quick: bool) -> tuple[str, float, list[Row]]:
    """Take a training step apart, by running it to one point after another."""
    config = ModelConfig()
    network, batch, key = FoldingModel(config), random_batch(count), mx.random.key(0)
    mask = batch.inputs.mask
    mx.eval(network.parameters())

    def loss(key: mx.array) -> mx.array:
        return total_loss(network(batch.inputs, key), batch.targets, mask, LossWeights())[0]

    gradient, optimizer = nn.value_and_grad(network, loss), optim.AdamW(1e-4)
    states, bias = mx.random.normal((*mask.shape, config.width)), mx.zeros((count, config.heads, 32, 32))
    stack = nn.value_and_grad(
        network.transformer, lambda: network.transformer(states, mask, bias, key)[0].sum()
    )
    _, gradients = gradient(key)
    mx.eval(gradients, states, bias)

    def update() -> list[Any]:
        clipped, _ = optim.clip_grad_norm(gradients, 1.0)
        optimizer.update(network, clipped)
        return [network.parameters(), optimizer.state]

    tokens, length = mask.size, mask.shape[1]
    weights = config.layers * (4 * config.width**2 + 2 * config.width * config.ffn_width)
    products = weights * tokens + 2 * config.layers * tokens * length * config.width
    # Forward, and twice as much backward; each pass reads the weights and moves every layer's states.
    moved = 3 * FLOAT * (weights + config.layers * tokens * (8 * config.width + 2 * config.ffn_width))
    rows = [
        Row("Transformer, forward and backward", _time(stack, quick), 6.0 * products, float(moved)),
        Row("clip and AdamW", _time(update, quick), 0.0, 7.0 * FLOAT * weights),
    ]
    both, forward = _time(lambda: gradient(key), quick), _time(lambda: loss(key), quick)
    rows.insert(1, Row("heads, reconstruction and losses", max(both - rows[0].seconds, 0.0)))
    what = f"training step, {count} x {length} residues (its forward alone: {1e3 * forward:.1f} ms)"
    return what, both + rows[-1].seconds, rows


def _fold(count: int, quick: bool) -> tuple[str, float, list[Row]]:
    """Take the fold of a batch apart: the network, its structures, and their confidence."""
    from betafold_mlx.fold.predictor import Predictor

    predictor = Predictor.load("betafold-mini")
    network = predictor.loaded.model
    rng = np.random.default_rng(0)
    letters = [letter for letter in ALPHABET if letter != "C"]
    peptides = [Peptide.parse("".join(row)) for row in rng.choice(letters, (count, 24))]
    inputs = collate(peptides)
    folded = network(inputs)
    ensemble = refine(folded, inputs, 0, range(1))
    mx.eval(outputs(folded), ensemble.coordinates)
    rows = [
        Row("network", _time(lambda: outputs(network(inputs)), quick)),
        Row(
            "structures (betafold_mlx.fold)",
            _time(lambda: refine(folded, inputs, 0, range(1)).coordinates, quick),
        ),
        Row("confidence", _time(lambda: network.calibration(confidence_features(folded, ensemble)), quick)),
    ]
    whole = min(each.wall for each in measure(lambda: predictor.fold_many(peptides), quick))
    return f"fold of {count} peptides of 24 residues", whole, rows


def _rest(whole: float, rows: list[Row]) -> Row:
    return Row("the rest", max(whole - sum(row.seconds for row in rows), 0.0))


def _time(call: Callable[[], Any], quick: bool) -> float:
    """Return the shortest of the repeats: what else the machine does only adds, and the parts are to sum up."""
    return min(each.wall for each in measure(lambda: mx.eval(call()), quick))
