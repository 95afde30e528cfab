"""The pair trunk by length, width, form of triangle attention and precision: time and memory.

    OMP_NUM_THREADS=1 scripts/bench triangle --benchmark-timer=time.process_time --benchmark-json triangle.json
    .venv/bin/python benchmarks/pair_trunk_page.py triangle.json docs/pair-trunk.md docs/pair-trunk.svg

The second command writes the tables and the picture of the page. Short peptides are computed `PAIRS` pairs at a time;
``MB`` is the largest memory that MLX holds during a call beyond what it is given, both a peptide's share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import mlx.core as mx
import pytest
from mlx.utils import tree_map
from pytest_benchmark.fixture import BenchmarkFixture

from betafold_mlx.geometry import build_backbone
from betafold_mlx.geometry.metrics import drmsd
from betafold_mlx.model.config import TRIANGLES, ModelConfig
from betafold_mlx.model.heads import TorsionHead, vectors_to_angles, with_bounded_gradient
from betafold_mlx.model.pairformer import DTYPES, PairUpdate
from betafold_mlx.model.transformer import relu
from betafold_mlx.model.triangle import FORMS

ATTENTION, UPDATE, STRUCTURE = "attention", "updates of a block", "heads and structure"
GRADIENT, STRUCTURE_GRADIENT = f"{UPDATE}, with gradient", f"{STRUCTURE}, with gradient"
UNBIASED = "additive without bias"
HEAD_WIDTH, PAIRS, RESIDUE_WIDTH = 32, 128 * 128, 320
LENGTHS, WIDTHS, PEPTIDE = (32, 64, 128, 256), (32, 64, 128), 32


class Case(NamedTuple):
    """What is computed, by which form of attention, of how many residues, channels of a pair, and in what type."""

    what: str
    form: str
    length: int
    width: int
    dtype: str = "float32"


CASES = [
    *(Case(ATTENTION, form, n, w) for n in LENGTHS for w in WIDTHS for form in (*TRIANGLES, UNBIASED)),
    *(Case(ATTENTION, form, 512, w) for w in WIDTHS for form in ("additive", "gated", UNBIASED)),
    *(Case(UPDATE, form, n, w) for n in LENGTHS for w in WIDTHS for form in TRIANGLES),
    *(Case(GRADIENT, form, PEPTIDE, w) for w in WIDTHS for form in TRIANGLES),
    Case(GRADIENT, "gated", PEPTIDE, 256),
    *(Case(what, "gated", PEPTIDE, w, "bfloat16") for w in WIDTHS for what in (UPDATE, GRADIENT)),
    *(Case(what, "", PEPTIDE, RESIDUE_WIDTH) for what in (STRUCTURE, STRUCTURE_GRADIENT)),
]


@pytest.mark.parametrize(Case._fields, CASES, ids=lambda value: str(value).replace(" ", "-"))
def bench_pair_trunk(
    benchmark: BenchmarkFixture, quick: bool, what: str, form: str, length: int, width: int, dtype: str
) -> None:
    case = Case(what, form, length, width, dtype)
    if quick and (length > 64 or WIDTHS[0] < width < RESIDUE_WIDTH):
        pytest.skip("not with --quick")
    benchmark.group = f"{what}, n = {length}, width {width}, {dtype}"
    batch = max(1, PAIRS // length**2)
    make = {ATTENTION: attention, UPDATE: update, GRADIENT: update_gradient, STRUCTURE: structure}
    call = make.get(what, structure_gradient)(case, batch)
    given = mx.get_active_memory()
    mx.reset_peak_memory()
    mx.eval(call())
    benchmark.extra_info["MB"] = max(0, mx.get_peak_memory() - given) / batch / 1e6
    benchmark.extra_info["peptides"] = batch
    if dtype != "float32" and what == UPDATE:
        exact = update(case._replace(dtype="float32"), batch)()
        apart = call().astype(mx.float32) - exact
        share = mx.sqrt(mx.square(apart).mean() / mx.square(exact).mean())
        benchmark.extra_info["difference in percent"] = 100 * share.item()
    benchmark(lambda: mx.eval(call()))


def attention(case: Case, batch: int) -> Callable[[], mx.array]:
    """Attention alone, from queries to what is attended to."""
    heads, n = case.width // HEAD_WIDTH, case.length
    shape = (batch, heads, n, HEAD_WIDTH, n)
    q, k, v = (mx.random.normal(shape, key=mx.random.key(seed)) for seed in range(3))
    bias, mask = mx.random.normal((batch, heads, n, n), key=mx.random.key(3)), mx.ones((batch, n))
    mx.eval(q, k, v, bias, mask)
    if case.form == UNBIASED:
        return lambda: (v @ relu(k).swapaxes(-1, -2)) @ relu(q)
    return lambda: FORMS[case.form](q, k, v, bias, mask)


def pair_update(case: Case, batch: int) -> tuple[PairUpdate, mx.array, mx.array]:
    """Return the updates of a block with no weight at zero, pairs of unit size, and their mask."""
    mx.random.seed(0)
    heads = case.width // HEAD_WIDTH
    sizes: dict[str, Any] = {"pair_width": case.width, "triangle_heads": heads, "max_length": case.length}
    block = PairUpdate(ModelConfig(triangle=case.form, **sizes))
    block.update(tree_map(lambda a: a + 0.02 * mx.random.normal(a.shape), block.parameters()))
    pairs = mx.random.normal((batch, case.width, case.length, case.length)).astype(DTYPES[case.dtype])
    mask = mx.ones((batch, case.length)).astype(DTYPES[case.dtype])
    mx.eval(block.parameters(), pairs, mask)
    return block, pairs, mask


def update(case: Case, batch: int) -> Callable[[], mx.array]:
    """All that a block does to the pairs."""
    block, pairs, mask = pair_update(case, batch)
    return lambda: block(pairs, mask, None)


def update_gradient(case: Case, batch: int) -> Callable[[], Any]:
    """All that a block does to the pairs, forth and back."""
    block, pairs, mask = pair_update(case, batch)
    weights = block.trainable_parameters()

    def loss(weights: Any, pairs: mx.array) -> mx.array:
        block.update(weights)
        return mx.square(block(pairs, mask, None).astype(mx.float32)).mean()

    slopes = mx.grad(loss, argnums=(0, 1))
    return lambda: slopes(weights, pairs)


def structure(case: Case, batch: int) -> Callable[[], mx.array]:
    """From the trunk's states to a backbone and its loss."""
    loss, states = structure_loss(case, batch)
    return lambda: loss(states)


def structure_gradient(case: Case, batch: int) -> Callable[[], Any]:
    """From the trunk's states to a backbone and its loss, forth and back."""
    loss, states = structure_loss(case, batch)
    slopes = mx.grad(loss)
    return lambda: slopes(states)


def structure_loss(case: Case, batch: int) -> tuple[Callable[[mx.array], mx.array], mx.array]:
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
