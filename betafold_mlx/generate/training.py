"""Training a generator: the steps of `betafold_mlx.train.loop.Run`, on traces and noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx

from betafold_mlx.data.store import EXPERIMENTAL, Dataset
from betafold_mlx.data.windows import SamplerConfig, WindowSampler
from betafold_mlx.errors import BetafoldError
from betafold_mlx.generate.batches import GeneratorBatch, draw_batch, validation_batches
from betafold_mlx.generate.directory import save_generator
from betafold_mlx.generate.flow import FlowConfig, flow_loss
from betafold_mlx.generate.network import BackboneGenerator
from betafold_mlx.generate.optimizer import make_optimizer
from betafold_mlx.generate.settings import GeneratorTrainConfig
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.train import checkpoint
from betafold_mlx.train.checkpoint import Progress
from betafold_mlx.train.microbatch import in_microbatches
from betafold_mlx.train.run import Run

PIECE = 32
"""Examples of a piece: see `betafold_mlx.train.microbatch.MICROBATCH`."""

VALIDATION_BATCH = 64

VALIDATION_FLOW = FlowConfig(noisy_context=False, scheduled_sampling=False, local_distances=False)
"""What validation measures, however a run was trained, so that runs compare: the loss under the true coarser scales."""


class GeneratorTrainer(Run):
    """One training run in one folder.

    Parameters
    ----------
    directory : Path
        The run folder.
    dataset : Dataset
        Data with ``train`` and ``validation`` splits.
    config : GeneratorTrainConfig
        Settings.
    dataset_sha256 : str
        Its fingerprint, which the trained model records.
    resume : bool
        Go on from the folder's last checkpoint.

    Raises
    ------
    BetafoldError
        For an empty split, predicted structures, or a damaged checkpoint.
    """

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
        if not config.flow.self_conditioning:  # sampling always tells: who never heard it must not listen
            before = self.model.decoder.before
            before.weight = mx.zeros_like(before.weight)
        self.optimizer = make_optimizer(config.learning_rate, config.block_learning_rate, config.weight_decay)
        self.optimizer.init(self.model.trainable_parameters())
        self.progress = (
            checkpoint.load_last(self.directory, self.model, self.optimizer) if resume else Progress()
        )
        self._synchronise()

    def _loss(self, *arguments: Any) -> tuple[mx.array, dict[str, mx.array]]:
        batch, keys = arguments
        return flow_loss(self.model, batch.traces, batch.layout, keys, self.config.flow)

    def _step(self, step_function: Callable[..., Any]) -> dict[str, Any]:
        batch = draw_batch(self.sampler, self.progress.step, self.config.network.scales)
        keys = self._keys(self.progress.step, batch)
        (loss, parts), gradients = in_microbatches(self.model, step_function, batch, keys, PIECE)
        return self._update(loss, parts, gradients)

    def _keys(self, number: int, batch: GeneratorBatch) -> mx.array:
        return mx.random.split(mx.random.key((self.config.seed << 32) + number), len(batch.traces[0]))

    def _validate(self) -> dict[str, float]:
        """Return the mean loss of the validation split, and of each scale, with the same noise at each evaluation."""
        totals: dict[str, float] = {}
        count = sum(len(batch.traces[0]) for batch in self.validation)
        for number, batch in enumerate(self.validation):
            keys = mx.random.split(mx.random.key(number), len(batch.traces[0]))
            loss, parts = in_microbatches(
                self.model,
                lambda some, own: flow_loss(self.model, some.traces, some.layout, own, VALIDATION_FLOW),
                batch,
                keys,
                PIECE,
            )
            for name, value in {"score": loss, **parts}.items():
                totals[name] = totals.get(name, 0.0) + value.item() * len(keys) / count
        return totals

    def _keep(self, figures: dict[str, float]) -> None:
        step = self.progress.step
        training = {
            "settings": self.config.to_dict(),
            "dataset_sha256": self.dataset_sha256,
            "step": step,
            "validation": figures,
        }
        card = generator_card(self.config, step, figures, self.dataset_name)
        # Half precision: half the size, and what is measured later is what is shipped.
        save_generator(self.directory / checkpoint.BEST, self.model, card, training, mx.float16)


def generator_card(config: GeneratorTrainConfig, step: int, figures: dict[str, float], dataset: str) -> str:
    """Return the text of the model card that a run writes beside its best weights.

    Parameters
    ----------
    config : GeneratorTrainConfig
        Settings of the run.
    step : int
        Steps done.
    figures : dict
        Validation figures at that step.
    dataset : str
        The data set in words.

    Returns
    -------
    str
        Markdown.
    """
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in figures.items())
    flow = config.flow
    habits = [
        name
        for name, on in (
            ("noisy context", flow.noisy_context),
            ("scheduled sampling", flow.scheduled_sampling),
            ("self-conditioning", flow.self_conditioning),
            ("a loss on distances along the chain", flow.local_distances),
            (
                "further draws of noise for the coarsest scale",
                flow.further_draws and config.network.scales > 1,
            ),
        )
        if on
    ]
    return f"""# A betafold-mlx generator of peptide backbones

Samples C-alpha traces coarse to fine: {config.network.describe()}.
Trained with {", ".join(habits) or "nothing but the flow"}.
Written by `betafold-mlx train-generator` at step {step} of {config.steps} (seed {config.seed}).
Trained on a data set of {dataset}.

What it makes are backbones without a sequence, like those of its training data in shape. That there is a sequence which
folds into one is not known.

Validation loss at that step, the mean squared error of the velocity in units of the noise of a scale (it picked this
checkpoint, so it flatters it):

| figure | value |
|---|---|
{rows}
"""
