"""Defaults of a fold, and the registry of installed models: finds models by name, and embedders by checksum."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.config import CONFIG_FILE, MODEL_TYPE, EmbedderConfig

DEFAULT_MODEL = "betafold-mini"
"""The bundled model; it folds where none is named, so that a command means the same on every machine."""

_PACKAGE = Path(__file__).resolve().parents[1]
_WEIGHTS = (_PACKAGE / "_weights", _PACKAGE.parent / "weights")  # an installed wheel, a checkout
_HERE = Path("weights")  # where `convert-esm` writes


CANDIDATES = 5
"""Structures drawn from the network's answer and ranked, beside those threaded through templates."""


def find_model(model: str | Path | None = None) -> Path:
    """Return the directory of a model.

    Parameters
    ----------
    model : str or Path, optional
        A model directory, or the name of an installed model; by default `DEFAULT_MODEL`.

    Returns
    -------
    Path

    Raises
    ------
    BetafoldError
        Where there is neither.
    """
    if model is None:
        bundled = _installed(Path(DEFAULT_MODEL))
        if bundled is None:
            raise BetafoldError(
                f"the bundled model {DEFAULT_MODEL} is missing: install the package again, or pass --model"
            )
        return bundled
    wanted = Path(model)
    with contextlib.suppress(OSError):  # a name too long to be one
        if wanted.is_dir():
            return wanted
        if (installed := _installed(wanted)) is not None:
            return installed
    raise BetafoldError(f"no model directory at {model}, and no bundled model of that name")


def installed_models() -> list[str]:
    """Return the names of the installed models, the bundled one first; nothing but ``config.json`` files is read."""
    names = set()
    for directory in _directories(_WEIGHTS):
        with contextlib.suppress(OSError, ValueError, RecursionError):
            document = json.loads((directory / CONFIG_FILE).read_text(encoding="utf-8"))
            if isinstance(document, dict) and document.get("model_type") == MODEL_TYPE:
                names.add(directory.name)
    return sorted(names, key=lambda name: (name != DEFAULT_MODEL, name))


def find_embedder(wanted: EmbedderConfig, near: Path, given: str | Path | None = None) -> Path:
    """Return the directory of the frozen embedder that a model reads.

    Parameters
    ----------
    wanted : EmbedderConfig
        From the model's config.
    near : Path
        The model directory: its neighbours are looked at, and those in ``weights/`` of the current folder, of the
        checkout and of the package.
    given : str or Path, optional
        The directory that the user names; then nothing is looked for.

    Returns
    -------
    Path
        Holds a converted ESM-2 with the model's SHA-256, as its ``config.json`` says.

    Raises
    ------
    BetafoldError
        It is missing, or the one given is another.
    """
    from betafold_mlx.esm.converted import describe_esm  # the bundled model starts without
    from betafold_mlx.esm.sizes import hub_id

    if given is not None:
        described = describe_esm(Path(given))
        if described.sha256 != wanted.sha256:
            raise BetafoldError(
                f"{near} reads {wanted.describe()}, and {given} holds "
                f"{described.embedder_config().describe()}: give the embedder that it was trained on"
            )
        return Path(given)
    for directory in _directories((_HERE, *_WEIGHTS, near.resolve().parent)):
        with contextlib.suppress(BetafoldError):
            if describe_esm(directory).sha256 == wanted.sha256:
                return directory
    known = hub_id(wanted.size) if wanted.published is not False else None
    how = f"get it with `betafold-mlx convert-esm {known}`, or" if known else "convert it again, or"
    raise BetafoldError(
        f"{near} reads {wanted.describe()}, and it is not there: {how} name its directory with --embedder"
    )


def _installed(name: Path) -> Path | None:
    """Return the directory of an installed model by its name."""
    if len(name.parts) == 1:
        for folder in _WEIGHTS:
            if (folder / name / CONFIG_FILE).is_file():
                return folder / name
    return None


def _directories(folders: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the directories with a config in these folders, but for those that are being written."""
    for folder in folders:
        for path in sorted(folder.glob(f"*/{CONFIG_FILE}")):
            if not path.parent.name.startswith("."):
                yield path.parent
