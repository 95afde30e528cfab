"""Updates of a pair representation along the triangles of three residues.

A pair representation holds a vector for each ordered pair (i, j) of residues. What is known of (i, k) and (k, j)
restricts (i, j), as two sides of a triangle restrict the third: triangle multiplication (Jumper et al. 2021, suppl.
algorithms 11 and 12) sums products of the two other sides over all k, triangle attention (algorithms 13 and 14)
lets the pairs that share a residue attend to each other, biased by the third side.

Triangle attention comes in three forms with the same parameters. For each row i, with queries Q, keys K and values V
of its pairs and one bias B for all rows:

- ``softmax``: softmax(Q K^T / sqrt(c) + B) V, as in AlphaFold;
- ``additive``: phi(Q) (phi(K)^T V) + phi(B) V, linear attention of SeedFold: no n^3 numbers are ever held;
- ``gated``: ((phi(Q) phi(K)^T) * sigmoid(B)) V, of SeedFold too: products alone, no exponential for each triangle.

phi is ReLU. The linear forms are not normalised by a sum of weights; a LayerNorm follows them instead.

The channels come first, (B, d, n, n): a linear map is then one matrix product a peptide, the triangle product n x n
matrices, and all else runs through memory in order. The LayerNorms have no scale and shift of their own: the linear
maps after them have.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from betafold_mlx.model.functions import sigmoid, softmax
from betafold_mlx.model.transformer import relu

EPSILON = 1e-5
"""Added to the variance by LayerNorm, as `mlx.nn.LayerNorm` has it."""


def normalise(z: mx.array) -> mx.array:
    """LayerNorm over the channels, without scale and shift: (B, d, n, n) -> the same shape and type."""
    normalised: mx.array = _normalise(z)[0]  # type: ignore[index]
    return normalised


@mx.custom_function
def _normalise(z: mx.array) -> tuple[mx.array, mx.array]:
    centred = z.astype(mx.float32)
    centred = centred - centred.mean(axis=1, keepdims=True)
    scale = mx.rsqrt((centred * centred).mean(axis=1, keepdims=True) + EPSILON)
    return (centred * scale).astype(z.dtype), scale


@_normalise.vjp
def _normalise_vjp(
    z: mx.array, cotangents: tuple[mx.array, mx.array], outputs: tuple[mx.array, mx.array]
) -> mx.array:
    normalised, scale = outputs
    cotangent, normalised = cotangents[0].astype(mx.float32), normalised.astype(mx.float32)
    along = (cotangent * normalised).mean(axis=1, keepdims=True)
    flat = cotangent.mean(axis=1, keepdims=True)
    return ((cotangent - flat - normalised * along) * scale).astype(z.dtype)


class PairLinear(nn.Module):
    """A linear map of the channels: (B, inputs, n, n) -> (B, outputs, n, n).

    With `zero` the weights start as 0, so that an update starts as nothing; otherwise as those of `mlx.nn.Linear`.
    """

    def __init__(self, inputs: int, outputs: int, zero: bool = False) -> None:
        super().__init__()
        reach = 0.0 if zero else 1 / math.sqrt(inputs)
        self.weight = mx.random.uniform(-reach, reach, (outputs, inputs))

    def __call__(self, z: mx.array) -> mx.array:
        """Map the channels, in the type of `z`."""
        batch, width, *sides = z.shape
        return (self.weight.astype(z.dtype) @ z.reshape(batch, width, -1)).reshape(batch, -1, *sides)


class Gate(nn.Module):
    """sigmoid(x + b) with a learned bias b for each channel, 1 at the start: rather open than shut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = mx.ones((width,))

    def __call__(self, z: mx.array) -> mx.array:
        """(B, d, n, n) -> (B, d, n, n), 0 to 1."""
        return sigmoid(z + self.bias.astype(z.dtype)[:, None, None])


