"""Training examples of the generator: C-alpha traces of windows and peptides, at all scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.data.store import Dataset
from betafold_mlx.data.windows import Window, WindowSampler, cut_window, whole_window
from betafold_mlx.generate.chain_layout import Layout, make_layout
from betafold_mlx.generate.scales import canonical_axes, resampling, scale_sizes
from betafold_mlx.generate.settings import MIN_LENGTH
from betafold_mlx.model.inputs import PADDED_LENGTHS, padded_length
from betafold_mlx.peptide.sequence import TRAINED_LENGTHS
from betafold_mlx.structure.secondary import assign_secondary_structures

UNSTATED = 0.5
"""Share of the examples without stated secondary structure; in the others each stretch is left out with this
probability."""


class GeneratorBatch(NamedTuple):
    """Traces of B examples, and where their points stand.

    Attributes
    ----------
    traces : tuple of mx.array
        (B, S_k, 3) C-alpha traces of each scale, Angstrom, zero-centred and in the standard orientation
        (`betafold_mlx.generate.scales.canonical_axes`); zero at padding.
    layout : Layout
        Masks, positions and neighbours of their points.
    """

    traces: tuple[mx.array, ...]
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


def validation_batches(dataset: Dataset, scales: int, size: int) -> list[GeneratorBatch]:
    """Return the validation fragments and peptides, but for those of MHC grooves, in batches of at most `size`."""
    windows = [
        cut_window(dataset, dataset.records[fragment.record], fragment.start, fragment.length)
        for fragment in dataset.fragments
        if fragment.split == "validation"
    ]
    windows += [
        whole_window(dataset, record)
        for record in dataset.peptides("validation")
        if record.kind != "mhc_bound"
    ]
    batches = []
    for padded in PADDED_LENGTHS:
        group = [window for window in windows if padded_length(len(window.peptide)) == padded]
        for first in range(0, len(group), size):
            part = group[first : first + size]
            traces = [window.coordinates[:, 1].astype(np.float64) for window in part]
            batches.append(collate_traces(traces, [window.peptide.cyclic for window in part], padded, scales))
    return batches


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
    stated, first = "", 0
    for end in range(1, len(letters) + 1):
        if end == len(letters) or letters[end] != letters[first]:
            stated += (letters[first] if rng.random() >= UNSTATED else "-") * (end - first)
            first = end
    return stated
