"""Generate backbones: draw traces from the model, fit backbones to them, and check each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.generate.fit import CA, Fit, fit_traces
from betafold_mlx.generate.generator_config import MAX_LENGTH, MAX_SCALES, MIN_LENGTH, SamplingConfig
from betafold_mlx.generate.network import Generator
from betafold_mlx.generate.prompt import OPEN, CoarseShape, MotifPrompt, check_motif, check_points
from betafold_mlx.generate.sampler import SampleSpec, sample_traces
from betafold_mlx.generate.scales import resampling
from betafold_mlx.generate.validity import radius_of_gyration, trace_validity
from betafold_mlx.geometry.spread import measure_apart
from betafold_mlx.structure.secondary import assign_secondary_structures

CHUNK = 128  # samples between two reports of progress
MAX_SAMPLES = 100_000
MAX_MOTIF_RMSD = 1.0  # Angstrom, N, CA, C: beyond it a motif is not kept


@dataclass(frozen=True)
class BackboneRequest:
    """Which backbones to generate; BetafoldError for what is out of range or does not fit the shortest chain."""

    lengths: tuple[int, int]  # shortest and longest chain, residues; each sample draws its own between them
    count: int  # samples
    seed: int  # a sample depends on it, its own number and the rest of the request, not on `count`
    sampling: SamplingConfig
    residue: str = "ALA"  # placeholder, ``ALA`` or ``GLY``
    shape: CoarseShape | None = None  # to follow
    motif: MotifPrompt | None = None  # to hold
    secondary: str | None = None  # requested, a letter a residue: H, E, or ``-`` where nothing is
    cyclic: bool = False  # rings, closed from the last residue to the first

    def __post_init__(self) -> None:
        low, high = self.lengths
        if low > high:
            raise BetafoldError(f"length {low}-{high}: the lower number first")
        if not MIN_LENGTH <= low <= high <= MAX_LENGTH:
            length = f"{low}" if low == high else f"{low}-{high}"
            raise BetafoldError(f"length {length}: chains have {MIN_LENGTH} to {MAX_LENGTH} residues")
        if not 1 <= self.count <= MAX_SAMPLES:
            raise BetafoldError(f"{self.count} samples: 1 to {MAX_SAMPLES:,} can be made")
        if self.shape is not None:
            check_points(self.shape, low, self.cyclic)
        if self.motif is None:
            return
        if self.cyclic:
            raise BetafoldError("a motif is held in an open chain, not in a ring")
        check_motif(self.motif, low)
        start, end = self.motif.start, self.motif.start + len(self.motif)
        if set((self.secondary or "")[start:end]) - {OPEN}:
            raise BetafoldError(
                f"helix and strand cannot be requested inside the motif, residues {start + 1} to {end}"
            )

    def length_of(self, number: int) -> int:
        """Return the length of a sample, by its 0-based number."""
        low, high = self.lengths
        # The third word keeps this stream apart from the noise of the scales, 0 to MAX_SCALES - 1.
        return int(np.random.default_rng([self.seed, number, MAX_SCALES]).integers(low, high + 1))

    def spec(self, number: int) -> SampleSpec:
        """Return what to sample for one sample, by its 0-based number."""
        length = self.length_of(number)
        return SampleSpec(
            length,
            number,
            self.cyclic,
            None if self.shape is None else self.shape.points,
            None if self.motif is None else (self.motif.start, self.motif.trace),
            None if self.secondary is None else self.secondary.ljust(length, OPEN),
        )


@dataclass(frozen=True)
class GeneratedBackbone:
    """One sample; RMSDs in Angstrom, after superposition."""

    number: int  # 0-based
    trace: np.ndarray  # (L, 3) float32 Angstrom: the C-alphas that the model drew
    fit: Fit
    secondary_structure: str  # P-SEA assignment of the backbone: H, E, C
    problems: tuple[str, ...]  # why it must not be used; empty where all is well
    raw: dict[str, Any] | None = None  # `trace_validity` before the fit; None where the trace is not finite
    shape_rmsd: float | None = None  # C-alphas at the points of the shape to these
    motif_rmsd: float | None = None  # N, CA, C of the residues of the motif to the motif
    secondary_kept: float | None = None  # share of the residues that have the requested secondary structure

    def __len__(self) -> int:
        return len(self.trace)

    @property
    def id(self) -> str:
        """Name of the sample and its files: counted from 1."""
        return f"sample_{self.number + 1:05d}"

    def to_dict(self) -> dict[str, Any]:
        """Return all about the sample but its coordinates as plain JSON values."""
        document = {
            "id": self.id,
            "length": len(self),
            "status": "failed" if self.problems else "ok",
            "problems": list(self.problems),
            "fit_rmsd": _three_digits(self.fit.rmsd),
            "overlap": _three_digits(self.fit.overlap),
            "radius_of_gyration": _three_digits(radius_of_gyration(self.fit.coordinates[:, CA])),
            "secondary_structure": self.secondary_structure,
            "trace": self.raw,
        }
        kept = {name: getattr(self, name) for name in ("shape_rmsd", "motif_rmsd", "secondary_kept")}
        return document | {name: _three_digits(value) for name, value in kept.items() if value is not None}


def _three_digits(value: float) -> float | None:
    """Return a number for JSON, which has none for NaN."""
    return round(value, 3) if math.isfinite(value) else None


def check_model(generator: Generator, request: BackboneRequest) -> None:
    """Check, before a file is written, that a generator is not asked for a coarse shape that it cannot follow."""
    if request.shape is not None and generator.model.config.scales == 1:
        raise BetafoldError(f"{generator.name} has one scale alone, and follows no coarse shape")


def generate_backbones(generator: Generator, request: BackboneRequest) -> Iterator[list[GeneratedBackbone]]:
    """Yield the requested backbones in the order of their numbers, up to `CHUNK` at a time.

    A trace that is not finite has no backbone, and has failed.
    """
    for first in range(0, request.count, CHUNK):
        numbers = range(first, min(first + CHUNK, request.count))
        specs = [request.spec(number) for number in numbers]
        traces = sample_traces(generator.model, specs, request.seed, request.sampling)
        motif = request.motif
        known = None if motif is None else [known_torsions(motif, len(trace)) for trace in traces]
        fits = fit_traces(traces, request.residue, known, rings=request.cyclic)
        letters = secondary_structures(fits)
        yield [_checked(request, *sample) for sample in zip(numbers, traces, fits, letters, strict=True)]


def _checked(
    request: BackboneRequest, number: int, trace: np.ndarray, fit: Fit, structure: str
) -> GeneratedBackbone:
    """Compare a backbone with the request."""
    problems = list(fit.problems)
    shape = motif = secondary = None
    if request.shape is not None:
        shape = shape_rmsd(request.shape.points, fit.coordinates[:, CA], request.cyclic)
    if request.motif is not None:
        motif = motif_rmsd(request.motif, fit.coordinates)
        if motif > MAX_MOTIF_RMSD:
            problems.append(f"the motif is not kept: {motif:.2f} A (limit {MAX_MOTIF_RMSD:g})")
    if request.secondary is not None:
        secondary = secondary_kept(request.secondary, structure)
    raw = trace_validity(trace, request.cyclic) if np.isfinite(trace).all() else None
    return GeneratedBackbone(number, trace, fit, structure, tuple(problems), raw, shape, motif, secondary)


def secondary_structures(fits: Sequence[Fit]) -> list[str]:
    """Return the secondary structure of backbones, a letter a residue; all coil where there is none."""
    return assign_secondary_structures([fit.coordinates[:, CA].astype(np.float64) for fit in fits])


def shape_rmsd(points: np.ndarray, trace: np.ndarray, cyclic: bool = False) -> float:
    """Return the RMSD of a trace (L, 3), reduced to as many points as a shape (k, 3) has, to that shape."""
    return superposed_rmsd(resampling(len(trace), len(points), cyclic) @ trace.astype(np.float32), points)


def secondary_kept(wanted: str, structure: str) -> float:
    """Return the share of the residues with a requested secondary structure that have it.

    The first and the last residue of a chain do not count: P-SEA looks to either side, and has no letter for them.
    """
    inside = range(1, min(len(structure) - 1, len(wanted)))
    pairs = [(wanted[i], structure[i]) for i in inside if wanted[i] != OPEN]
    return sum(want == have for want, have in pairs) / max(len(pairs), 1)


def superposed_rmsd(points: np.ndarray, target: np.ndarray) -> float:
    """Return the RMSD of paired points (n, 3) after superposition, a proper rotation; NaN where one is not finite."""
    pair = np.stack([points, target])[:, :, None]
    return float(measure_apart(pair)[1, 0]) if np.isfinite(pair).all() else math.nan


def motif_rmsd(motif: MotifPrompt, coordinates: np.ndarray) -> float:
    """Return the RMSD of the residues of a motif in a backbone (L, >=3, 3), N, CA, C, to the motif, superposed."""
    inside = coordinates[motif.start : motif.start + len(motif), :3].reshape(-1, 3)
    return superposed_rmsd(inside, motif.coordinates[:, :3].reshape(-1, 3))


def known_torsions(motif: MotifPrompt, length: int) -> np.ndarray:
    """Return the torsions (L, 3) of a chain that holds a motif, NaN where the motif does not define them."""
    known = np.full((length, 3), np.nan)
    known[motif.start : motif.start + len(motif)] = motif.torsions
    return known
