"""From a hub checkpoint to a directory of ours, verified before it appears."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.card import conversion_card
from betafold_mlx.esm.checkpoint import Checkpoint
from betafold_mlx.esm.directory import (
    MODEL_TYPE,
    SCHEMA_VERSION,
    LoadedEsm,
    is_converted,
    load_esm,
    stored_dtype,
)
from betafold_mlx.esm.mapping import Mapped, map_tensors
from betafold_mlx.esm.model import Esm2
from betafold_mlx.esm.published import check_published
from betafold_mlx.esm.reference import Reference, reference_forward
from betafold_mlx.esm.tokenizer import pad, tokenize
from betafold_mlx.files import atomic_directory, file_sha256, to_json
from betafold_mlx.model.directory import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, named_arrays, save_arrays

DTYPES = {"float32": mx.float32, "float16": mx.float16}
PROBES = ("GIGKFLHSAKKFGKAFVGEIMNS", "MK<mask>ACDEFGHILNPQRSTVWYXBZUO")
"""What the verification runs: magainin 2, and every letter there is with a mask, of another length."""
TOLERANCE = 1e-3
"""Largest deviation from the reference as a share of the largest value: float32 gives 1e-6 to 1e-5, a mixed-up
tensor 0.1 and more."""


@dataclass(frozen=True)
class Verification:
    """How far the converted network is from the float64 reference on `PROBES`: largest absolute deviations.

    Attributes
    ----------
    hidden : float
        Over the states after the embedding and each block, before the final LayerNorm.
    logits : float
        Over the logits.
    contacts : float
        Over the contact probabilities.
    largest_hidden : float
        Largest absolute value among the states, to compare with.
    """

    hidden: float
    logits: float
    contacts: float
    largest_hidden: float


@dataclass(frozen=True)
class Conversion:
    """What `convert` did.

    Attributes
    ----------
    esm : LoadedEsm
        The converted model, as loaded back from the directory.
    source : dict
        Where the weights came from: name, origin, commit, sha256, files.
    rows : list of Mapped
        What became of each tensor.
    verification : Verification
        How well it agrees.
    """

    esm: LoadedEsm
    source: dict[str, Any]
    rows: list[Mapped]
    verification: Verification


def check_output(output: Path, force: bool) -> None:
    """Check that a directory may be written.

    Raises
    ------
    BetafoldError
        It exists and is not empty, unless it holds a converted ESM-2 and `force` allows to replace it. (Replacing
        means deleting: anything else that is there stays.)
    """
    try:
        if not output.exists() or (output.is_dir() and not any(output.iterdir())):
            return
    except OSError as error:
        raise BetafoldError(f"cannot read {output}: {error.strerror or error}") from error
    if not is_converted(output):
        raise BetafoldError(f"{output} exists and is not a converted ESM-2: choose another directory with -o")
    if not force:
        raise BetafoldError(f"{output} exists: replace it with --force, or choose another directory with -o")


def convert(
    checkpoint: Checkpoint,
    output: Path,
    name: str,
    dtype: str = "float32",
    origin: str = "folder",
    commit: str | None = None,
    force: bool = False,
) -> Conversion:
    """Write a checkpoint as a directory of ours, whole and verified or not at all.

    Parameters
    ----------
    checkpoint : Checkpoint
        Read from the hub's layout.
    output : Path
        The directory to write.
    name : str
        What the model is called in results.
    dtype : str
        ``float32`` or ``float16``.
    origin : str
        ``hub`` or ``folder``.
    commit : str, optional
        Of the model on the hub.
    force : bool
        Replace an older conversion.

    Returns
    -------
    Conversion

    Raises
    ------
    BetafoldError
        A tensor that is missing, unknown, misshapen, not finite or too large for float16 (named), an output that may
        not be replaced, or a result that does not agree with the reference.
    """
    check_output(output, force)
    config = checkpoint.config
    rows = map_tensors(checkpoint.arrays, config)
    weights = _converted(checkpoint, rows, DTYPES[dtype])
    source = {
        "name": name,
        "origin": origin,
        "commit": commit,
        "sha256": checkpoint.sha256,
        "files": [asdict(file) for file in checkpoint.files],
    }
    check = check_published(config.size, checkpoint.files)
    with atomic_directory(output) as temporary:
        save_arrays(temporary / WEIGHTS_FILE, weights, {"format": "mlx"})
        document = {
            "model_type": MODEL_TYPE,
            "schema_version": SCHEMA_VERSION,
            "size": config.size,
            "network": config.to_dict(),
            "dtype": dtype,
            "published": check == "match",
            "checksum": check,
            "weights_sha256": file_sha256(temporary / WEIGHTS_FILE),
            "source": source,
        }
        (temporary / CONFIG_FILE).write_text(to_json(document), encoding="utf-8")
        esm = load_esm(temporary)
        _check_stored(esm.model, weights)
        verification = verify(esm.model, checkpoint, rows, DTYPES[dtype])
        card = conversion_card(config, source, dtype, check, asdict(verification))
        (temporary / CARD_FILE).write_text(card, encoding="utf-8", errors="backslashreplace")
        check_output(output, force)  # someone may have put something there in the meantime
    return Conversion(replace(esm, path=output), source, rows, verification)


def _converted(checkpoint: Checkpoint, rows: list[Mapped], dtype: mx.Dtype) -> dict[str, mx.array]:
    """Return our tensors by name, checked one by one."""
    shapes = {name: array.shape for name, array in named_arrays(Esm2(checkpoint.config).parameters()).items()}
    weights = {}
    for row in rows:
        if row.target is None:
            continue
        array = checkpoint.arrays[row.source]
        if array.shape != shapes[row.target]:
            raise BetafoldError(
                f"the checkpoint's tensor {row.source} is {array.shape}, and its config makes it {shapes[row.target]}"
            )
        if not mx.issubdtype(array.dtype, mx.floating):
            raise BetafoldError(f"the checkpoint's tensor {row.source} holds {array.dtype}, not real numbers")
        if not mx.isfinite(array).all().item():
            raise BetafoldError(f"the checkpoint's tensor {row.source} holds NaN or infinite numbers")
        if row.target == "inv_freq" and not (array > 0).all().item():
            raise BetafoldError(
                f"the checkpoint's tensor {row.source} holds frequencies that are not positive"
            )
        stored = array.astype(stored_dtype(row.target, dtype))
        if not mx.isfinite(stored).all().item():
            raise BetafoldError(f"the checkpoint's tensor {row.source} is too large for float16: use float32")
        weights[row.target] = stored
    return dict(sorted(weights.items()))


def _check_stored(model: Esm2, weights: dict[str, mx.array]) -> None:
    loaded = named_arrays(model.parameters())
    for name, array in weights.items():
        if not mx.array_equal(loaded[name], array.astype(mx.float32)).item():
            raise BetafoldError(f"the tensor {name} came back changed from the disk: try again")


def verify(model: Esm2, checkpoint: Checkpoint, rows: list[Mapped], dtype: mx.Dtype) -> Verification:
    """Compare a converted network with the reference on the checkpoint's own tensors.

    Parameters
    ----------
    model : Esm2
        The converted network.
    checkpoint : Checkpoint
        What it was converted from.
    rows : list of Mapped
        The mapping.
    dtype : mx.Dtype
        Type of the stored weights. The reference rounds to it as well, so that what is left is a mistake.

    Returns
    -------
    Verification

    Raises
    ------
    BetafoldError
        Where they differ by more than `TOLERANCE`.
    """
    found = {row.canonical: row for row in rows if row.target is not None}

    def tensor(name: str) -> np.ndarray:
        row = found[name]
        assert row.target is not None
        return np.array(
            checkpoint.arrays[row.source].astype(stored_dtype(row.target, dtype)).astype(mx.float32)
        )

    probes = [tokenize(sequence) for sequence in PROBES]
    references = [reference_forward(tensor, checkpoint.config, probe) for probe in probes]
    result = _compare(model, probes, references)
    largest = {
        "hidden": result.largest_hidden,
        "logits": max(float(np.abs(reference.logits).max()) for reference in references),
        "contacts": 1.0,
    }
    for name, scale in largest.items():
        difference = getattr(result, name)
        if not difference <= TOLERANCE * scale:  # NaN fails too
            raise BetafoldError(
                f"the converted network does not agree with the checkpoint ({name} differ by {difference:.2g}, and the "
                f"largest is {scale:.2g}): nothing was written; please report this"
            )
    return result


def _compare(model: Esm2, probes: list[np.ndarray], references: list[Reference]) -> Verification:
    """Run the probes as one padded batch and return the largest deviations."""
    tokens = mx.array(pad(probes))
    encoded = model.encode(tokens, return_hidden=True)
    hidden = np.array(mx.stack(encoded.hidden, axis=1))  # (B, layers + 1, T, D)
    logits, contacts = np.array(model.logits(encoded.states)), np.array(model.contacts(tokens))
    off = np.zeros(3)
    for row, (probe, reference) in enumerate(zip(probes, references, strict=True)):
        length, inner = len(probe), len(probe) - 2
        pairs = (
            (hidden[row, :, :length], np.stack(reference.hidden)),
            (logits[row, :length], reference.logits),
            (contacts[row, :inner, :inner], reference.contacts),
        )
        off = np.maximum(off, [np.abs(ours - theirs).max() for ours, theirs in pairs])
    largest = max(float(np.abs(state).max()) for reference in references for state in reference.hidden)
    return Verification(float(off[0]), float(off[1]), float(off[2]), largest)
