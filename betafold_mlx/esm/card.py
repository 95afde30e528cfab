"""The model card of a converted ESM-2."""

from __future__ import annotations

from typing import Any

from betafold_mlx.esm.config import EsmConfig

_STATEMENTS = {
    "match": "Size and SHA-256 are those of the published file: these are the published ESM-2 weights.",
    "different": (
        "**These are NOT the published ESM-2 weights**: size or SHA-256 differ from the published file of this size. "
        "Features made with them are not ESM-2 features."
    ),
    "unknown": (
        "**Not checked against the published ESM-2 weights**: no checksum of a published file of this size is on "
        "record. The SHA-256 above is for you to compare."
    ),
}


def conversion_card(
    config: EsmConfig, source: dict[str, Any], dtype: str, check: str, verification: dict[str, float]
) -> str:
    """Return the text of the card.

    Parameters
    ----------
    config : EsmConfig
        Sizes.
    source : dict
        Where the weights came from: name, origin, commit, sha256, files.
    dtype : str
        Type of the stored weights.
    check : str
        Outcome of `check_published`.
    verification : dict of str to float
        Deviations from the reference.

    Returns
    -------
    str
        Markdown.
    """
    files = "\n".join(
        f"| `{file['name']}` | {file['bytes']:,} | `{file['sha256']}` |" for file in source["files"]
    )
    origin = "the Hugging Face hub" if source["origin"] == "hub" else "a local folder"
    commit = f", commit `{source['commit']}`" if source["commit"] else ""
    title = "ESM-2" if check == "match" else "A network of the ESM-2 architecture"
    return f"""# {title}, converted to MLX

`{source["name"]}`, from {origin}{commit}.
Size {config.size}: {config.layers} layers of {config.width}, {config.heads} heads. Stored as {dtype}; the rotary
frequencies as float32, as they were.

| source file | bytes | SHA-256 |
|---|---|---|
{files}

{_STATEMENTS[check]}

Written by `betafold-mlx convert-esm` and verified there against a float64 reference that reads the source's own
tensors. Largest deviations: {verification["hidden"]:.1e} in the states of all layers (which reach
{verification["largest_hidden"]:.3g}), {verification["logits"]:.1e} in the logits, {verification["contacts"]:.1e} in the
contact probabilities.

ESM-2 is a language model of proteins by Meta AI: Lin et al., Evolutionary-scale prediction of atomic-level protein
structure with a language model, Science 379, 1123 (2023); published under the MIT licence. It was trained on natural
proteins of up to 1022 residues: short synthetic peptides, D-residues and chemistry beyond the letters are outside of
that.
"""
