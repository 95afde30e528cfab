"""Which tensor of a hub checkpoint becomes which of ours. Every one is mapped, dropped for a reason, or an error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import mlx.core as mx

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.config import EsmConfig

EMBEDDING = "esm.embeddings.word_embeddings.weight"
INV_FREQ = "esm.rotary_embeddings.inv_freq"
DECODER = "lm_head.decoder.weight"

_WEIGHT_AND_BIAS = {  # modules with a weight and a bias: theirs -> ours, layer by layer and once
    "esm.encoder.layer.{n}.attention.LayerNorm": "blocks.{n}.attention_norm",
    "esm.encoder.layer.{n}.attention.self.query": "blocks.{n}.attention.query",
    "esm.encoder.layer.{n}.attention.self.key": "blocks.{n}.attention.key",
    "esm.encoder.layer.{n}.attention.self.value": "blocks.{n}.attention.value",
    "esm.encoder.layer.{n}.attention.output.dense": "blocks.{n}.attention.output",
    "esm.encoder.layer.{n}.LayerNorm": "blocks.{n}.feed_forward_norm",
    "esm.encoder.layer.{n}.intermediate.dense": "blocks.{n}.expand",
    "esm.encoder.layer.{n}.output.dense": "blocks.{n}.contract",
    "esm.encoder.emb_layer_norm_after": "norm",
    "esm.contact_head.regression": "contact_head.regression",
    "lm_head.dense": "language_head.dense",
    "lm_head.layer_norm": "language_head.norm",
}
_SINGLE = {EMBEDDING: "embedding.weight", INV_FREQ: "inv_freq", "lm_head.bias": "language_head.bias"}

# The rotary frequencies stand at the model, or at each layer (the published files), or at a literal "*" (written by
# transformers 5.23, which undoes its renaming of the published names without the layer's number).
_LAYER_INV_FREQ = re.compile(r"esm\.encoder\.layer\.(\d+|\*)\.attention\.self\.rotary_embeddings\.inv_freq")
_OLD_NORM = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}

_DROPPED = {
    "esm.embeddings.position_ids": "a count from 0 to 1025",
    "esm.embeddings.position_embeddings.weight": "absolute positions, which ESM-2 never reads",
    "esm.pooler.dense.weight": "a pooler for sentences, which ESM-2 was not trained with",
    "esm.pooler.dense.bias": "a pooler for sentences, which ESM-2 was not trained with",
}


@dataclass(frozen=True)
class Mapped:
    """What becomes of one tensor of the source.

    Attributes
    ----------
    source : str
        Its name in the checkpoint.
    canonical : str
        The name that the published 8M file would give it, with one `INV_FREQ` for all layers.
    target : str or None
        Our name; None where it is dropped.
    note : str
        Why it is dropped, or what else there is to say.
    shape : tuple of int
        Its shape.
    """

    source: str
    canonical: str
    target: str | None
    note: str
    shape: tuple[int, ...]


def targets(config: EsmConfig) -> dict[str, str]:
    """Return what a checkpoint must hold: canonical hub names -> our names."""
    names = dict(_SINGLE)
    for theirs, ours in _WEIGHT_AND_BIAS.items():
        for n in range(config.layers) if "{n}" in theirs else [0]:
            for part in ("weight", "bias"):
                names[f"{theirs.format(n=n)}.{part}"] = f"{ours.format(n=n)}.{part}"
    return names


def _canonical(source: str) -> str:
    if _LAYER_INV_FREQ.fullmatch(source):
        return INV_FREQ
    for old, new in _OLD_NORM.items():
        if source.endswith(old):
            return source[: -len(old)] + new
    return source


def map_tensors(arrays: Mapping[str, mx.array], config: EsmConfig) -> list[Mapped]:
    """Decide what becomes of each tensor.

    Parameters
    ----------
    arrays : mapping of str to mx.array
        All tensors of the checkpoint.
    config : EsmConfig
        Its sizes.

    Returns
    -------
    list of Mapped
        One for each tensor, in the order of their names.

    Raises
    ------
    BetafoldError
        A tensor that no ESM-2 has, one that is missing, one given twice with different numbers.
    """
    wanted = targets(config)
    chosen: dict[str, str] = {}  # canonical name -> source
    rows = []
    for source in sorted(arrays, key=_by_number):
        canonical, shape = _canonical(source), arrays[source].shape
        if canonical in wanted and canonical not in chosen:
            chosen[canonical] = source
            rows.append(Mapped(source, canonical, wanted[canonical], "", shape))
        elif canonical in wanted:
            _check_equal(arrays, source, chosen[canonical])
            rows.append(Mapped(source, canonical, None, f"the same as {chosen[canonical]}", shape))
        elif source == DECODER and EMBEDDING in arrays:
            _check_equal(arrays, source, EMBEDDING)
            rows.append(
                Mapped(source, canonical, None, "tied to the token embedding, and equal to it", shape)
            )
        elif source in _DROPPED:
            rows.append(Mapped(source, canonical, None, _DROPPED[source], shape))
        else:
            raise BetafoldError(
                f"the checkpoint holds a tensor {source}, which ESM-2 with {config.layers} layers has not"
            )
    missing = sorted(set(wanted) - set(chosen), key=_by_number)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BetafoldError(f"the checkpoint lacks the tensor {missing[0]}{more}")
    return rows


def _by_number(name: str) -> list[tuple[int, str]]:
    """Sort layer 10 after layer 9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in name.split(".")]


def _check_equal(arrays: Mapping[str, mx.array], source: str, first: str) -> None:
    one, other = arrays[source], arrays[first]
    if one.shape != other.shape or not mx.array_equal(one, other).item():
        raise BetafoldError(f"the checkpoint's tensors {source} and {first} should be equal and are not")


def pattern_table(rows: Iterable[Mapped]) -> list[tuple[int, str, str]]:
    """Return the mapping with the layers folded together, for people.

    Returns
    -------
    list of (int, str, str)
        How many tensors, their names with N for the layer's number, and our names or why they are dropped.
    """
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        end = row.target if row.target is not None else f"dropped: {row.note}"
        key = (_fold(row.source), _fold(end))
        counts[key] = counts.get(key, 0) + 1
    return [(count, source, end) for (source, end), count in counts.items()]


def _fold(name: str) -> str:
    return re.sub(r"\b(layer|blocks)\.\d+\.", r"\1.N.", name)
