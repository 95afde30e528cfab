"""Our side of the sections of ``scripts/bench``."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import betafold_mlx  # noqa: F401 - loads OpenBLAS: before anything imports mlx.core

import mlx.core as mx  # isort: skip
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from _bench_measure import (
    BATCHES,
    FEW_PAIRS,
    INFERENCE,
    LENGTHS,
    PAIRS,
    PEPTIDES,
    RESIDUES,
    STEP,
    Times,
    embedding_name,
    measure,
    nerf_name,
    superposition_name,
)
from mlx.utils import tree_flatten

from betafold_mlx.esm.config import SIZES, EsmConfig
from betafold_mlx.esm.directory import LoadedEsm
from betafold_mlx.esm.features import EsmEmbedder
from betafold_mlx.esm.model import Esm2
from betafold_mlx.geometry import build_backbone
from betafold_mlx.geometry.superpose import rmsd
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.folding import Folded, FoldingModel
from betafold_mlx.model.inputs import ModelInputs
from betafold_mlx.peptide.sequence import ALPHABET
from betafold_mlx.train.batches import Batch
from betafold_mlx.train.losses import LossWeights, Targets, total_loss
from betafold_mlx.train.microbatch import MICROBATCH, in_microbatches

SUPERPOSED = "superposed.npy"
RING, BRIDGE, BOTH = "ring of 14", "2 disulfides in 15", "ring of 14 with a disulfide"
BONDED = {RING: ("GRATKSIPPIAFPD", True, ()), BRIDGE: ("ICKGCSNPTACRHGC", False, ((2, 11), (5, 15)))}
BONDED[BOTH] = ("GRCTKSIPPICFPD", True, ((3, 11),))


def embed(folder: Path, quick: bool) -> Times:
    """Embed sequences with ESM2-8M of random weights: letters in, float16 arrays out."""
    embedder = EsmEmbedder(_random_esm())
    rng = np.random.default_rng(0)
    times = {}
    for length in LENGTHS:
        for batch in BATCHES:
            letters = ["".join(row) for row in rng.choice(list(ALPHABET), size=(batch, length))]
            times[embedding_name(length, batch)] = measure(partial(embedder.embed, letters), quick)
    return times


def head(folder: Path, quick: bool) -> Times:
    """Run and train the folding network; leave weights, a batch and its loss in the folder for the peer."""
    mx.random.seed(0)
    network = FoldingModel(ModelConfig())
    batch = random_batch(96)
    loss, _ = total_loss(network(batch.inputs), batch.targets, batch.inputs.mask, LossWeights())
    arrays = {f"weight:{name}": array for name, array in dict(tree_flatten(network.parameters())).items()}
    arrays |= {
        f"batch:{name}": array
        for part in batch
        for name, array in part._asdict().items()
        if array is not None
    }
    mx.save_safetensors(str(folder / "head.safetensors"), arrays | {"loss": loss})

    few = ModelInputs(*(array[:64] for array in batch.inputs[:4]))
    times = {INFERENCE: measure(lambda: mx.eval(outputs(network(few))), quick)}
    optimizer = optim.AdamW(1e-4)

    def loss_of(some: Batch, keys: mx.array) -> mx.array:
        return total_loss(network(some.inputs, keys), some.targets, some.inputs.mask, LossWeights())[0]

    step = nn.value_and_grad(network, loss_of)
    keys = mx.random.split(mx.random.key(0), len(batch.inputs.mask))

    def train() -> None:  # as `betafold_mlx.train.loop` does
        value, gradients = in_microbatches(network, step, batch, keys, MICROBATCH["transformer"])
        gradients, _ = optim.clip_grad_norm(gradients, 1.0)
        optimizer.update(network, gradients)
        mx.eval(network.parameters(), optimizer.state, value)

    return times | {STEP: measure(train, quick)}


def nerf(folder: Path, quick: bool) -> Times:
    """Build backbones from torsions."""
    rng = np.random.default_rng(0)
    times = {}
    for batch in PEPTIDES:
        torsions = mx.array(rng.uniform(-np.pi, np.pi, (batch, RESIDUES, 3)).astype(np.float32))
        residues = mx.array(rng.integers(0, 20, (batch, RESIDUES)).astype(np.int32))
        mx.eval(torsions, residues)
        times[nerf_name(batch)] = measure(partial(_build, torsions, residues), quick)
    return times


def _build(torsions: mx.array, residues: mx.array) -> None:
    mx.eval(build_backbone(torsions, residues))


def superpose(folder: Path, quick: bool) -> Times:
    """Superpose pairs of backbones and return their RMSD, which the peers find in the folder."""
    points = random_pairs(FEW_PAIRS if quick else PAIRS)
    first, second = mx.array(points[0]), mx.array(points[1])
    np.save(folder / SUPERPOSED, np.array(rmsd(first, second)))
    return {superposition_name(len(first)): measure(lambda: mx.eval(rmsd(first, second)), quick)}


def bonds(folder: Path, quick: bool) -> Times:
    """Fold peptides with stated bonds, one at a time."""
    from betafold_mlx.fold.predictor import Predictor

    predictor = Predictor.load("betafold-mini")
    return {
        name: measure(partial(predictor.fold, sequence, cyclic=ring, disulfides=pairs), quick)
        for name, (sequence, ring, pairs) in BONDED.items()
    }


def outputs(folded: Folded) -> list[mx.array]:
    """Return what a fold needs of the network's answer."""
    return [folded.vectors, folded.coordinates, folded.mixture.log_weights, folded.distogram]


def random_pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of structures to superpose: (count, 3 residues, 3) each, Angstrom."""
    rng = np.random.default_rng(0)
    first = np.cumsum(rng.normal(size=(count, 3 * RESIDUES, 3)), axis=1).astype(np.float32)
    return first, first + rng.normal(size=first.shape).astype(np.float32)


def random_batch(count: int, length: int = 32) -> Batch:
    """Return a training batch of random peptides with random structures."""
    rng = np.random.default_rng(0)
    residues = mx.array(rng.integers(0, 20, (count, length)).astype(np.int32))
    mask = mx.array(np.arange(length) < rng.integers(20, length + 1, (count, 1)))
    torsions = mx.array(rng.uniform(-np.pi, np.pi, (count, length, 3)).astype(np.float32))
    coordinates = build_backbone(torsions, residues, mask)[:, :, :4]
    defined = mx.broadcast_to(mask[..., None], torsions.shape)
    inputs = ModelInputs(
        residues, mask, mx.zeros((count,), mx.bool_), mx.zeros((count, length, length), mx.bool_)
    )
    batch = Batch(inputs, Targets(coordinates, torsions, defined, mx.ones((count,))))
    mx.eval([array for part in batch for array in part if array is not None])
    return batch


def _random_esm() -> LoadedEsm:
    network = Esm2(EsmConfig(*SIZES["8M"]))
    mx.eval(network.parameters())
    return LoadedEsm(
        config=network.config,
        name="random",
        sha256="",
        source_sha256="",
        dtype="float32",
        check="different",
        path=Path(os.devnull),
        model=network,
    )
