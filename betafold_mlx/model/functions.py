"""Softmax, sigmoid, GELU and roots for processors where the native operations are slow.

On a CPU under Linux, MLX computes `exp` and `erf` one element after another (10 and 25 ns each), but multiplies,
adds and divides whole vectors (0.1 ns an element). There the functions are made of such cheap operations, with
gradients of their own; on a GPU, and on macOS, the native operations are used. Both ways agree to rounding.
"""

from __future__ import annotations

import functools
import math
import sys

import mlx.core as mx

_MIN_EXPONENT = -88.0  # exp of it is below the smallest normal float32, 2^-126, and comes out as 0
# added to |t| < 2^22, float32 has no places left for a fraction; 127: the exponent's bias
_ROUND = 1.5 * 2.0**23 + 127
# ln 2 in two parts (Cody and Waite 1980): the first has few bits, so that its product with an integer is exact.
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440054690583e-4
# exp(r) = 1 + r + r^2 (...) for |r| <= ln(2) / 2: the polynomial of the Cephes library's expf (S. Moshier).
_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
# exp(x) = p(x / 16)^16 for -35 < x <= 0, and about 0 below; fitted for the smallest largest error of the whole: 7e-10.
_EXP_ROOT = (8.000078245699e-3, 4.173703901920e-2, 1.666869102446e-1, 5.000011938006e-1, 1.0000000171196, 1.0)
_ZERO = -35.6  # 16 times where p crosses zero: its 16th power is 0 in float32
# 1 - Phi(a) = p(a)^-16 / 2 for a >= 0, the form of Abramowitz & Stegun 1964, 7.1.28. The coefficients are fitted
# for the smallest largest error of max(a, 1) (1 - Phi(a)), which bounds that of Phi and that of GELU: 3.1e-7.
_TAIL = (
    *(5.886075996386353e-06, 4.52748172392603e-05, 4.7224428271874785e-05),
    *(3.267527325078845e-03, 2.1145518869161606e-02, 4.986673966050148e-02, 1.0),
)


def natively() -> bool:
    """Return whether the default device computes `exp` and `erf` fast: a GPU, or macOS."""
    return sys.platform == "darwin" or mx.default_device().type != mx.DeviceType.cpu


def exp_of_negative(x: mx.array) -> mx.array:
    """Return exp(x) of float32 x <= 0, by multiplications and additions alone.

    x = k ln 2 + r with an integer k: 2^k is written into the exponent's bits, exp(r) is a polynomial. The relative
    error is below 2e-7 down to -87.3; where exp is below 2^-126 the result is 0.
    """
    x = mx.maximum(x, _MIN_EXPONENT)
    shifted = x * math.log2(math.e) + _ROUND
    k = shifted - _ROUND
    power = mx.view(mx.left_shift(mx.view(shifted, mx.int32), 23), mx.float32)  # 2^k
    r = x - k * _LN2_HIGH - k * _LN2_LOW
    series = _polynomial(_EXP, r)
    return (series * r * r + r + 1.0) * power


def reciprocal_root(x: mx.array) -> mx.array:
    """Return 1 / sqrt(x) of float32 x > 0, within 5e-6.

    Half of the exponent is subtracted from that of a constant, and Newton's method sharpens what comes out (C. Lomont,
    Fast inverse square root, 2003).
    """
    if natively():
        return mx.rsqrt(x)
    root = mx.view(0x5F375A86 - mx.right_shift(mx.view(x, mx.int32), 1), mx.float32)
    half = 0.5 * x
    for _ in range(2):
        root = root * (1.5 - half * root * root)
    return root


def softmax(scores: mx.array) -> mx.array:
    """Return the softmax of float32 scores (..., n) over the last axis, within 3e-6."""
    if natively():
        return mx.softmax(scores, axis=-1)
    weights: mx.array = _softmax(scores)  # type: ignore[assignment]
    return weights


@mx.custom_function
def _softmax(scores: mx.array) -> mx.array:
    below = mx.maximum(scores - scores.max(axis=-1, keepdims=True), _ZERO)
    weights = _polynomial(tuple(c / 16.0 ** (5 - n) for n, c in enumerate(_EXP_ROOT)), below)
    for _ in range(4):  # half the operations of an exponential to rounding
        weights = weights * weights
    return weights * (1.0 / weights.sum(axis=-1, keepdims=True))