class TriangleMultiplication(nn.Module):
    """sum over k of a(i, k) b(j, k), of outgoing edges, or of a(k, i) b(k, j), of incoming ones."""

    def __init__(self, width: int, hidden: int, incoming: bool) -> None:
        super().__init__()
        self._incoming = incoming
        self._hidden = hidden
        # One map for all that is made of a pair: a and b, the gates of both, and the gate of the result.
        self.project = PairLinear(width, 4 * hidden + width)
        self.sides_gate = Gate(2 * hidden)
        self.gate = Gate(width)
        self.output = PairLinear(hidden, width, zero=True)

    def __call__(self, z: mx.array, mask: mx.array) -> mx.array:
        """Return what to add to pairs (B, d, n, n); `mask` (B, n) is of their type, 1 = real residue, 0 = padding."""
        c = self._hidden
        sides, openings, gate = mx.split(self.project(normalise(z)), [2 * c, 4 * c], axis=1)
        a, b = mx.split(self.sides_gate(openings) * sides, 2, axis=1)  # (B, c, n, n)
        if self._incoming:
            product = (a * mask[:, None, :, None]).swapaxes(-1, -2) @ b
        else:
            product = (a * mask[:, None, None, :]) @ b.swapaxes(-1, -2)
        return self.gate(gate) * self.output(normalise(product))


def softmax_attention(q: mx.array, k: mx.array, v: mx.array, bias: mx.array, mask: mx.array) -> mx.array:
    """Return softmax(Q K^T / sqrt(c) + B) V for each row, shaped as Q.

    Q, K and V are (B, h, n, c, n): peptide, head, row, channel, place in the row; the bias (B, h, n, n): place that
    asks, place that answers; the mask (B, n), 1 = real residue, 0 = padding, which gives no answer.
    """
    scores = (q * (1 / math.sqrt(q.shape[-2]))).swapaxes(-1, -2) @ k + bias[:, :, None]  # (B, h, n, n, n)
    scores = scores.astype(mx.float32)
    # The smaller of two numbers, not a choice between them (`where` is slow), and finite (see model/attention.py).
    limit = mx.where(mask > 0, mx.inf, mx.finfo(mx.float32).min)
    weights = softmax(mx.minimum(scores, limit[:, None, None, None, :])).astype(v.dtype)
    return v @ weights.swapaxes(-1, -2)


def additive_attention(q: mx.array, k: mx.array, v: mx.array, bias: mx.array, mask: mx.array) -> mx.array:
    """Return phi(Q) (phi(K)^T V) + phi(B) V for each row; shapes as in `softmax_attention`.

    The product on the right comes first, c x c numbers, never n x n: the first term costs n^2 c^2. The second is one
    matrix product for all rows: still n^3 c multiplications, but no more than n^2 c numbers.
    """
    batch, heads, n, width, _ = v.shape
    v = v * mask[:, None, None, None, :]
    biased = v.reshape(batch, heads, n * width, n) @ relu(bias).swapaxes(-1, -2)
    return (v @ relu(k).swapaxes(-1, -2)) @ relu(q) + biased.reshape(v.shape)


def gated_attention(
    q: mx.array, k: mx.array, v: mx.array, bias: mx.array, mask: mx.array, rows: int | None = None
) -> mx.array:
    """Return ((phi(Q) phi(K)^T) * sigmoid(B)) V for each row; shapes as in `softmax_attention`.

    So many `rows` are done at a time, by default as many as a head has channels: their n x n weights are then as many
    numbers as V has, so that the memory grows as n^2. Going back they are computed again.
    """
    n, rows = q.shape[2], q.shape[3] if rows is None else rows
    gates = sigmoid(bias) * mask[:, None, None, :]  # (B, h, n, n)
    if n <= rows:
        return _gated_rows(q, k, v, gates)
    attended: mx.array = _gated_tiles(rows)(q, k, v, gates)
    return attended


