"""Checkpoints of the Hugging Face hub, downloaded by huggingface_hub: its cache, token, endpoint, offline mode."""

from __future__ import annotations

from pathlib import Path

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.checkpoint import CONFIG, VOCABULARY, WEIGHTS, read_hub_config


def fetch_checkpoint(hub_id: str) -> Path:
    """Return the folder of a checkpoint in the hub's cache, downloaded where it is not there.

    Parameters
    ----------
    hub_id : str
        ``owner/name``.

    Returns
    -------
    Path
        Holds what `read_checkpoint` needs. Its name is the commit.

    Raises
    ------
    BetafoldError
        The hub cannot be reached, has no such model, or the model is not an ESM-2.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=CONFIG))
        read_hub_config(folder / CONFIG)  # before gigabytes come of something else
        return Path(
            snapshot_download(hub_id, allow_patterns=[CONFIG, VOCABULARY, WEIGHTS, "model-*.safetensors"])
        )
    except (OSError, ValueError) as error:  # what it raises, errors of HTTP among them
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise BetafoldError(
            f"cannot get {hub_id} from the hub: {reason}. Without a network: copy {CONFIG} and {WEIGHTS} of the model "
            f"into a folder, and run convert-esm {hub_id} --from FOLDER"
        ) from error
