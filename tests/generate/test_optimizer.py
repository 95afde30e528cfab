"""The optimiser of a generator, against Muon and AdamW written down in float64."""

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
from generate_fakes import TINY, shaken
from mlx.utils import tree_flatten, tree_unflatten

from betafold_mlx.generate.settings import GeneratorTrainConfig
from betafold_mlx.generate.trainer import BETAS, BlockMuon, in_blocks, make_optimizer

RATE, BLOCK_RATE, DECAY = 1e-2, 3e-2, 0.1


def settings(block_rate):
    return GeneratorTrainConfig(learning_rate=RATE, block_learning_rate=block_rate, weight_decay=DECAY)


def orthogonalised(matrix):
    """Five steps of the quintic iteration of Jordan et al. 2024, on the longer side."""
    x = matrix / (np.linalg.norm(matrix) + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x


def test_matrices_of_blocks_take_orthogonal_steps_and_the_rest_adamws():
    model = shaken(TINY)
    optimizer = make_optimizer(settings(BLOCK_RATE))
    optimizer.init(model.trainable_parameters())
    rng = np.random.default_rng(0)
    before = {name: np.array(value, np.float64) for name, value in tree_flatten(model.parameters())}
    momentum = {name: np.zeros_like(value) for name, value in before.items()}
    square = {name: np.zeros_like(value) for name, value in before.items()}
    expected = {name: value.copy() for name, value in before.items()}
    for share in (1.0, 0.5):
        optimizer.learning_rate = share * RATE
        gradients = {name: rng.normal(size=value.shape) for name, value in before.items()}
        tree = model.parameters()
        flat = [(name, mx.array(gradients[name].astype(np.float32))) for name, _ in tree_flatten(tree)]
        optimizer.update(model, tree_unflatten(flat))
        for name, gradient in gradients.items():
            if in_blocks(name, mx.array(gradient)):
                momentum[name] = 0.95 * momentum[name] + 0.05 * gradient
                step = orthogonalised(0.05 * gradient + 0.95 * momentum[name])
                rows, columns = gradient.shape
                expected[name] -= share * BLOCK_RATE * max(1.0, rows / columns) ** 0.5 * step
            else:
                momentum[name] = BETAS[0] * momentum[name] + (1 - BETAS[0]) * gradient
                square[name] = BETAS[1] * square[name] + (1 - BETAS[1]) * gradient**2
                expected[name] *= 1 - share * RATE * DECAY
                expected[name] -= share * RATE * momentum[name] / (np.sqrt(square[name]) + 1e-8)
    found = dict(tree_flatten(model.parameters()))
    muon = [name for name in found if in_blocks(name, found[name])]
    assert 0 < len(muon) < len(found) and all(name.endswith("weight") for name in muon)
    for name, value in found.items():
        assert np.allclose(np.array(value), expected[name], atol=2e-4), name


def test_tables_and_the_layers_in_and_out_are_not_muons():
    names = {
        name: value for name, value in tree_flatten(shaken(TINY).parameters()) if not in_blocks(name, value)
    }
    assert {
        "decoder.separation.weight",
        "context.place.weight",
        "decoder.velocity.weight",
        "context.begin",
    } <= set(names)
    assert "context.blocks.0.attention.query.bias" in names


def test_without_a_rate_for_blocks_all_is_adamws():
    assert type(make_optimizer(settings(0.0))) is optim.AdamW
    assert type(make_optimizer(settings(BLOCK_RATE))) is BlockMuon


def test_both_rates_follow_one_schedule():
    optimizer = make_optimizer(settings(BLOCK_RATE))
    for rate in (RATE, 0.1 * RATE, 0.0):
        optimizer.learning_rate = rate
        muon, rest = optimizer.optimizers
        assert rest.learning_rate.item() == pytest.approx(rate) == optimizer.learning_rate.item()
        assert muon.learning_rate.item() == pytest.approx(3 * rate)
