"""Updates of a pair representation in float64, one triangle at a time, as the papers write them.

Nothing here imports the package. Pairs are (n, n, d), channels last, of real residues alone: there is no padding.
Weights come by name, as (outputs, inputs).
"""

import math

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def layer_norm(x):
    """LayerNorm of the last axis, without scale and shift."""
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def multiplication(z, weights, incoming):
    """Triangle multiplication: Jumper et al. 2021, suppl. algorithms 11 and 12."""
    n, width = len(z), z.shape[-1]
    c = weights["output"].shape[1]
    x = layer_norm(z) @ weights["project"].T
    sides, openings, gate = x[..., : 2 * c], x[..., 2 * c : 4 * c], x[..., 4 * c :]
    assert gate.shape[-1] == width
    sides = sigmoid(openings + weights["sides_gate"]) * sides
    a, b = sides[..., :c], sides[..., c:]
    product = np.zeros((n, n, c))
    for i in range(n):
        for j in range(n):
            for k in range(n):
                product[i, j] += a[k, i] * b[k, j] if incoming else a[i, k] * b[j, k]
    return sigmoid(gate + weights["gate"]) * (layer_norm(product) @ weights["output"].T)


def attention(z, weights, heads, form, ending):
    """Triangle attention: Jumper et al. 2021, suppl. algorithms 13 and 14; the linear forms as SeedFold has them."""
    n, width = len(z), z.shape[-1]
    c = width // heads
    x = layer_norm(z) @ weights["project"].T
    q, k, v, gate = (x[..., part * width : (part + 1) * width] for part in range(4))
    bias = x[..., 4 * width :]
    out = np.zeros((n, n, width))
    for h in range(heads):
        own = slice(h * c, (h + 1) * c)
        for i in range(n):
            for j in range(n):
                # Starting node: (i, j) listens to (i, m), biased by (j, m). Ending node: to (m, j), biased by (m, i).
                there = [(m, j) if ending else (i, m) for m in range(n)]
                third = [bias[m, i, h] if ending else bias[j, m, h] for m in range(n)]
                query, keys = q[i, j, own], [k[pair][own] for pair in there]
                values = [v[pair][own] for pair in there]
                if form == "softmax":
                    scores = [query @ key / math.sqrt(c) + b for key, b in zip(keys, third, strict=True)]
                    shares = np.exp(np.array(scores) - max(scores))
                    shares = shares / shares.sum()
                else:
                    fits = [np.maximum(query, 0) @ np.maximum(key, 0) for key in keys]
                    if form == "additive":
                        shares = [fit + max(b, 0) for fit, b in zip(fits, third, strict=True)]
                    else:
                        shares = [fit * sigmoid(b) for fit, b in zip(fits, third, strict=True)]
                out[i, j, own] = sum(share * value for share, value in zip(shares, values, strict=True))
    if form != "softmax":
        out = layer_norm(out)
    return (sigmoid(gate + weights["gate"]) * out) @ weights["output"].T


def transition(z, weights):
    """Two linear maps with a ReLU between them."""
    return np.maximum(layer_norm(z) @ weights["expand"].T, 0) @ weights["contract"].T
