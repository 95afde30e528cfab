"""One measurement of the pair trunk for ``scripts/bench``, in a process of its own: seconds and memory."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import betafold_mlx  # noqa: F401 - loads OpenBLAS: before anything imports mlx.core

import mlx.core as mx  # isort: skip
import numpy as np
from _bench_measure import Time, measure
from _bench_triangle_cases import ATTENTION, FLOAT, GRADIENT, STRUCTURE, UNBIASED, UPDATE, Case
from mlx.utils import tree_map

from betafold_mlx.geometry import build_backbone
from betafold_mlx.geometry.metrics import drmsd
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.heads import TorsionHead, vectors_to_angles, with_bounded_gradient
from betafold_mlx.model.pairformer import DTYPES, PairUpdate
from betafold_mlx.model.triangle import FORMS, right_product

HEAD_WIDTH = 32
PAIRS = 128 * 128
"""Short peptides are measured so many pairs at a time, and one is given its share: a call costs some time in itself."""
LONG = 2.0  # seconds of a call that is not repeated

Call = Callable[[], list[mx.array]]


def one(folder: Path, quick: bool) -> dict[str, Any]:
    """Measure the case that ``case.json`` in the folder names.

    Returns
    -------
    dict
        The case, and of one peptide ``seconds`` and ``cpu_seconds`` (of the fastest of ``calls``, which other work on
        the machine disturbed least), ``peak_bytes``, the most that MLX held during the first call beyond what it was
        given, and ``resident_bytes``, by which the process grew then. In half precision ``difference``: the root mean
        square of what differs from float32, as a share of that of the result.
    """
    case = Case(**json.loads((folder / "case.json").read_text()))
    batch = max(1, PAIRS // case.length**2)
    make = {ATTENTION: _attention, UPDATE: _update, GRADIENT: _gradient, STRUCTURE: _structure}
    call = make.get(case.what, _structure_gradient)(case, batch)

    def work() -> None:
        mx.eval(call())

    given, resident = mx.get_active_memory(), _resident()
    mx.reset_peak_memory()
    start, cpu = time.perf_counter(), time.process_time()
    work()
    first = Time(time.perf_counter() - start, time.process_time() - cpu)
    peak, grown = mx.get_peak_memory() - given, _resident() - resident
    times = [first] if first.wall > LONG else measure(work, quick)
    row = {
        **case._asdict(),
        "seconds": min(each.wall for each in times) / batch,
        "cpu_seconds": min(each.cpu for each in times) / batch,
        "calls": len(times),
        "peak_bytes": max(0, peak) / batch,
        "resident_bytes": max(0, grown) / batch,
    }
    if case.dtype != FLOAT and case.what == UPDATE:
        row["difference"] = _difference(call()[0], _update(case._replace(dtype=FLOAT), batch)()[0])
    return row


def _attention(case: Case, batch: int) -> Call:
    heads, n = case.width // HEAD_WIDTH, case.length
    shape = (batch, heads, n, HEAD_WIDTH, n)
    q, k, v = (mx.random.normal(shape, key=mx.random.key(seed)) for seed in range(3))
    bias = mx.random.normal((batch, heads, n, n), key=mx.random.key(3))
    mask = mx.ones((batch, n))
    mx.eval(q, k, v, bias, mask)
    if case.form == UNBIASED:
        return lambda: [right_product(q, k, v)]
    return lambda: [FORMS[case.form](q, k, v, bias, mask)]


def _made(case: Case, batch: int) -> tuple[PairUpdate, mx.array, mx.array]:
    """Return updates with no weight at zero, pairs as a trunk begins with, of unit size, and their mask."""
    mx.random.seed(0)
    heads = case.width // HEAD_WIDTH
    config = ModelConfig(
        pair_width=case.width, triangle_heads=heads, triangle=case.form, max_length=case.length
    )
    update = PairUpdate(config)
    update.update(tree_map(lambda a: a + 0.02 * mx.random.normal(a.shape), update.parameters()))
    pairs = mx.random.normal((batch, case.width, case.length, case.length))
    mask = mx.ones((batch, case.length))
    pairs, mask = (array.astype(DTYPES[case.dtype]) for array in (pairs, mask))
    mx.eval(update.parameters(), pairs, mask)
    return update, pairs, mask


def _update(case: Case, batch: int) -> Call:
    update, pairs, mask = _made(case, batch)
    return lambda: [update(pairs, mask, None)]


def _gradient(case: Case, batch: int) -> Call:
    update, pairs, mask = _made(case, batch)
    weights = update.trainable_parameters()

    def loss(weights: Any, pairs: mx.array) -> mx.array:
        update.update(weights)
        return mx.square(update(pairs, mask, None).astype(mx.float32)).mean()

    slopes = mx.grad(loss, argnums=(0, 1))
    return lambda: [slopes(weights, pairs)]


def _structure(case: Case, batch: int) -> Call:
    loss, states = _folded(case, batch)
    return lambda: [loss(states)]


def _structure_gradient(case: Case, batch: int) -> Call:
    loss, states = _folded(case, batch)
    slopes = mx.grad(loss)
    return lambda: [slopes(states)]


def _folded(case: Case, batch: int) -> tuple[Callable[[mx.array], mx.array], mx.array]:
    """Return the loss of the structures that states of residues make, and such states."""
    mx.random.seed(0)
    head = TorsionHead(case.width)
    states = mx.random.normal((batch, case.length, case.width))
    residues = mx.random.randint(0, 20, (batch, case.length))
    mask = mx.ones((batch, case.length), dtype=mx.bool_)
    target = mx.cumsum(mx.random.normal((batch, case.length, 3)), axis=1)
    mx.eval(head.parameters(), states, residues, mask, target)

    def loss(states: mx.array) -> mx.array:
        vectors = head(states)
        torsions = with_bounded_gradient(vectors_to_angles(vectors), vectors)
        return drmsd(build_backbone(torsions, residues, mask)[:, :, 1], target, mask).mean()

    return loss, states


def _difference(found: mx.array, expected: mx.array) -> float:
    """Return the root mean square of a difference, as a share of that of what is expected."""
    apart = found.astype(mx.float32) - expected
    return float(np.array(mx.sqrt(mx.square(apart).mean() / mx.square(expected).mean())))


def _resident() -> int:
    """Return the most memory that this process has held, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
