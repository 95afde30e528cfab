"""The training loop.

A step is a function of (seed, step number, weights, optimiser state): the batch and the dropout keys are derived
from the step number, not from generators that live through the run. So a run that was stopped and resumed ends in the
same bytes as one that was not.

Several ranks share the examples of a step. Each example has a dropout key of its own, and its gradient counts the same
wherever it is computed: so many ranks take the step that one takes, but for the rounding of the sum.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from betafold_mlx.data.store import Dataset
from betafold_mlx.data.template_library import build_template_library
from betafold_mlx.data.windows import WindowSampler
from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.directory import LoadedModel, save_model
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.model.ramachandran import fit_states
from betafold_mlx.train import checkpoint
from betafold_mlx.train.batches import Batch, Featurizer, make_batch, observed_torsions
from betafold_mlx.train.calibrate import calibrate_directory
from betafold_mlx.train.card import training_card
from betafold_mlx.train.checkpoint import Counters
from betafold_mlx.train.losses import total_loss
from betafold_mlx.train.microbatch import MICROBATCH, in_microbatches
from betafold_mlx.train.mixing import describe_mix, mixed
from betafold_mlx.train.muon import BlockMuon
from betafold_mlx.train.ranks import Ranks
from betafold_mlx.train.run import Run
from betafold_mlx.train.training_config import TrainConfig
from betafold_mlx.train.validate import validate, validation_batches
from betafold_mlx.train.warm_start import start_from


class Trainer(Run):
    """One training run in one folder.

    `featurizer` makes the features of a frozen embedder; it is needed when ``config.network.embedder`` is one. The
    `ranks` share the work (`betafold_mlx.train.ranks.join`); only rank 0 touches the run folder. `distilled` data are
    mixed in as ``config.mix`` says, and never validated on. A new run starts from the weights of `start`.

    BetafoldError for an empty split, a damaged checkpoint, an embedder without features, ranks with different data or
    settings, or more ranks than a batch has examples.
    """

    config: TrainConfig
    model: FoldingModel

    def __init__(
        self,
        directory: Path,
        dataset: Dataset,
        config: TrainConfig,
        dataset_sha256: str,
        featurizer: Featurizer | None = None,
        resume: bool = False,
        ranks: Ranks | None = None,
        distilled: Dataset | None = None,
        start: LoadedModel | None = None,
    ) -> None:
        if (config.network.embedder.kind == "residue") != (featurizer is None):
            raise BetafoldError(
                f"embedder {config.network.embedder.kind!r} and its features do not go together"
            )
        ranks = ranks or Ranks()
        ranks.check_same("data set", dataset_sha256)
        ranks.check_same("setting", config.to_dict())
        if config.sampler.tokens // max(PADDED_LENGTHS) < ranks.size > 1:
            raise BetafoldError(
                f"a batch of {config.sampler.tokens} residues is too small for {ranks.size} ranks: "
                f"start fewer, or give --tokens {ranks.size * max(PADDED_LENGTHS)} or more"
            )
        self.ranks = ranks
        self.directory = Path(directory)
        self.config = config
        self.dataset_sha256 = dataset_sha256
        self.featurizer = featurizer
        self.sampler = WindowSampler(dataset, PADDED_LENGTHS, config.seed, config.sampler)
        self.batches = mixed(self.sampler, dataset_sha256, distilled, config.mix)
        self.validation = validation_batches(dataset, featurizer)
        self.dataset_name = f"{len(dataset.records)} records" + describe_mix(distilled, config.mix)
        mx.random.seed(config.seed)  # the initial weights
        self.model = FoldingModel(config.network)
        rest = optim.AdamW(config.learning_rate, weight_decay=config.weight_decay)
        rate = config.block_learning_rate
        self.optimizer = BlockMuon(rest, rate, config.learning_rate) if rate else rest
        self.optimizer.init(self.model.trainable_parameters())
        started = dataclasses.asdict(self._start(resume, start)) if ranks.main else None
        self.progress = Counters(**ranks.value_from_main(started))
        self._start_average()
        if ranks.size > 1:
            weights = ranks.from_main(dict(tree_flatten(self.model.parameters())))
            self.model.update(tree_unflatten(list(weights.items())))
            if self.average:
                self.average = ranks.from_main(self.average)
            state = ranks.from_main(dict(tree_flatten(self.optimizer.state)))
            self.optimizer.state = tree_unflatten(list(state.items()))
            mx.eval(self.model.parameters(), self.optimizer.state, self.average)

    def _start(self, resume: bool, start: LoadedModel | None) -> Counters:
        """Set weights and optimiser to what the run starts or goes on with; return how far it is."""
        progress = self._restored(resume)
        if not progress.step and start is not None:
            start_from(self.model, start)
        elif not progress.step:
            self.model.ramachandran_head.start_from(*fit_states(observed_torsions(self.sampler)))
        return progress

    def _loss(
        self, batch: Batch, keys: mx.array, recycles: int | None = None
    ) -> tuple[mx.array, dict[str, mx.array]]:
        folded = self.model(batch.inputs, keys, recycles=recycles)
        return total_loss(folded, batch.targets, batch.inputs.mask, self.config.loss)

    def _step(self, step_function: Callable[..., Any]) -> dict[str, Any]:
        step = self.progress.step
        windows, padded = self.batches.batch(step)
        keys = mx.random.split(mx.random.key((self.config.seed << 32) + step), len(windows))
        mine = self.ranks.share()
        batch = make_batch(windows[mine], padded, self.featurizer)
        network = self.config.network
        # As many passes of a pair trunk for all examples of a step, on all ranks.
        recycles = int(np.random.default_rng([self.config.seed, step]).integers(network.recycles + 1))
        (loss, parts), gradients = in_microbatches(
            self.model,
            lambda some, own: step_function(some, own, recycles),
            batch,
            keys[mine],
            MICROBATCH[network.trunk],
        )
        if self.ranks.size > 1:
            share = len(windows[mine]) / len(windows)
            (loss, parts), gradients = self.ranks.average(((loss, parts), gradients), share)
        return self._update(loss, parts, gradients)

    def _validate(self) -> dict[str, float]:
        return validate(self.model, self.validation, self.ranks)

    def _keep(self, figures: dict[str, float]) -> None:
        card = training_card(self.config, self.progress.step, figures, self.dataset_name)
        # Half precision: half the size, and what is scored later is what is shipped.
        save_model(self.directory / checkpoint.BEST, self.model, card, self._record(figures), mx.float16)

    def _complete(self) -> None:
        if self.config.calibrate:
            try:
                templates = build_template_library(self.sampler.dataset)
            except BetafoldError:  # nothing that could be a template
                templates = None
            calibrate_directory(self.directory / checkpoint.BEST, self.validation, templates)
