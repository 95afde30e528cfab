"""Training a generator: Muon and AdamW on the flow loss, in the run folders of `betafold_mlx.train`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim

from betafold_mlx.data.sampling import SamplerConfig
from betafold_mlx.data.store import EXPERIMENTAL, Dataset
from betafold_mlx.data.windows import WindowSampler
from betafold_mlx.errors import BetafoldError
from betafold_mlx.generate.examples import GeneratorBatch, draw_batch, validation_batches
from betafold_mlx.generate.flow import flow_loss
from betafold_mlx.generate.network import BackboneGenerator, save_generator
from betafold_mlx.generate.settings import FlowConfig, GeneratorTrainConfig
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.train import checkpoint
from betafold_mlx.train.checkpoint import Counters
from betafold_mlx.train.microbatch import in_microbatches
from betafold_mlx.train.muon import BlockMuon
from betafold_mlx.train.run import Run

MICROBATCH = 32
"""Examples of a microbatch (`betafold_mlx.train.microbatch`)."""

VALIDATION_BATCH = 64

VALIDATION_FLOW = FlowConfig(noisy_context=False, scheduled_sampling=False, local_distances=False)
"""Validation measures the loss under the true coarser scales, however a run was trained, so that runs compare."""

BETAS = (0.9, 0.99)
"""AdamW's. The loss of a step is noisy: a long memory of its square makes large steps rare."""


def make_optimizer(config: GeneratorTrainConfig) -> optim.Optimizer:
    """Return `BlockMuon`, or AdamW for all weights where the learning rate of the blocks is 0."""
    rest = optim.AdamW(config.learning_rate, betas=list(BETAS), weight_decay=config.weight_decay)
    if not config.block_learning_rate:
        return rest
    return BlockMuon(rest, config.block_learning_rate, config.learning_rate)


class GeneratorTrainer(Run):
    """One training run in one folder; the parameters are those of `betafold_mlx.train.loop.Trainer`."""

    config: GeneratorTrainConfig
    model: BackboneGenerator

    def __init__(
        self,
        directory: Path,
        dataset: Dataset,
        config: GeneratorTrainConfig,
        dataset_sha256: str,
        resume: bool = False,
    ) -> None:
        if dataset.origin != EXPERIMENTAL:
            raise BetafoldError(
                "the data set is a distilled one: train a generator on one of experimental structures"
            )
        self.directory = Path(directory)
        self.config = config
        self.dataset_sha256 = dataset_sha256
        # Rings are always stated: nothing else tells the network of them.
        sampling = SamplerConfig(tokens=config.tokens, disulfide_share=0.0, unstated_ring=0.0)
        self.sampler = WindowSampler(dataset, PADDED_LENGTHS, config.seed, sampling)
        self.validation = validation_batches(dataset, config.network.scales, VALIDATION_BATCH)
        if not self.validation:
            raise BetafoldError(
                "the data set has no validation fragments or peptides: build it with more data"
            )
        self.dataset_name = f"{len(dataset.records)} records"
        mx.random.seed(config.seed)  # the initial weights
        self.model = BackboneGenerator(config.network)
        if (
            not config.flow.self_conditioning
        ):  # sampling passes estimates: an untrained layer must ignore them
            before = self.model.decoder.before
            before.weight = mx.zeros_like(before.weight)
        self.optimizer = make_optimizer(config)
        self.optimizer.init(self.model.trainable_parameters())
        self.progress = (
            checkpoint.load_last(self.directory, self.model, self.optimizer) if resume else Counters()
        )
        mx.eval(self.model.parameters(), self.optimizer.state)

    def _loss(self, *arguments: Any) -> tuple[mx.array, dict[str, mx.array]]:
        batch, keys = arguments
        return flow_loss(self.model, batch.traces, batch.layout, keys, self.config.flow)

    def _step(self, step_function: Callable[..., Any]) -> dict[str, Any]:
        step = self.progress.step
        batch = draw_batch(self.sampler, step, self.config.network.scales)
        keys = mx.random.split(mx.random.key((self.config.seed << 32) + step), len(batch.traces[0]))
        (loss, parts), gradients = in_microbatches(self.model, step_function, batch, keys, MICROBATCH)
        return self._update(loss, parts, gradients)

    def _validate(self) -> dict[str, float]:
        """Return the mean loss of the validation split, and of each scale, with the same noise at each evaluation."""

        def loss_of(batch: GeneratorBatch, keys: mx.array) -> tuple[mx.array, dict[str, mx.array]]:
            return flow_loss(self.model, batch.traces, batch.layout, keys, VALIDATION_FLOW)

        totals: dict[str, float] = {}
        count = sum(len(batch.traces[0]) for batch in self.validation)
        for number, batch in enumerate(self.validation):
            keys = mx.random.split(mx.random.key(number), len(batch.traces[0]))
            loss, parts = in_microbatches(self.model, loss_of, batch, keys, MICROBATCH)
            for name, value in {"score": loss, **parts}.items():
                totals[name] = totals.get(name, 0.0) + value.item() * len(keys) / count
        return totals

    def _keep(self, figures: dict[str, float]) -> None:
        training = {
            "settings": self.config.to_dict(),
            "dataset_sha256": self.dataset_sha256,
            "step": self.progress.step,
            "validation": figures,
        }
        card = generator_card(self.config, self.progress.step, figures, self.dataset_name)
        save_generator(self.directory / checkpoint.BEST, self.model, card, training)


_PARTS = {
    "noisy_context": "noisy context",
    "scheduled_sampling": "scheduled sampling",
    "self_conditioning": "self-conditioning",
    "local_distances": "a loss on distances along the chain",
    "further_draws": "further draws of noise for the coarsest scale",
}


def generator_card(config: GeneratorTrainConfig, step: int, figures: dict[str, float], dataset: str) -> str:
    """Return the model card of a run's best weights, with the validation figures of their step, as Markdown."""
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in figures.items())
    parts = [words for name, words in _PARTS.items() if getattr(config.flow, name)]
    if config.network.scales == 1 and config.flow.further_draws:
        parts.remove(_PARTS["further_draws"])  # of one scale there are none
    return f"""# A betafold-mlx generator of peptide backbones

Samples C-alpha traces coarse to fine: {config.network.describe()}.
Trained with {", ".join(parts) or "nothing but the flow"}.
Written by `betafold-mlx train-generator` at step {step} of {config.steps} (seed {config.seed}).
Trained on a data set of {dataset}.

It makes backbones without a sequence, with shapes like those of its training data. Whether any sequence folds into such
a shape is not known.

Validation loss at that step, the mean squared error of the velocity in units of the noise of a scale (it picked this
checkpoint, so it is optimistic):

| figure | value |
|---|---|
{rows}
"""
