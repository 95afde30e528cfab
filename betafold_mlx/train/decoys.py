"""Decoys: candidates that the folding network makes of training structures, and how right each is.

The judge learns from them. They are made as `fold` makes candidates, but templates above an identity drawn for each
batch are hidden, the structure itself always: what the judge sees must not be better than what a new peptide gets.

A few batches are of shuffled sequences, compared with the structures of the real ones: for these no fold is right, and
the judge should learn to see that.

``DECOYS/decoys_00000.safetensors`` ...  one batch each: the arrays of `JudgeInputs`, and ``lddt`` (B, S, L), ``rmsd``
(B, S) in Angstrom, ``made`` (B, S) bool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.data.sampling import SamplerConfig
from betafold_mlx.data.shuffle import shuffled
from betafold_mlx.data.store import Dataset
from betafold_mlx.data.template_library import build_template_library
from betafold_mlx.data.windows import WindowSampler
from betafold_mlx.device import side_by_side
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import atomic_path, os_errors, sweep_temporary
from betafold_mlx.fold.ensemble import NOTHING, refine
from betafold_mlx.fold.judging import judge_inputs
from betafold_mlx.fold.pipeline import find_templates
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.fold.registry import CANDIDATES
from betafold_mlx.geometry.metrics import backbone_rmsd, lddt
from betafold_mlx.model.directory import load_arrays, save_arrays
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.model.judge import JudgeInputs
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.templates.library import TemplateLibrary
from betafold_mlx.train.batches import Batch, Featurizer, make_batch, peptides_of
from betafold_mlx.train.judge_settings import JudgeTrainConfig
from betafold_mlx.train.validate import validation_batches

PEPTIDES = 48
"""Training structures of a batch of decoys."""

HIDDEN_IDENTITY = (0.3, 0.8)
"""Templates above an identity drawn from this range are hidden."""

WITHOUT_TEMPLATES = 0.25
"""Share of the batches that see no templates at all."""

SHUFFLED_EVERY = 8
"""Every so many batches the sequences of one are shuffled."""


class Decoys(NamedTuple):
    """Candidates of B structures, S each, padded to L residues, with what they are worth."""

    inputs: JudgeInputs  # what the judge is shown
    lddt: mx.array  # (B, S, L), 0 to 1
    rmsd: mx.array  # (B, S) backbone RMSD, Angstrom
    made: mx.array  # (B, S) bool; False where a structure has fewer candidates than others of the batch


def fold_decoys(
    model: FoldingModel,
    batch: Batch,
    peptides: Sequence[Peptide],
    templates: TemplateLibrary | None,
    max_identity: float,
    seed: int,
) -> Decoys:
    """Fold structures as `fold` does, and compare each candidate with the truth."""
    answer = model(batch.inputs)
    hits = None
    if templates is not None:
        hits = find_templates(peptides, templates, max_identity)
    ensemble = refine(answer, batch.inputs, seed, range(CANDIDATES), templates=hits, traced=True)
    shape = ensemble.coordinates.shape
    mask = mx.broadcast_to(batch.inputs.mask[:, None], shape[:3])
    truth = mx.broadcast_to(batch.targets.coordinates[:, None, :, :4], (*shape[:3], 4, 3))
    found = Decoys(
        judge_inputs(answer, batch.inputs, ensemble, hits),
        lddt(ensemble.coordinates[..., 1, :], truth[..., 1, :], mask),
        backbone_rmsd(ensemble.coordinates, truth, mask),
        mx.array(ensemble.source != NOTHING),
    )
    mx.eval(found)
    return found


def make_decoys(
    directory: Path,
    model: FoldingModel,
    sampler: WindowSampler,
    templates: TemplateLibrary | None,
    numbers: range,
    featurizer: Featurizer | None = None,
    told: Callable[[], None] = lambda: None,
) -> list[Path]:
    """Make batches of decoys, each from its number alone, and return their files; those that are there are kept.

    The sampler draws the training structures, `templates` are of the training split. `told` is called for each batch
    that is there.
    """

    def make(number: int) -> Decoys:
        rng = np.random.default_rng([sampler.seed, number, 1])
        windows, padded = sampler.batch(number)
        windows = windows[:PEPTIDES]
        if number % SHUFFLED_EVERY == SHUFFLED_EVERY - 1:
            windows = [replace(window, peptide=shuffled(window.peptide, rng)) for window in windows]
        library = None if rng.random() < WITHOUT_TEMPLATES else templates
        batch = make_batch(windows, padded, featurizer)
        peptides, identity = [window.peptide for window in windows], rng.uniform(*HIDDEN_IDENTITY)
        return fold_decoys(model, batch, peptides, library, identity, number)

    mx.eval(model.parameters())  # threads read them
    return _files_of(directory, numbers, make, told)


def validation_decoys(
    directory: Path,
    model: FoldingModel,
    batches: list[tuple[Batch, np.ndarray]],
    templates: TemplateLibrary | None,
    told: Callable[[], None] = lambda: None,
) -> list[Path]:
    """Make decoys of validation batches (`betafold_mlx.train.validate`), with all templates of the library."""

    def make(number: int) -> Decoys:
        batch, _ = batches[number]
        return fold_decoys(model, batch, peptides_of(batch.inputs), templates, 1.0, 0)

    mx.eval(model.parameters())  # threads read them
    return _files_of(directory, range(len(batches)), make, told)


def _files_of(
    directory: Path, numbers: range, make: Callable[[int], Decoys], told: Callable[[], None]
) -> list[Path]:
    """Return the files of batches of decoys, having made those that are not there, several at a time."""
    with os_errors(f"cannot write {directory}"):
        directory.mkdir(parents=True, exist_ok=True)
    sweep_temporary(directory)

    def file_of(number: int) -> Path:
        path = directory / f"decoys_{number:05d}.safetensors"
        if not path.exists():
            save_decoys(path, make(number))
        told()
        return path

    return side_by_side(file_of, numbers)


def all_decoys(
    directory: Path,
    predictor: Predictor,
    dataset: Dataset,
    config: JudgeTrainConfig,
    told: Callable[[], None] = lambda: None,
) -> tuple[list[Path], list[Path]]:
    """Make what a judge is trained and validated on, in ``DIRECTORY/decoys``; return the files of both."""
    model, featurizer = predictor.loaded.model, predictor.embedder
    sampling = SamplerConfig(
        tokens=PEPTIDES * max(PADDED_LENGTHS),
        peptide_share=config.peptide_share,
        disulfide_share=config.disulfide_share,
    )
    sampler = WindowSampler(dataset, PADDED_LENGTHS, config.seed, sampling)
    try:
        templates = build_template_library(dataset)
    except BetafoldError:  # nothing that could be a template
        templates = None
    folder = directory / "decoys"
    validation = validation_decoys(
        folder / "validation", model, validation_batches(dataset, featurizer), templates, told
    )
    return (
        make_decoys(folder / "train", model, sampler, templates, range(config.batches), featurizer, told),
        validation,
    )


def save_decoys(path: Path, decoys: Decoys) -> None:
    """Write a batch of decoys, whole or not at all; numbers in half precision."""
    arrays = {**decoys.inputs._asdict(), "lddt": decoys.lddt, "rmsd": decoys.rmsd, "made": decoys.made}
    half = {
        name: array.astype(mx.float16) if array.dtype == mx.float32 else array
        for name, array in arrays.items()
    }
    with atomic_path(path) as temporary:
        save_arrays(temporary, half)


def load_decoys(path: Path) -> Decoys:
    """Read a batch of decoys; BetafoldError where it is missing or damaged."""
    arrays = {
        name: array.astype(mx.float32) if array.dtype == mx.float16 else array
        for name, array in load_arrays(path).items()
    }
    values = [arrays.pop(name) for name in ("lddt", "rmsd", "made")]
    return Decoys(JudgeInputs(**arrays), *values)
