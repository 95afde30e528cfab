"""Training the side-chain network on native structures, in a run folder as any other (`betafold_mlx.train.run`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np

from betafold_mlx.data.sampling import SamplerConfig
from betafold_mlx.data.store import Dataset
from betafold_mlx.data.windows import Window, WindowSampler
from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.attention import relative_positions
from betafold_mlx.model.companions import SIDE_CHAINS
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.model.rotamers import HAS_CHI, correct_angles, fit_rotamers
from betafold_mlx.model.side_chains import SideChainInputs, SideChainNetwork
from betafold_mlx.peptide.sequence import residue_ids
from betafold_mlx.train import checkpoint
from betafold_mlx.train.batches import Batch, Featurizer, make_batch
from betafold_mlx.train.microbatch import in_microbatches
from betafold_mlx.train.run import Run
from betafold_mlx.train.side_chain_settings import SideChainTrainConfig
from betafold_mlx.train.validate import validation_windows

MICROBATCH = 24
"""Structures of a microbatch."""

VALIDATION_BATCH = 64

BUCKET = 48
"""Residues between the padded lengths of windows that are longer than peptides."""


class SideChainExamples(NamedTuple):
    """Native structures and their side chains."""

    inputs: SideChainInputs  # one structure of each of B peptides
    chi: mx.array  # (B, L, 4) radians, 0 where unknown
    defined: mx.array  # (B, L, 4) bool


def make_examples(
    folding: FoldingModel | None, batch: Batch, windows: Sequence[Window], coordinates: mx.array | None = None
) -> SideChainExamples:
    """Return the examples of a batch of windows, with the states of a folding network where one is given.

    `coordinates` (B, L, 4, 3) are shown in place of the native ones, where they are given.
    """
    inputs = batch.inputs
    length = inputs.mask.shape[1]
    chi = np.full((len(windows), length, 4), np.nan, np.float32)
    for row, window in enumerate(windows):
        if window.chi is None:
            raise BetafoldError(
                "the data set has no side chains: build it with --chi, or of files that have them"
            )
        chi[row, : len(window.peptide)] = window.chi
    shown = batch.targets.coordinates if coordinates is None else coordinates
    examples = SideChainExamples(
        SideChainInputs(
            states=None if folding is None else folding(inputs).states,
            residues=inputs.residues,
            mask=inputs.mask,
            relative=relative_positions(inputs.mask.sum(axis=1), inputs.cyclic, length),
            bonded=inputs.bonded,
            coordinates=shown[:, None],
        ),
        mx.array(np.nan_to_num(chi)),
        mx.array(np.isfinite(chi)),
    )
    mx.eval(examples)
    return examples


def side_chain_losses(network: SideChainNetwork, examples: SideChainExamples) -> tuple[mx.array, mx.array]:
    """Return minus the log density of the chi angles of each residue, nats (B, L), and which have any (B, L)."""
    residues = examples.inputs.residues
    log_weights = network(examples.inputs)[:, 0]
    density = network.rotamers.log_density(log_weights, residues, examples.chi, examples.defined)
    return -density, (examples.defined * HAS_CHI[residues]).any(axis=-1)


def side_chain_figures(
    network: SideChainNetwork, validation: Sequence[SideChainExamples]
) -> dict[str, float]:
    """Return minus the mean log density, and the share of residues with chi1 and with chi1 and chi2 correct."""
    losses, correct = [], []
    for examples in validation:
        loss, known = (np.array(each) for each in side_chain_losses(network, examples))
        losses.append(loss[known])
        residues = np.array(examples.inputs.residues)
        best = np.array(network(examples.inputs)[:, 0].argmax(axis=-1))
        native = np.where(np.array(examples.defined), np.array(examples.chi), np.nan)
        correct.append(
            correct_angles(np.array(network.rotamers.centre)[residues, best], native, residues)[known]
        )
    chi1, both = np.nanmean(np.concatenate(correct), axis=0)
    return {"score": float(np.concatenate(losses).mean()), "chi1": float(chi1), "chi1+2": float(both)}


class SideChainTrainer(Run):
    """One training of a side-chain network in one folder.

    The data set has side chains; the network reads the states of the folding one, and takes over the rotamers and
    weights of `start` before the first step. BetafoldError without side chains, or with a damaged checkpoint.
    """

    config: SideChainTrainConfig
    model: SideChainNetwork

    def __init__(
        self,
        directory: Path,
        dataset: Dataset,
        folding: FoldingModel,
        config: SideChainTrainConfig,
        featurizer: Featurizer | None = None,
        resume: bool = False,
        start: SideChainNetwork | None = None,
    ) -> None:
        self.directory, self.config, self.featurizer = Path(directory), config, featurizer
        self.folding = folding if config.network.states else None
        sampling = SamplerConfig(
            tokens=config.tokens, peptide_share=config.peptide_share, disulfide_share=config.disulfide_share
        )
        most = PADDED_LENGTHS[-1]
        # the folding network reads no longer ones
        longest = most if config.network.states else config.longest
        buckets = (*PADDED_LENGTHS, *sorted(range(longest, most, -BUCKET)))
        self.sampler = WindowSampler(dataset, buckets, config.seed, sampling, longest)
        self.validation = [
            make_examples(self.folding, make_batch(windows, padded, featurizer), windows)
            for windows, _, padded in validation_windows(dataset, VALIDATION_BATCH)
        ]
        mx.random.seed(config.seed)
        self.model = SideChainNetwork(config.network)
        self.optimizer = optim.AdamW(config.learning_rate, weight_decay=config.weight_decay)
        self.optimizer.init(self.model.trainable_parameters())
        self.progress = self._restored(resume)
        if not self.progress.step and start is not None:
            self.model.update(start.parameters())
        elif not self.progress.step:
            self.model.rotamers.start_from(*fit_rotamers(*observed_side_chains(dataset)))
        self._start_average()

    def _loss(self, *arguments: Any) -> tuple[mx.array, dict[str, mx.array]]:
        losses, known = side_chain_losses(self.model, arguments[0])
        return ((losses * known).sum(axis=1) / mx.maximum(known.sum(axis=1), 1)).mean(), {}

    def _step(self, step_function: Callable[..., Any]) -> dict[str, Any]:
        step, config = self.progress.step, self.config
        windows, padded = self.sampler.batch(step)
        batch = make_batch(windows, padded, self.featurizer)
        rng = np.random.default_rng([config.seed, step, 1])
        spread = rng.uniform(0, config.noise, len(windows)) * (rng.random(len(windows)) < config.noisy)
        native = batch.targets.coordinates
        moved = native + mx.array(
            (spread[:, None, None, None] * rng.normal(size=native.shape)).astype(np.float32)
        )
        examples = make_examples(self.folding, batch, windows, moved)
        keys = mx.zeros((len(windows), 2), dtype=mx.uint32)  # nothing is drawn
        (loss, parts), gradients = in_microbatches(self.model, step_function, examples, keys, MICROBATCH)
        return self._update(loss, parts, gradients)

    def _validate(self) -> dict[str, float]:
        return side_chain_figures(self.model, self.validation)

    def _keep(self, figures: dict[str, float]) -> None:
        SIDE_CHAINS.save(self.directory / checkpoint.BEST, self.model, self.config.model_sha256)


def observed_side_chains(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return residue ids (N,) and chi angles (N, 4) of the ``train`` split."""
    if dataset.chi is None:
        raise BetafoldError(
            "the data set has no side chains: build it with --chi, or of files that have them"
        )
    sequence = "".join(record.sequence for record in dataset.of_split("train"))
    return residue_ids(sequence), dataset.chi[dataset.rows("train")]
