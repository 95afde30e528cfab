"""Random ESM-2 checkpoints in the layout of the published files, and the letters to run them on."""

import json
import zlib
from pathlib import Path

import mlx.core as mx
import numpy as np

from betafold_mlx.data.fill import fill_cache
from betafold_mlx.esm.sizes import EsmConfig
from betafold_mlx.esm.tokenizer import TOKENS
from betafold_mlx.model.config import EmbedderConfig
from betafold_mlx.peptide.sequence import residue_ids

TINY = Path(__file__).parent / "data" / "esm_tiny"
TINY_CONFIG = EsmConfig(layers=2, width=24, heads=3, ffn_width=48)

# Lengths 1 to 52; X, B, Z, U, O and masks, at the ends too.
SEQUENCES = (
    "GIGKFLHSAKKFGKAFVGEIMNS",
    "M",
    "KW",
    "<mask>",
    "XBZUO",
    "<mask>CDXBZUOACDEFGHIKLMNPQRSTVW<mask>",
    "LLGDFFRKSKEKIGKEFKRIVQRIKDFLRNLVPRTES",
    "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAE",
    "AC<mask><mask>.-GHIKX",
)


def random_tensors(config: EsmConfig, seed: int, positions: int = 1026) -> dict[str, np.ndarray]:
    """Return tensors by the names of the published file, sized so that every part of the network matters.

    With the usual initialisation (0.02) attention is uniform, the GELU linear and the contacts constant: nothing
    that is wrong there would show.
    """
    rng = np.random.default_rng(seed)
    d, f, head = config.width, config.ffn_width, config.width // config.heads
    tensors = {}

    def normal(name, *shape, scale, shift=0.0):
        tensors[name] = (shift + scale * rng.standard_normal(shape)).astype(np.float32)

    def linear(name, inputs, outputs, gain=1.0):
        normal(f"{name}.weight", outputs, inputs, scale=gain / np.sqrt(inputs))
        normal(f"{name}.bias", outputs, scale=0.1)

    def norm(name):
        normal(f"{name}.weight", d, scale=0.2, shift=1.0)
        normal(f"{name}.bias", d, scale=0.1)

    normal("esm.embeddings.word_embeddings.weight", len(TOKENS), d, scale=0.3)
    normal("esm.embeddings.position_embeddings.weight", positions, d, scale=1.0)
    tensors["esm.embeddings.position_ids"] = np.arange(positions)[None]
    inv_freq = (10000.0 ** -(np.arange(0, head, 2) / head)).astype(np.float16).astype(np.float32)
    for n in range(config.layers):
        layer = f"esm.encoder.layer.{n}"
        norm(f"{layer}.attention.LayerNorm")
        linear(f"{layer}.attention.self.query", d, d, gain=1.4)
        linear(f"{layer}.attention.self.key", d, d, gain=1.4)
        linear(f"{layer}.attention.self.value", d, d)
        linear(f"{layer}.attention.output.dense", d, d)
        norm(f"{layer}.LayerNorm")
        linear(f"{layer}.intermediate.dense", d, f)
        linear(f"{layer}.output.dense", f, d)
        tensors[f"{layer}.attention.self.rotary_embeddings.inv_freq"] = inv_freq
    norm("esm.encoder.emb_layer_norm_after")
    linear("esm.contact_head.regression", config.layers * config.heads, 1, gain=10.0)
    linear("lm_head.dense", d, d)
    norm("lm_head.layer_norm")
    normal("lm_head.bias", len(TOKENS), scale=0.5)
    return tensors


def hub_config(config: EsmConfig, positions: int = 1026) -> dict:
    """Return the ``config.json`` of the published checkpoints, with these sizes."""
    return {
        "architectures": ["EsmForMaskedLM"],
        "attention_probs_dropout_prob": 0.0,
        "classifier_dropout": None,
        "emb_layer_norm_before": False,
        "esmfold_config": None,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "hidden_size": config.width,
        "initializer_range": 0.02,
        "intermediate_size": config.ffn_width,
        "is_folding_model": False,
        "layer_norm_eps": config.layer_norm_eps,
        "mask_token_id": 32,
        "max_position_embeddings": positions,
        "model_type": "esm",
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "pad_token_id": 1,
        "position_embedding_type": "rotary",
        "token_dropout": config.token_dropout,
        "torch_dtype": "float32",
        "transformers_version": "4.25.0.dev0",
        "use_cache": True,
        "vocab_list": None,
        "vocab_size": 33,
    }


def save_tensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    mx.save_safetensors(
        str(path), {name: mx.array(array) for name, array in tensors.items()}, metadata={"format": "pt"}
    )


def write_checkpoint(
    folder: Path, config: EsmConfig, tensors: dict[str, np.ndarray], shards: int = 1, positions: int = 1026
) -> Path:
    """Write a checkpoint folder as the hub has them, in one file or several."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(hub_config(config, positions), indent=2) + "\n")
    (folder / "vocab.txt").write_text("\n".join(TOKENS))
    if shards == 1:
        save_tensors(folder / "model.safetensors", tensors)
        return folder
    where = {name: f"model-{1 + k % shards:05}-of-{shards:05}.safetensors" for k, name in enumerate(tensors)}
    for shard in set(where.values()):
        save_tensors(folder / shard, {name: tensors[name] for name in tensors if where[name] == shard})
    index = {"metadata": {"total_size": sum(each.nbytes for each in tensors.values())}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    return folder


def source_tensor(tensors: dict[str, np.ndarray]):
    """Return a function name -> tensor as `reference_forward` asks for, with the frequencies of the first layer."""
    first = "esm.encoder.layer.0.attention.self.rotary_embeddings.inv_freq"
    return lambda name: tensors[first if name == "esm.rotary_embeddings.inv_freq" else name]


WIDTH = 4
EMBEDDER = EmbedderConfig("esm2", WIDTH, "toy", "e" * 64, "toy (toy, NOT the published ESM-2 weights)", False)
FINGERPRINT = "d" * 64


def toy_embedding(sequence):
    """(L, 4) float16: the residue, its place, the length, and a number of the whole sequence."""
    length = len(sequence)
    columns = [
        residue_ids(sequence),
        np.arange(length),
        np.full(length, length),
        np.full(length, zlib.crc32(sequence.encode()) % 2048),
    ]
    return np.stack(columns, axis=1).astype(np.float16)


def toy_embed(sequences):
    return [toy_embedding(sequence) for sequence in sequences]


def fill_toy(directory, dataset, embed=toy_embed, **arguments):
    """Fill a cache of many small shards."""
    arguments = {"windows": 100, "seed": 0, "shard_size": 16} | arguments
    return fill_cache(directory, dataset, FINGERPRINT, EMBEDDER, lambda: embed, **arguments)


def contents(directory):
    """What is in a cache, by file; the lock file has nothing to tell."""
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.name != ".lock"}


def times(directory):
    return {path.name: path.stat().st_mtime_ns for path in directory.glob("shard-*")}
