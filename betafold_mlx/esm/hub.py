"""ESM-2 checkpoints in the layout of the Hugging Face hub: download, config, tensors and their names."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.sizes import EsmConfig
from betafold_mlx.esm.tokenizer import MASK, PAD, TOKENS
from betafold_mlx.files import file_sha256
from betafold_mlx.model.directory import load_arrays

CONFIG, VOCABULARY, WEIGHTS, SHARDS = "config.json", "vocab.txt", "model.safetensors", "model-*.safetensors"

_ESM2 = {  # what tells ESM-2 from ESM-1, ESM-1b, ESMFold and other models
    "model_type": "esm",
    "position_embedding_type": "rotary",
    "emb_layer_norm_before": False,
    "is_folding_model": False,
    "is_decoder": False,
    "hidden_act": "gelu",
    "vocab_size": len(TOKENS),
    "mask_token_id": MASK,
    "pad_token_id": PAD,
}

EMBEDDING = "esm.embeddings.word_embeddings.weight"
INV_FREQ = "esm.rotary_embeddings.inv_freq"
_UNUSED = {  # a count, absolute positions that ESM-2 never reads, a pooler that it was not trained with
    "esm.embeddings.position_ids",
    "esm.embeddings.position_embeddings.weight",
    "esm.pooler.dense.weight",
    "esm.pooler.dense.bias",
}
# The rotary frequencies stand at the model, at each layer (the published files), or at a literal "*": transformers 5
# undoes its renaming of the published names without the layer's number.
_LAYER_INV_FREQ = re.compile(r"esm\.encoder\.layer\.(\d+|\*)\.attention\.self\.rotary_embeddings\.inv_freq")
_OUR_PARTS = (  # parts of names, theirs and ours, replaced in this order
    (INV_FREQ, "inv_freq"),
    ("esm.embeddings.word_embeddings.", "embedding."),
    ("esm.encoder.layer.", "blocks."),
    (".attention.LayerNorm.", ".attention_norm."),
    (".attention.self.", ".attention."),
    (".attention.output.dense.", ".attention.output."),
    (".LayerNorm.", ".feed_forward_norm."),
    (".intermediate.dense.", ".expand."),
    (".output.dense.", ".contract."),
    ("esm.encoder.emb_layer_norm_after.", "norm."),
    ("esm.contact_head.", "contact_head."),
    ("lm_head.layer_norm.", "language_head.norm."),
    ("lm_head.", "language_head."),
)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory."""

    path: Path
    config: EsmConfig
    arrays: dict[str, mx.array]
    """All its tensors by their own names."""
    files: list[dict[str, str | int]]
    """``name``, ``bytes`` and ``sha256`` of each file of weights."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights: of the one file, or of the ``sha256sum`` lines of several."""
        if len(self.files) == 1:
            return str(self.files[0]["sha256"])
        lines = "".join(f"{file['sha256']}  {file['name']}\n" for file in self.files)
        return hashlib.sha256(lines.encode()).hexdigest()


