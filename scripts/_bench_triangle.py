"""Triangle attention and whole pair updates by length and width, for ``scripts/bench``: seconds and memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import betafold_mlx  # noqa: F401 - loads OpenBLAS: before anything imports mlx.core

import mlx.core as mx  # isort: skip
from _bench_measure import measure
from mlx.utils import tree_map

from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.pairformer import PairUpdate
from betafold_mlx.model.triangle import FORMS, right_product

LENGTHS, WIDTHS = (32, 64, 128, 256), (32, 64, 128)
LONGEST = 512  # of what never holds n^3 numbers
QUICK_LENGTHS, QUICK_WIDTHS = (32, 64, 128), (32,)
HEAD_WIDTH = 32
PAIRS = 128 * 128
"""Short peptides are measured so many pairs at a time, and one is given its share: a call costs some time in itself."""

UNBIASED = "additive without bias"


def triangle(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Measure the forms alone, from queries to what is attended to, and whole updates of the pairs, forward.

    Returns
    -------
    list of dict
        ``what``, ``form``, ``length``, ``width``, ``seconds`` and ``cpu_seconds`` (of the fastest call, which
        other work on the machine disturbed least) and ``peak_bytes`` beyond what it is given, of one peptide.
    """
    del folder
    lengths, widths = (QUICK_LENGTHS, QUICK_WIDTHS) if quick else ((*LENGTHS, LONGEST), WIDTHS)
    rows = []
    for width, n in itertools.product(widths, lengths):
        batch = max(1, PAIRS // n**2)
        calls = {("attention", form): _attention(form, batch, n, width) for form in (*FORMS, UNBIASED)}
        calls |= {("update", form): _update(form, batch, n, width) for form in FORMS}
        for (what, form), make in calls.items():
            if n == LONGEST and (form == "softmax" or what == "update"):
                continue
            call = make()
            times = measure(call, quick)
            rows.append(
                {
                    **{"what": what, "form": form, "length": n, "width": width},
                    "seconds": min(time.wall for time in times) / batch,
                    "cpu_seconds": min(time.cpu for time in times) / batch,
                    "peak_bytes": _peak(call) / batch,
                }
            )
            mx.clear_cache()
    return rows


def _attention(form: str, batch: int, n: int, width: int) -> Callable[[], Callable[[], None]]:
    def make() -> Callable[[], None]:
        heads = width // HEAD_WIDTH
        shape = (batch, heads, n, HEAD_WIDTH, n)
        q, k, v = (mx.random.normal(shape, key=mx.random.key(seed)) for seed in range(3))
        bias = mx.random.normal((batch, heads, n, n), key=mx.random.key(3))
        mask = mx.ones((batch, n))
        mx.eval(q, k, v, bias, mask)
        if form == UNBIASED:
            return lambda: mx.eval(right_product(q, k, v))
        return lambda: mx.eval(FORMS[form](q, k, v, bias, mask))

    return make


def _update(form: str, batch: int, n: int, width: int) -> Callable[[], Callable[[], None]]:
    def make() -> Callable[[], None]:
        update = PairUpdate(
            ModelConfig(pair_width=width, triangle_heads=width // HEAD_WIDTH, triangle=form, max_length=n)
        )
        update.update(tree_map(lambda a: a + 0.1 * mx.random.normal(a.shape), update.parameters()))
        pairs, mask = mx.random.normal((batch, width, n, n)), mx.ones((batch, n))
        mx.eval(update.parameters(), pairs, mask)
        return lambda: mx.eval(update(pairs, mask, None))

    return make


def _peak(call: Callable[[], None]) -> int:
    """Return the most memory that MLX holds during a call, beyond what it held before."""
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    call()
    return max(0, mx.get_peak_memory() - before)