def _gated_rows(q: mx.array, k: mx.array, v: mx.array, gates: mx.array) -> mx.array:
    weights = (relu(q).swapaxes(-1, -2) @ relu(k)) * gates[:, :, None]  # (B, h, rows, n, n)
    return v @ weights.swapaxes(-1, -2)


@functools.cache
def _gated_tiles(rows: int) -> Callable[..., Any]:
    """Return `_gated_rows` computed in tiles of rows, forward and backward, one tile at a time.

    Without the dependency of each tile on the one before, MLX sets off many of them side by side.
    """

    def tiles(*arrays: mx.array) -> Iterator[list[mx.array]]:
        for first in range(0, arrays[0].shape[2], rows):
            yield [array[:, :, first : first + rows] for array in arrays]

    @mx.custom_function
    def gated(q: mx.array, k: mx.array, v: mx.array, gates: mx.array) -> mx.array:
        done: list[mx.array] = []
        for tile in tiles(q, k, v):
            q, k, v = mx.depends(tile, done[-1:])
            done.append(_gated_rows(q, k, v, gates))
        return mx.concatenate(done, axis=2)

    @gated.vjp
    def gated_vjp(primals: list[mx.array], cotangent: mx.array, output: mx.array) -> list[mx.array]:
        *given, gates = primals
        slopes: list[list[mx.array]] = []
        of_gates = mx.zeros_like(gates)
        for tile in tiles(*given, cotangent):
            *inputs, own = mx.depends(tile, [of_gates])
            *found, of_these = mx.vjp(_gated_rows, [*inputs, gates], [own])[1]
            of_gates = mx.depends([of_gates + of_these], found)[0]
            slopes.append(found)
        return [*(mx.concatenate(list(parts), axis=2) for parts in zip(*slopes, strict=True)), of_gates]

    return gated


FORMS: dict[str, Callable[..., mx.array]] = {
    "softmax": softmax_attention,
    "additive": additive_attention,
    "gated": gated_attention,
}


class TriangleAttention(nn.Module):
    """Attention among the pairs (i, .) that start at a residue, or (., j) that end there, in one of `FORMS`."""

    def __init__(self, width: int, heads: int, form: str, ending: bool) -> None:
        super().__init__()
        self._heads = heads
        self._form = form
        # (B, h, c, n, n) <-> (B, h, row, c, place): rows are the first residues, or the second.
        self._to_rows = (0, 1, 4, 2, 3) if ending else (0, 1, 3, 2, 4)
        self._from_rows = (0, 1, 3, 4, 2) if ending else (0, 1, 3, 2, 4)
        self._ending = ending
        self.project = PairLinear(width, 4 * width + heads)  # queries, keys, values, gate, bias
        self.gate = Gate(width)
        self.output = PairLinear(width, width, zero=True)

    def __call__(self, z: mx.array, mask: mx.array) -> mx.array:
        """Return what to add; as in `TriangleMultiplication`."""
        batch, width, n, _ = z.shape
        projected = self.project(normalise(z))
        *parts, gate, bias = mx.split(projected, [width, 2 * width, 3 * width, 4 * width], axis=1)

        def rows(part: mx.array) -> mx.array:
            # Copied once into the order of the matrix products, which would copy it each for itself.
            return mx.contiguous(part.reshape(batch, self._heads, -1, n, n).transpose(self._to_rows))

        bias = bias.swapaxes(-1, -2) if self._ending else bias
        attended = FORMS[self._form](*(rows(part) for part in parts), bias, mask)
        attended = attended.transpose(self._from_rows).reshape(z.shape)
        if self._form != "softmax":
            attended = normalise(attended)
        return self.output(self.gate(gate) * attended)


class PairTransition(nn.Module):
    """Two linear maps with a ReLU between them, applied to each pair by itself."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.expand = PairLinear(width, hidden)
        self.contract = PairLinear(hidden, width, zero=True)

    def __call__(self, z: mx.array) -> mx.array:
        """Return what to add: (B, d, n, n) -> (B, d, n, n)."""
        return self.contract(relu(self.expand(normalise(z))))
