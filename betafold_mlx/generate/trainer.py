"""Training a generator on C-alpha traces: the flow loss, Muon and AdamW, in the run folders of `betafold_mlx.train`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np

from betafold_mlx.data.sampling import SamplerConfig
from betafold_mlx.data.store import EXPERIMENTAL, Dataset
from betafold_mlx.data.windows import Window, WindowSampler
from betafold_mlx.errors import BetafoldError
from betafold_mlx.generate.chain_layout import Layout, make_layout
from betafold_mlx.generate.flow import flow_loss
from betafold_mlx.generate.generator_config import MIN_LENGTH, FlowConfig, GeneratorTrainConfig
from betafold_mlx.generate.network import BackboneGenerator, save_generator
from betafold_mlx.generate.scales import canonical_axes, resampling, scale_sizes
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.peptide.sequence import TRAINED_LENGTHS
from betafold_mlx.structure.secondary import assign_secondary_structures
from betafold_mlx.train import checkpoint
from betafold_mlx.train.microbatch import in_microbatches
from betafold_mlx.train.muon import BlockMuon
from betafold_mlx.train.run import Run
from betafold_mlx.train.validate import validation_windows

MICROBATCH = 32  # examples of a microbatch (`betafold_mlx.train.microbatch`)
VALIDATION_BATCH = 64
VALIDATION_FLOW = FlowConfig(noisy_context=False, scheduled_sampling=False, local_distances=False)
"""Validation measures the loss under the true coarser scales, however a run was trained, so that runs compare."""
BETAS = (0.9, 0.99)
"""AdamW's. The loss of a step is noisy: a long memory of its square makes large steps rare."""
UNSTATED = 0.5
"""Share of the examples without stated secondary structure; in the others each stretch is left out with this
probability."""


class GeneratorBatch(NamedTuple):
    """Traces of B examples, and where their points stand.

    Traces are in the standard orientation (`betafold_mlx.generate.scales.canonical_axes`) and zero-centred.
    """

    traces: tuple[mx.array, ...]  # (B, S_k, 3) C-alphas of each scale, Angstrom; zero at padding
    layout: Layout


def draw_batch(sampler: WindowSampler, step: int, scales: int) -> GeneratorBatch:
    """Return the examples of a training step, a function of the seed of the sampler and the step."""
    windows, padded = sampler.batch(step)
    rng = np.random.default_rng([sampler.seed, step, 1])
    traces = [_shortened(window, padded, rng) for window in windows]
    cyclic = [
        window.peptide.cyclic and len(trace) == len(window.peptide)
        for window, trace in zip(windows, traces, strict=True)
    ]
    stated = [_stated(letters, rng) for letters in assign_secondary_structures(traces)]
    return collate_traces(traces, cyclic, padded, scales, stated)


def validation_traces(dataset: Dataset, scales: int, size: int) -> list[GeneratorBatch]:
    """Return the traces of `validation_windows`."""
    return [
        collate_traces(
            [window.coordinates[:, 1].astype(np.float64) for window in windows],
            [window.peptide.cyclic for window in windows],
            padded,
            scales,
        )
        for windows, _, padded in validation_windows(dataset, size)
    ]


def collate_traces(
    traces: Sequence[np.ndarray],
    cyclic: Sequence[bool],
    padded: int,
    scales: int,
    secondary: Sequence[str | None] | None = None,
) -> GeneratorBatch:
    """Pad traces (L, 3) into one batch, at all scales, in the standard orientation."""
    arrays = [np.zeros((len(traces), width, 3), np.float32) for width in scale_sizes(padded, scales=scales)]
    for row, (trace, ring) in enumerate(zip(traces, cyclic, strict=True)):
        length, trace = len(trace), trace @ canonical_axes(trace, ring)
        for array, size in zip(arrays, scale_sizes(length, scales=scales), strict=True):
            array[row, :size] = resampling(length, size, ring) @ trace
    layout = make_layout([len(trace) for trace in traces], cyclic, padded, scales, secondary)
    return GeneratorBatch(tuple(mx.array(array) for array in arrays), layout)


def _shortened(window: Window, padded: int, rng: np.random.Generator) -> np.ndarray:
    """Return the C-alpha trace of a window; some of the shortest are cut to lengths that no window has."""
    trace = window.coordinates[:, 1].astype(np.float64)
    shorter, lengths = TRAINED_LENGTHS[0] - MIN_LENGTH, padded - MIN_LENGTH + 1
    if padded == PADDED_LENGTHS[0] and rng.random() < shorter / lengths:
        length = int(rng.integers(MIN_LENGTH, TRAINED_LENGTHS[0]))
        start = int(rng.integers(0, len(trace) - length + 1))
        trace = trace[start : start + length]
    return trace - trace.mean(axis=0)


def _stated(letters: str, rng: np.random.Generator) -> str | None:
    """Return the part of a secondary structure that is stated, with ``-`` for the rest."""
    if rng.random() < UNSTATED:
        return None
    runs = ((letter, len(list(run))) for letter, run in itertools.groupby(letters))
    return "".join(size * (letter if rng.random() >= UNSTATED else "-") for letter, size in runs)


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
        self.validation = validation_traces(dataset, config.network.scales, VALIDATION_BATCH)
        self.dataset_name = f"{len(dataset.records)} records"
        mx.random.seed(config.seed)  # the initial weights
        self.model = BackboneGenerator(config.network)
        if not config.flow.self_conditioning:  # an untrained layer must ignore the estimates of sampling
            before = self.model.decoder.before
            before.weight = mx.zeros_like(before.weight)
        self.optimizer = make_optimizer(config)
        self.optimizer.init(self.model.trainable_parameters())
        self.progress = self._restored(resume)
        self._start_average()

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
        card = generator_card(self.config, self.progress.step, figures, self.dataset_name)
        save_generator(self.directory / checkpoint.BEST, self.model, card, self._record(figures))


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
