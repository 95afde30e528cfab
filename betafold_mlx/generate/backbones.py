"""Generate backbones: traces from the model, backbones from the traces, and what is to be said of each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.generate.fit import CA, Fit, fit_traces
from betafold_mlx.generate.prompt import (
    OPEN,
    CoarseShape,
    MotifPrompt,
    check_motif,
    check_points,
)
from betafold_mlx.generate.requests import Motif
from betafold_mlx.generate.sampler import SamplingConfig, sample_traces
from betafold_mlx.generate.scales import LONGEST, MOST_SCALES, SHORTEST, resampled
from betafold_mlx.generate.validity import MOST_MOTIF_RMSD, radius_of_gyration, trace_validity
from betafold_mlx.geometry.spread import rotations_onto
from betafold_mlx.structure.secondary import assign_secondary_structures

if TYPE_CHECKING:
    from betafold_mlx.generate.directory import Generator

TOGETHER = 128
"""Samples that are drawn together."""

MOST_SAMPLES = 100_000


@dataclass(frozen=True)
class Request:
    """What is to be generated.

    Attributes
    ----------
    lengths : (int, int)
        Shortest and longest chain, residues; each sample draws its own between them.
    count : int
        Number of samples.
    seed : int
        Random seed. A sample depends on the seed, its own number and the rest of the request, not on `count`.
    sampling : SamplingConfig
        How the model is sampled.
    residue : str
        ``ALA`` or ``GLY``: the placeholder.
    shape : CoarseShape or None
        To follow.
    motif : MotifPrompt or None
        To hold.
    secondary : str or None
        A letter a residue: H, E, or ``-`` where nothing is asked for.
    cyclic : bool
        Rings, closed from the last residue to the first.

    Raises
    ------
    BetafoldError
        For lengths, or numbers of samples, that are out of range, and prompts that do not fit the shortest chain.
    """

    lengths: tuple[int, int]
    count: int
    seed: int
    sampling: SamplingConfig
    residue: str = "ALA"
    shape: CoarseShape | None = None
    motif: MotifPrompt | None = None
    secondary: str | None = None
    cyclic: bool = False

    def __post_init__(self) -> None:
        low, high = self.lengths
        if low > high:
            raise BetafoldError(f"length {low}-{high}: the lower number first")
        if not SHORTEST <= low <= high <= LONGEST:
            length = f"{low}" if low == high else f"{low}-{high}"
            raise BetafoldError(f"length {length}: chains have {SHORTEST} to {LONGEST} residues")
        if not 1 <= self.count <= MOST_SAMPLES:
            raise BetafoldError(f"{self.count} samples: 1 to {MOST_SAMPLES:,} can be made")
        if self.cyclic and self.motif is not None:
            raise BetafoldError("a motif is held in an open chain, not in a ring")
        if self.shape is not None:
            check_points(self.shape, low, self.cyclic)
        if self.motif is not None:
            check_motif(self.motif, low)
        if self.secondary is not None and self.motif is not None:
            start, end = self.motif.start, self.motif.start + len(self.motif)
            if set(self.secondary[start:end]) - {OPEN}:
                raise BetafoldError(
                    f"helix and strand are asked for inside the motif, residues {start + 1} to {end}: it has its own"
                )

    def length_of(self, number: int) -> int:
        """Return the length of a sample, by its 0-based number."""
        low, high = self.lengths
        # A word behind those that the sampler's noise of a scale begins with: another stream than its.
        return int(np.random.default_rng([self.seed, number, MOST_SCALES]).integers(low, high + 1))


@dataclass(frozen=True)
class GeneratedBackbone:
    """One sample.

    Attributes
    ----------
    number : int
        0-based.
    trace : numpy.ndarray
        (L, 3) float32 Angstrom: the C-alphas that the model drew.
    fit : Fit
        The backbone.
    secondary_structure : str
        Of the backbone, by P-SEA: H, E, C.
    problems : tuple of str
        Why it must not be used; empty where all is well.
    raw : dict or None
        What is to be said of the trace before the fit (`betafold_mlx.generate.validity.trace_validity`); None where it
        is not finite.
    shape_rmsd : float or None
        C-alphas at the points of the shape to these, superposed, Angstrom; None where no shape was asked for.
    motif_rmsd : float or None
        N, CA, C of the motif's residues to the motif, superposed, Angstrom.
    secondary_kept : float or None
        Share of the residues with the secondary structure that was asked for.
    """

    number: int
    trace: np.ndarray
    fit: Fit
    secondary_structure: str
    problems: tuple[str, ...]
    raw: dict[str, Any] | None = None
    shape_rmsd: float | None = None
    motif_rmsd: float | None = None
    secondary_kept: float | None = None

    def __len__(self) -> int:
        return len(self.trace)

    @property
    def id(self) -> str:
        """Name of the sample and its files: counted from 1."""
        return f"sample_{self.number + 1:05d}"

    def to_dict(self) -> dict[str, Any]:
        """Return what is known of the sample as plain JSON values, without coordinates."""
        document: dict[str, Any] = {
            "id": self.id,
            "length": len(self),
            "status": "failed" if self.problems else "ok",
            "problems": list(self.problems),
            "fit_rmsd": _rounded(self.fit.rmsd),
            "overlap": _rounded(self.fit.overlap),
            "radius_of_gyration": _rounded(radius_of_gyration(self.fit.coordinates[:, CA])),
            "secondary_structure": self.secondary_structure,
            "trace": self.raw,
        }
        for name in ("shape_rmsd", "motif_rmsd", "secondary_kept"):
            value = getattr(self, name)
            if value is not None:
                document[name] = _rounded(value)
        return document


def _rounded(value: float) -> float | None:
    """Return a number for JSON, which has none for NaN."""
    return round(value, 3) if math.isfinite(value) else None


def generate_backbones(generator: Generator, request: Request) -> Iterator[list[GeneratedBackbone]]:
    """Generate backbones, some at a time.

    Parameters
    ----------
    generator : Generator
        The model.
    request : Request
        What is wanted.

    Yields
    ------
    list of GeneratedBackbone
        In the order of their numbers.
    """
    for first in range(0, request.count, TOGETHER):
        numbers = list(range(first, min(first + TOGETHER, request.count)))
        yield finish_traces(draw_traces(generator, request, numbers), numbers, request)


def check_model(generator: Generator, request: Request) -> None:
    """Check that a generator can do what is asked, before a file is written.

    Raises
    ------
    BetafoldError
        For a coarse shape asked of a generator of one scale.
    """
    if request.shape is not None and generator.config.scales == 1:
        raise BetafoldError(f"{generator.name} has one scale alone, and follows no coarse shape")


def draw_traces(generator: Generator, request: Request, numbers: Sequence[int]) -> list[np.ndarray]:
    """Draw the traces (L, 3) of some samples, by their 0-based numbers, from the model."""
    lengths = [request.length_of(number) for number in numbers]
    shape, motif, wanted = request.shape, request.motif, request.secondary
    piece = None if motif is None else Motif(motif.start, motif.trace)
    return sample_traces(
        generator.model,
        lengths,
        request.seed,
        list(numbers),
        request.sampling,
        coarse=None if shape is None else [shape.points] * len(lengths),
        motifs=None if piece is None else [piece] * len(lengths),
        cyclic=[request.cyclic] * len(lengths),
        secondary=None if wanted is None else [wanted.ljust(length, OPEN) for length in lengths],
    )


def finish_traces(
    traces: Sequence[np.ndarray], numbers: Sequence[int], request: Request
) -> list[GeneratedBackbone]:
    """Fit backbones to drawn traces, and judge them.

    A trace that is not finite has no backbone, and is failed.
    """
    known = None if request.motif is None else [known_torsions(request.motif, len(trace)) for trace in traces]
    fits = fit_traces(traces, request.residue, known, rings=request.cyclic)
    letters = secondary_structures(fits)
    made = []
    for number, trace, fit, structure in zip(numbers, traces, fits, letters, strict=True):
        problems = list(fit.problems)
        kept = None if request.motif is None else motif_rmsd(request.motif, fit.coordinates)
        if kept is not None and kept > MOST_MOTIF_RMSD:
            problems.append(f"the motif is not kept: {kept:.2f} A (limit {MOST_MOTIF_RMSD:g})")
        made.append(
            GeneratedBackbone(
                number,
                trace,
                fit,
                structure,
                tuple(problems),
                trace_validity(trace, request.cyclic) if np.isfinite(trace).all() else None,
                None
                if request.shape is None
                else shape_rmsd(request.shape.points, fit.coordinates[:, CA], request.cyclic),
                kept,
                None if request.secondary is None else secondary_kept(request.secondary, structure),
            )
        )
    return made


def secondary_structures(fits: Sequence[Fit]) -> list[str]:
    """Return the secondary structure of backbones, a letter a residue; all coil where there is none."""
    return assign_secondary_structures([fit.coordinates[:, CA].astype(np.float64) for fit in fits])


def shape_rmsd(points: np.ndarray, trace: np.ndarray, cyclic: bool = False) -> float:
    """Return the RMSD of a trace (L, 3), reduced to as many points as a shape (k, 3) has, to that shape."""
    reduced = np.array(resampled(mx.array(trace.astype(np.float32)), len(points), cyclic))
    return superposed_rmsd(reduced, points)


def secondary_kept(asked: str, structure: str) -> float:
    """Return the share of the residues that something is asked of whose secondary structure is that.

    The first and the last residue of a chain do not count: P-SEA looks to either side, and has no letter for them.
    """
    inside = range(1, len(structure) - 1)
    pairs = [(asked[i], structure[i]) for i in inside if i < len(asked) and asked[i] != OPEN]
    return sum(want == have for want, have in pairs) / max(len(pairs), 1)


def superposed_rmsd(points: np.ndarray, target: np.ndarray) -> float:
    """Return the RMSD of paired points (n, 3) after superposition, a proper rotation; NaN where one is not finite."""
    if not (np.isfinite(points).all() and np.isfinite(target).all()):
        return float("nan")
    a, b = (x.astype(np.float64) - x.astype(np.float64).mean(axis=0) for x in (points, target))
    turned = a[None] @ rotations_onto(a[None], b)
    return float(np.sqrt(np.square(turned[0] - b).sum(axis=-1).mean()))


def motif_rmsd(motif: MotifPrompt, coordinates: np.ndarray) -> float:
    """Return the RMSD of a motif's residues in a backbone (L, >=3, 3), N, CA, C, to the motif, superposed."""
    inside = coordinates[motif.start : motif.start + len(motif), :3].reshape(-1, 3)
    return superposed_rmsd(inside, motif.coordinates[:, :3].reshape(-1, 3))


def known_torsions(motif: MotifPrompt, length: int) -> np.ndarray:
    """Return the torsions (L, 3) of a chain that holds a motif, NaN where the motif does not say them."""
    known = np.full((length, 3), np.nan)
    known[motif.start : motif.start + len(motif)] = motif.torsions
    return known