@_softmax.vjp
def _softmax_vjp(primals: mx.array, cotangent: mx.array, weights: mx.array) -> mx.array:
    weighted = cotangent * weights
    return weighted - weights * weighted.sum(axis=-1, keepdims=True)


def cross_entropy(logits: mx.array, chosen: mx.array) -> mx.array:
    """Return minus the log probability, nats (...), of chosen classes (...) under float32 logits (..., n)."""
    if natively():
        picked = mx.take_along_axis(logits, chosen[..., None], axis=-1)[..., 0]
        return mx.logsumexp(logits, axis=-1) - picked
    entropy: mx.array = _cross_entropy(logits, chosen)  # type: ignore[assignment]
    return entropy


@mx.custom_function
def _cross_entropy(logits: mx.array, chosen: mx.array) -> mx.array:
    below = logits - logits.max(axis=-1, keepdims=True)
    picked = mx.take_along_axis(below, chosen[..., None], axis=-1)[..., 0]
    return mx.log(exp_of_negative(below).sum(axis=-1)) - picked


@_cross_entropy.vjp
def _cross_entropy_vjp(
    primals: tuple[mx.array, mx.array], cotangent: mx.array, entropy: mx.array
) -> tuple[mx.array, mx.array]:
    logits, chosen = primals
    picked = mx.take_along_axis(logits, chosen[..., None], axis=-1)
    probability = exp_of_negative(mx.minimum(logits - (entropy[..., None] + picked), 0.0))
    own = chosen[..., None] == mx.arange(logits.shape[-1])
    return (probability - own) * cotangent[..., None], mx.zeros_like(chosen)


def sigmoid(x: mx.array) -> mx.array:
    """Return 1 / (1 + exp(-x)), within 2e-6, in the type of `x`."""
    if natively() or x.dtype != mx.float32:
        return mx.sigmoid(x)
    y: mx.array = _sigmoid(x)  # type: ignore[assignment]
    return y


@mx.custom_function
def _sigmoid(x: mx.array) -> mx.array:
    # exp(-x) = exp(u)^64 with u = -x / 64, and exp(u) = 1 + u + u^2 / 2 + u^3 / 6. The error of the series is below
    # 1e-6, and the squarings grow that of the rounding to 2e-6: enough for a gate, and half the operations of an
    # exponential to rounding. Where the power overflows, 1 / inf = 0 is right; beyond 102 the series would be negative.
    power = _polynomial((-1 / (6 * 64**3), 1 / (2 * 64**2), -1 / 64, 1.0), mx.minimum(x, 100.0))
    for _ in range(6):
        power = power * power
    return 1.0 / (power + 1.0)


@_sigmoid.vjp
def _sigmoid_vjp(x: mx.array, cotangent: mx.array, y: mx.array) -> mx.array:
    return cotangent * (y - y * y)


def gelu(x: mx.array) -> mx.array:
    """Return x Phi(x) of float32 x, within 8e-7; the native operations come within 5e-7.

    This is the exact GELU: the tanh approximation is off by 5e-4, and it adds up.
    """
    if natively():
        return x * 0.5 * (1.0 + mx.erf(x * math.sqrt(0.5)))
    y: mx.array = _gelu(x)  # type: ignore[assignment]
    return y


@mx.custom_function
def _gelu(x: mx.array) -> mx.array:
    size = mx.abs(x)
    return mx.maximum(x, 0.0) - size * _upper_tail(size)  # x Phi(x) = max(x, 0) - |x| (1 - Phi(|x|))


@_gelu.vjp
def _gelu_vjp(x: mx.array, cotangent: mx.array, _: mx.array) -> mx.array:
    tail = _upper_tail(mx.abs(x))
    phi = mx.where(x < 0, tail, 1.0 - tail)
    density = exp_of_negative(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    return cotangent * (phi + x * density)


def _upper_tail(size: mx.array) -> mx.array:
    """Return 1 - Phi(a) of a >= 0; 0 where the power overflows."""
    power = _polynomial(tuple(c * 2 ** (1 / 16) for c in _TAIL), size)
    for _ in range(4):
        power = power * power
    return 1.0 / power


def _polynomial(coefficients: tuple[float, ...], x: mx.array) -> mx.array:
    """Return the polynomial with these coefficients, highest power first (Horner)."""
    return functools.reduce(
        lambda value, c: value * x + c, coefficients[2:], x * coefficients[0] + coefficients[1]
    )
