"""Convert a hub checkpoint into a model directory, verified before it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.converted import MODEL_TYPE, SCHEMA_VERSION, LoadedEsm, is_converted, load_esm
from betafold_mlx.esm.hub import Checkpoint, canonical_name, canonical_tensors, our_name
from betafold_mlx.esm.model import Esm2
from betafold_mlx.esm.reference import Reference, reference_forward, transformers_forward
from betafold_mlx.esm.sizes import CHECKS, EsmConfig, check_published
from betafold_mlx.esm.tokenizer import pad_tokens, tokenize
from betafold_mlx.files import atomic_directory, check_output, file_sha256, to_json
from betafold_mlx.model.directory import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    named_arrays,
    save_arrays,
    set_weights,
)

DTYPES = {"float32": mx.float32, "float16": mx.float16}
PROBES = ("GIGKFLHSAKKFGKAFVGEIMNS", "MK<mask>ACDEFGHILNPQRSTVWYXBZUO")
"""What the verification runs: magainin 2, and every letter there is with a mask, of another length."""
TOLERANCE = 1e-3
"""Largest deviation from the reference as a share of the largest value: float32 gives 1e-6 to 1e-5, a mixed-up
tensor 0.1 and more."""


class Verification(NamedTuple):
    """How far the converted network is from a reference on `PROBES`: largest absolute deviations."""

    hidden: float
    """Of the states after the embedding and each block, before the final LayerNorm."""
    logits: float
    contacts: float
    """Of the contact probabilities."""
    largest_hidden: float
    """Largest absolute value among the states, to compare with."""


class Conversion(NamedTuple):
    """Outcome of `convert`."""

    esm: LoadedEsm
    """The converted model, as loaded back from the directory."""
    source: dict[str, Any]
    """Where the weights came from: name, origin, commit, sha256, files."""
    tensors: dict[str, str | None]
    """Tensor of the source -> our parameter; None where it is unused."""
    verification: Verification
    """Agreement with the float64 reference."""
    check: Verification | None
    """Agreement with transformers on PyTorch, where it was asked for."""


def convert(
    checkpoint: Checkpoint,
    output: Path,
    name: str,
    dtype: str = "float32",
    commit: str | None = None,
    force: bool = False,
    check: bool = False,
) -> Conversion:
    """Write a checkpoint as a directory of ours, whole and verified or not at all.

    `name` is what the model is called in results, `dtype` ``float32`` or ``float16``, `commit` that of the model on
    the hub, where it is from there. `force` replaces an older conversion, `check` compares with transformers on
    PyTorch, too. BetafoldError for a tensor that is missing, unknown, misshapen, not finite or too large for float16
    (named), an output that may not be replaced, or a result that does not agree with the reference.
    """
    check_output(output, is_converted, "a converted ESM-2", force)
    config = checkpoint.config
    tensors = canonical_tensors(checkpoint.arrays)
    originals = dict(sorted((our_name(name), array) for name, array in tensors.items()))
    set_weights(Esm2(config), originals, checkpoint.path)  # strict: names, shapes, finite numbers
    weights = {  # the rotary frequencies are never rounded any further
        name: array.astype(mx.float32 if name == "inv_freq" else DTYPES[dtype])
        for name, array in originals.items()
    }
    for target, array in weights.items():
        if not mx.isfinite(array).all().item():
            raise BetafoldError(f"{checkpoint.path}: tensor {target} is too large for float16: use float32")
    source = {
        "name": name,
        "origin": "hub" if commit else "folder",
        "commit": commit,
        "sha256": checkpoint.sha256,
        "files": checkpoint.files,
    }
    with atomic_directory(output) as temporary:
        save_arrays(temporary / WEIGHTS_FILE, named_arrays(weights), {"format": "mlx"})
        published = check_published(config.size, checkpoint.sha256)
        document = {
            "model_type": MODEL_TYPE,
            "schema_version": SCHEMA_VERSION,
            "size": config.size,
            "network": asdict(config),
            "dtype": dtype,
            "published": published == "match",
            "checksum": published,
            "weights_sha256": file_sha256(temporary / WEIGHTS_FILE),
            "source": source,
        }
        (temporary / CONFIG_FILE).write_text(to_json(document), encoding="utf-8")
        esm = load_esm(temporary)

        def tensor(name: str) -> np.ndarray:  # one at a time: in float32 they may not all fit
            return np.array(weights[our_name(name)].astype(mx.float32))

        references = [reference_forward(tensor, config, tokenize(probe)) for probe in PROBES]
        verification, checked = verify(esm.model, references), None
        if check:
            checked = verify(esm.model, transformers_forward(checkpoint.path, PROBES, dtype == "float16"))
        card = _card(config, source, dtype, published, verification)
        (temporary / CARD_FILE).write_text(card, encoding="utf-8", errors="backslashreplace")
        check_output(output, is_converted, "a converted ESM-2", force)  # again: verifying takes time
    canonical = {name: canonical_name(name) for name in checkpoint.arrays}
    targets = {name: our_name(each) if each else None for name, each in canonical.items()}
    return Conversion(replace(esm, path=output), source, targets, verification, checked)


def verify(model: Esm2, references: Sequence[Reference]) -> Verification:
    """Compare a network, which runs `PROBES` as one padded batch, with the reference of each probe.

    BetafoldError where they differ by more than `TOLERANCE`.
    """
    probes = [tokenize(probe) for probe in PROBES]
    tokens = mx.array(pad_tokens(probes))
    encoded = model.encode(tokens)
    hidden = np.array(mx.stack(encoded.hidden, axis=1))  # (B, layers + 1, T, D)
    logits, contacts = np.array(model.logits(encoded.states)), np.array(model.contacts(tokens))
    off = {"hidden": 0.0, "logits": 0.0, "contacts": 0.0}
    largest = {"hidden": 0.0, "logits": 0.0, "contacts": 1.0}
    for row, (probe, reference) in enumerate(zip(probes, references, strict=True)):
        length, inner = len(probe), len(probe) - 2
        for name, ours, theirs in (
            ("hidden", hidden[row, :, :length], np.stack(reference.hidden)),
            ("logits", logits[row, :length], reference.logits),
            ("contacts", contacts[row, :inner, :inner], reference.contacts),
        ):
            off[name] = float(np.maximum(off[name], np.abs(ours - theirs).max()))  # NaN stays
            largest[name] = max(largest[name], float(np.abs(theirs).max()))
    for name, difference in off.items():
        if not difference <= TOLERANCE * largest[name]:  # NaN fails too
            raise BetafoldError(
                f"the converted network does not agree with the checkpoint ({name} differ by {difference:.2g}, and the "
                f"largest is {largest[name]:.2g}): nothing was written; please report this"
            )
    return Verification(**off, largest_hidden=largest["hidden"])


def _card(
    config: EsmConfig, source: dict[str, Any], dtype: str, published: str, verification: Verification
) -> str:
    """Return the text of the model card."""
    files = "\n".join(
        f"| `{file['name']}` | {file['bytes']:,} | `{file['sha256']}` |" for file in source["files"]
    )
    origin = "the Hugging Face hub" if source["origin"] == "hub" else "a local folder"
    commit = f", commit `{source['commit']}`" if source["commit"] else ""
    title = "ESM-2" if published == "match" else "A network of the ESM-2 architecture"
    return f"""# {title}, converted to MLX

`{source["name"]}`, from {origin}{commit}.
Size {config.size}: {config.layers} layers of {config.width}, {config.heads} heads. Stored as {dtype}; the rotary
frequencies as float32, as they were.

| source file | bytes | SHA-256 |
|---|---|---|
{files}

By their SHA-256 these weights are **{CHECKS[published]}**. Features of other weights are no ESM-2 features.

Written by `betafold-mlx convert-esm` and verified there against a float64 reference that reads the source's own
tensors. Largest deviations: {verification.hidden:.1e} in the states of all layers (which reach
{verification.largest_hidden:.3g}), {verification.logits:.1e} in the logits, {verification.contacts:.1e} in the
contact probabilities.

ESM-2 is a language model of proteins by Meta AI: Lin et al., Evolutionary-scale prediction of atomic-level protein
structure with a language model, Science 379, 1123 (2023); published under the MIT licence. It was trained on natural
proteins of up to 1022 residues: short synthetic peptides, D-residues and chemistry beyond the letters are outside of
that.
"""
