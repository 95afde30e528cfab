"""Where models are found: bundled ones by name, others by folder."""

from __future__ import annotations

import contextlib
from pathlib import Path

from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.directory import CONFIG_FILE

DEFAULT_MODEL = "betafold-mini"
_PACKAGE = Path(__file__).resolve().parent
_WEIGHTS = (_PACKAGE / "_weights", _PACKAGE.parent / "weights")  # an installed wheel, a checkout


def find_model(model: str | Path | None = None) -> Path:
    """Return the directory of a model.

    Parameters
    ----------
    model : str or Path, optional
        A model directory, or the name of a bundled model; by default `DEFAULT_MODEL`.

    Returns
    -------
    Path

    Raises
    ------
    BetafoldError
        Where there is neither.
    """
    wanted = Path(DEFAULT_MODEL if model is None else model)
    with contextlib.suppress(OSError):  # a name too long to be one
        if model is not None and wanted.is_dir():
            return wanted
        if len(wanted.parts) == 1:
            for folder in _WEIGHTS:
                if (folder / wanted / CONFIG_FILE).is_file():
                    return folder / wanted
    if model is None:
        raise BetafoldError(
            f"the bundled model {DEFAULT_MODEL} is missing: install the package again, or pass --model"
        )
    raise BetafoldError(f"no model directory at {model}, and no bundled model of that name")
