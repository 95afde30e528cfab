"""The folding network beside the same network in PyTorch (`torch_head`): inference, and a training step.

The peer takes our weights and our batch, and must give our loss.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten
from pytest_benchmark.fixture import BenchmarkFixture

from betafold_mlx.geometry import build_backbone
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.inputs import ModelInputs
from betafold_mlx.train.batches import Batch
from betafold_mlx.train.losses import Targets, total_loss
from betafold_mlx.train.microbatch import MICROBATCH, in_microbatches
from betafold_mlx.train.training_config import LossWeights

INFERENCE, STEP = "folding network, inference, 64 x 32", "folding network, training step, 96 x 32"


def random_batch(count: int, length: int = 32) -> Batch:
    """Return a training batch of random peptides with random structures."""
    rng = np.random.default_rng(0)
    residues = mx.array(rng.integers(0, 20, (count, length)).astype(np.int32))
    mask = mx.array(np.arange(length) < rng.integers(20, length + 1, (count, 1)))
    torsions = mx.array(rng.uniform(-np.pi, np.pi, (count, length, 3)).astype(np.float32))
    coordinates = build_backbone(torsions, residues, mask)[:, :, :4]
    defined = mx.broadcast_to(mask[..., None], torsions.shape)
    unbonded = mx.zeros((count, length, length), mx.bool_)
    inputs = ModelInputs(residues, mask, mx.zeros((count,), mx.bool_), unbonded)
    return Batch(inputs, Targets(coordinates, torsions, defined, mx.ones((count,))))


@pytest.fixture
def network() -> FoldingModel:
    """Return the default network of random weights."""
    mx.random.seed(0)
    return FoldingModel(ModelConfig())


@pytest.fixture
def peer(network: FoldingModel, torch: Any) -> Any:
    """Return the network in PyTorch with our weights."""
    from torch_head import Network

    found = Network(ModelConfig())
    weights = dict(tree_flatten(network.parameters()))
    found.load({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    return found


def as_tensors(batch: Batch, torch: Any) -> dict[str, Any]:
    """Return a batch as tensors by the names of `ModelInputs` and `Targets`."""
    arrays = {name: array for part in batch for name, array in part._asdict().items() if array is not None}
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


@pytest.mark.benchmark(group=INFERENCE)
def bench_inference_ours(benchmark: BenchmarkFixture, network: FoldingModel) -> None:
    inputs = random_batch(64).inputs

    def answer() -> None:
        folded = network(inputs)
        mx.eval(folded.vectors, folded.coordinates, folded.mixture.log_weights, folded.distogram)

    benchmark(answer)


@pytest.mark.benchmark(group=INFERENCE)
def bench_inference_torch(benchmark: BenchmarkFixture, peer: Any, torch: Any) -> None:
    batch = as_tensors(random_batch(64), torch)
    with torch.inference_mode():
        benchmark(peer.eval(), batch["residues"].long(), batch["mask"], batch["bonded"])


@pytest.mark.benchmark(group=STEP)
def bench_step_ours(benchmark: BenchmarkFixture, network: FoldingModel) -> None:
    batch = random_batch(96)
    optimizer = optim.AdamW(1e-4)
    keys = mx.random.split(mx.random.key(0), len(batch.inputs.mask))

    def loss(some: Batch, own: mx.array) -> mx.array:
        return total_loss(network(some.inputs, own), some.targets, some.inputs.mask, LossWeights())[0]

    gradient = nn.value_and_grad(network, loss)

    def step() -> None:  # as `betafold_mlx.train.loop` does
        value, gradients = in_microbatches(network, gradient, batch, keys, MICROBATCH["transformer"])
        gradients, _ = optim.clip_grad_norm(gradients, 1.0)
        optimizer.update(network, gradients)
        mx.eval(network.parameters(), optimizer.state, value)

    benchmark(step)


@pytest.mark.benchmark(group=STEP)
def bench_step_torch(benchmark: BenchmarkFixture, network: FoldingModel, peer: Any, torch: Any) -> None:
    batch = random_batch(96)
    tensors = as_tensors(batch, torch)
    ours = total_loss(network(batch.inputs), batch.targets, batch.inputs.mask, LossWeights())[0]
    with torch.inference_mode():
        assert abs(float(peer.eval().loss(tensors)) - float(ours)) < 1e-3
    optimizer = torch.optim.AdamW(peer.train().parameters(), 1e-4, weight_decay=0.01)

    def step() -> None:
        optimizer.zero_grad()
        peer.loss(tensors).backward()
        torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
        optimizer.step()

    benchmark(step)
