"""Settings of a library run, and what identifies one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from betafold_mlx.fold.prediction import versions
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.fold.registry import CANDIDATES

BATCHES_A_PART = 4
"""Records that are sorted by length together, in batches: enough to fill most of these."""

PEPTIDES_TOGETHER = 128
"""That ``--batch-size auto`` allows: more are no faster on a CPU, fewer are slower."""

MODELS_TOGETHER = 512
"""Structures of a batch, all candidates counted, that ``--batch-size auto`` allows: bounds the memory."""


@dataclass(frozen=True)
class LibrarySettings:
    """How a library is folded and written; the first fields as in `Predictor.fold`."""

    samples: int = 1
    candidates: int = CANDIDATES
    seed: int = 0
    auto_disulfides: bool = False
    output: str = "files"  # one of `betafold_mlx.fold.output.OUTPUT_FORMATS`
    format: str = "cif"  # of structure files: ``cif``, ``pdb`` or ``both``
    batch_size: int = PEPTIDES_TOGETHER  # peptides folded together
    atoms: str = "all"  # one of `betafold_mlx.fold.output.ATOMS`
    relax: float | None = None  # the pH for which models are relaxed; for files only, None for no relaxation
    report: str | None = None  # the command line that each report shows; for files only, None for no reports

    @property
    def part(self) -> int:
        """Records that are read, folded and written together."""
        return BATCHES_A_PART * self.batch_size


def automatic_batch_size(candidates: int) -> int:
    """Return how many peptides to fold together, for so many candidates of each."""
    return max(1, min(PEPTIDES_TOGETHER, MODELS_TOGETHER // candidates))


def identity(predictor: Predictor, settings: LibrarySettings) -> dict[str, Any]:
    """Return all that decides what the output will be, but for the library: plain JSON values."""
    return {
        "output": settings.output,
        "format": settings.format,
        "atoms": settings.atoms,
        "relax": settings.relax,
        "report": settings.report is not None,
        "samples": settings.samples,
        "candidates": settings.candidates,
        "templates": None if predictor.templates is None else predictor.templates.fingerprint,
        "seed": settings.seed,
        "disulfides": "auto" if settings.auto_disulfides else "stated",
        "batch_size": settings.batch_size,
        "device": "gpu" if mx.default_device() == mx.gpu else "cpu",
        "model": predictor.loaded.name,
        "model_sha256": predictor.loaded.sha256,
        "embedder": predictor.describe_embedder(),
        "versions": versions(),
    }