def fetch_checkpoint(hub_id: str) -> Path:
    """Return the folder of a checkpoint ``owner/name`` in the cache of `huggingface_hub`, downloaded where it must be.

    It holds what `read_checkpoint` needs. Its name is the commit. BetafoldError where the hub cannot be reached, has
    no such model, or the model is not an ESM-2.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=CONFIG))
        read_config(folder)  # before gigabytes come of something else
        return Path(snapshot_download(hub_id, allow_patterns=[CONFIG, VOCABULARY, WEIGHTS, SHARDS]))
    except (OSError, ValueError) as error:  # what it raises, errors of HTTP among them
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise BetafoldError(
            f"cannot get {hub_id} from the hub: {reason}. Without a network: copy {CONFIG} and {WEIGHTS} of the model "
            f"into a folder, and run convert-esm {hub_id} --from FOLDER"
        ) from error


def read_config(directory: Path) -> EsmConfig:
    """Read the ``config.json`` and, where it is there, the vocabulary of a checkpoint, by transformers.

    BetafoldError where they are not there, not readable, or not those of an ESM-2.
    """
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # that torch is not installed
    from transformers import AutoConfig, EsmTokenizer

    if not (directory / CONFIG).is_file():
        raise BetafoldError(f"{directory} is not a checkpoint of the hub: it has no {CONFIG}")
    try:
        theirs = AutoConfig.from_pretrained(directory)
    except Exception as error:  # transformers raises errors of many kinds
        reason = " ".join(str(error).split())
        raise BetafoldError(f"{directory / CONFIG} is not a model's config: {reason}") from error
    for key, wanted in _ESM2.items():
        value = getattr(theirs, key, None) or False
        if value != wanted:
            raise BetafoldError(
                f"{directory / CONFIG} is not that of an ESM-2: {key} is {value!r}, not {wanted!r}"
            )
    vocabulary = directory / VOCABULARY  # `save_pretrained` of the model alone writes none
    ours = {token: number for number, token in enumerate(TOKENS)}
    if vocabulary.is_file() and EsmTokenizer(str(vocabulary)).get_vocab() != ours:
        raise BetafoldError(f"{vocabulary} is not the vocabulary of ESM-2")
    return EsmConfig(
        layers=theirs.num_hidden_layers,
        width=theirs.hidden_size,
        heads=theirs.num_attention_heads,
        ffn_width=theirs.intermediate_size,
        layer_norm_eps=theirs.layer_norm_eps,
        token_dropout=theirs.token_dropout,
    )


def read_checkpoint(directory: Path) -> Checkpoint:
    """Read ``config.json`` and ``model.safetensors``, or its shards, of a folder. Pickles are never opened.

    BetafoldError for a file that is missing, damaged or another thing than its name says; a checkpoint that is not
    ESM-2.
    """
    if not directory.is_dir():
        raise BetafoldError(f"there is no folder {directory}")
    config = read_config(directory)
    paths = [directory / WEIGHTS] if (directory / WEIGHTS).is_file() else sorted(directory.glob(SHARDS))
    if not paths:
        raise BetafoldError(f"{directory} holds no weights: neither {WEIGHTS} nor shards ({SHARDS})")
    arrays: dict[str, mx.array] = {}
    for path in paths:
        arrays |= load_arrays(path)
    files: list[dict[str, str | int]] = [
        {"name": path.name, "bytes": path.stat().st_size, "sha256": file_sha256(path)} for path in paths
    ]
    return Checkpoint(directory, config, arrays, files)


def canonical_name(name: str) -> str | None:
    """Return a tensor's name as in the published 8M file, with one `INV_FREQ` for all layers; None where unused."""
    if name in _UNUSED:
        return None
    if _LAYER_INV_FREQ.fullmatch(name):
        return INV_FREQ
    if name == "lm_head.decoder.weight":  # tied
        return EMBEDDING
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def canonical_tensors(arrays: Mapping[str, mx.array]) -> dict[str, mx.array]:
    """Return the tensors that an ESM-2 uses, by their canonical names.

    BetafoldError where two tensors that should be equal are not.
    """
    tensors: dict[str, mx.array] = {}
    for source, array in arrays.items():
        name = canonical_name(source)
        if name is None:
            continue
        if name in tensors and not mx.array_equal(tensors[name], array).item():
            raise BetafoldError(
                f"the checkpoint's tensor {source} differs from another that it should equal: {name}"
            )
        tensors[name] = array
    return tensors


def our_name(canonical: str) -> str:
    """Return the name of a parameter of `betafold_mlx.esm.model.Esm2`.

    >>> our_name("esm.encoder.layer.3.attention.output.dense.bias")
    'blocks.3.attention.output.bias'
    """
    for theirs, ours in _OUR_PARTS:
        canonical = canonical.replace(theirs, ours)
    return canonical
