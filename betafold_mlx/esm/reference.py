"""References that a conversion is verified against: NumPy in float64, and transformers on PyTorch.

The first reads the hub's own tensors, shares no code with `model`, takes one sequence at a time, and is slow on
purpose: a formula a line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.sizes import EsmConfig
from betafold_mlx.esm.tokenizer import MASK, tokenize


class Reference(NamedTuple):
    """What a reference says of one sequence of T tokens."""

    # (T, D): the embeddings, then the states after each block, before the final LayerNorm
    hidden: list[np.ndarray]
    states: np.ndarray  # (T, D), after the final LayerNorm
    logits: np.ndarray  # (T, 33)
    contacts: np.ndarray  # (T - 2, T - 2)


_erf = np.vectorize(math.erf, otypes=[np.float64])


class _Tensors:
    """The checkpoint's tensors in float64, one at a time: billions of them would not fit at once."""

    def __init__(self, tensor: Callable[[str], np.ndarray], eps: float) -> None:
        self.tensor, self.eps = tensor, eps

    def __getitem__(self, name: str) -> np.ndarray:
        return self.tensor(name).astype(np.float64)

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self[f"{name}.weight"].T + self[f"{name}.bias"]

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = (centred**2).mean(axis=-1, keepdims=True)
        return centred / np.sqrt(variance + self.eps) * self[f"{name}.weight"] + self[f"{name}.bias"]


def _gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + _erf(x / math.sqrt(2))) / 2


def _softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _turn(x: np.ndarray, inv_freq: np.ndarray) -> np.ndarray:
    """Rotate number k and number k + d/2 of (T, d) as the two coordinates of a plane."""
    angles = np.arange(len(x))[:, None] * inv_freq  # (T, d / 2)
    first, second = np.split(x, 2, axis=-1)
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _attend(x: np.ndarray, tensors: _Tensors, layer: str, config: EsmConfig) -> tuple[np.ndarray, np.ndarray]:
    queries, keys, values = (
        np.split(tensors.linear(x, f"{layer}.attention.self.{name}"), config.heads, axis=-1)
        for name in ("query", "key", "value")
    )
    inv_freq = tensors["esm.rotary_embeddings.inv_freq"]
    maps = np.stack(
        [
            _softmax(_turn(query, inv_freq) @ _turn(key, inv_freq).T / math.sqrt(config.head_width))
            for query, key in zip(queries, keys, strict=True)
        ]
    )
    mixed = np.concatenate([weights @ value for weights, value in zip(maps, values, strict=True)], axis=-1)
    return tensors.linear(mixed, f"{layer}.attention.output.dense"), maps


def _contacts(maps: list[np.ndarray], tensors: _Tensors) -> np.ndarray:
    logits = np.full(maps[0].shape[1:], tensors["esm.contact_head.regression.bias"].item())[1:-1, 1:-1]
    weights = tensors["esm.contact_head.regression.weight"][0]
    for weight, attention in zip(weights, np.concatenate(maps), strict=True):
        pairs = (attention + attention.T)[1:-1, 1:-1]
        expected = np.outer(pairs.sum(axis=1), pairs.sum(axis=0)) / pairs.sum()
        logits = logits + weight * (pairs - expected)
    return 1 / (1 + np.exp(-logits))


def reference_forward(
    tensor: Callable[[str], np.ndarray], config: EsmConfig, tokens: np.ndarray
) -> Reference:
    """Run ESM-2 on one sequence, (T,) token ids without padding.

    `tensor` returns a tensor by its name on the hub; the rotary frequencies are ``esm.rotary_embeddings.inv_freq``.
    """
    t = _Tensors(tensor, config.layer_norm_eps)
    embedding = t["esm.embeddings.word_embeddings.weight"]
    x = embedding[tokens]
    if config.token_dropout:
        masked = tokens == MASK
        x[masked] = 0
        x *= (1 - 0.15 * 0.8) / (1 - masked.mean())
    hidden, maps = [x], []
    for number in range(config.layers):
        layer = f"esm.encoder.layer.{number}"
        mixed, attention = _attend(t.norm(x, f"{layer}.attention.LayerNorm"), t, layer, config)
        x = x + mixed
        wide = _gelu(t.linear(t.norm(x, f"{layer}.LayerNorm"), f"{layer}.intermediate.dense"))
        x = x + t.linear(wide, f"{layer}.output.dense")
        hidden.append(x)
        maps.append(attention)
    states = t.norm(x, "esm.encoder.emb_layer_norm_after")
    decoded = t.norm(_gelu(t.linear(states, "lm_head.dense")), "lm_head.layer_norm")
    logits = decoded @ embedding.T + t["lm_head.bias"]
    return Reference(hidden, states, logits, _contacts(maps, t))


def transformers_forward(folder: Path, sequences: Sequence[str], half: bool = False) -> list[Reference]:
    """Run a checkpoint in the hub's layout by transformers on PyTorch, one sequence at a time.

    With `half` the weights are rounded to float16 first, as a conversion to float16 does. BetafoldError where PyTorch
    is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise BetafoldError("--check needs PyTorch: pip install torch") from error
    from transformers import EsmForMaskedLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model = EsmForMaskedLM.from_pretrained(folder, attn_implementation="eager").eval()
    for parameter in model.parameters() if half else ():
        parameter.data = parameter.data.half().float()
    before: list[Any] = []  # the final LayerNorm, whose input transformers does not hand out
    model.esm.encoder.emb_layer_norm_after.register_forward_hook(
        lambda module, inputs, output: before.append(inputs[0])
    )
    references = []
    with torch.no_grad():
        for sequence in sequences:
            tokens = torch.tensor(tokenize(sequence)[None].astype(np.int64))
            mask = torch.ones_like(tokens)
            result = model(tokens, attention_mask=mask, output_hidden_states=True)
            *inner, states = (state[0].numpy() for state in result.hidden_states)
            last = before[-1][0].numpy()
            contacts = model.predict_contacts(tokens, mask)[0].numpy()
            references.append(Reference([*inner, last], states, result.logits[0].numpy(), contacts))
    return references
