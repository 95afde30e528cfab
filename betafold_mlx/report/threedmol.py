"""Install and find the 3D viewer of the report: 3Dmol.js, fetched by npm on request, never part of this package.

N. Rego and D. Koes, Bioinformatics 31, 1322 (2015). The checksums below fix what is accepted, so the source does
not matter.
"""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import atomic_directory

VERSION = "2.5.5"
PACKAGE = f"3dmol@{VERSION}"
ARCHIVE = f"3dmol-{VERSION}.tgz"
INSTALL = "betafold-mlx viewer install"

_ARCHIVE_SHA512 = "kqNHouGqq3YfW58174tdERvm0XYTmP0tavQKOqIw1ouc2OJ7epkXEFrtEkVXV0clBZT2Ze2xHRC/qxX0u0qCdw=="
_SCRIPT_SHA256 = "f7cc78921ae72e7623e89cdd111434f58c2efddd2ffda1cd212644b406fb8016"
_MEMBERS = {"3Dmol-min.js": "package/build/3Dmol-min.js", "LICENSE": "package/LICENSE"}
_TIMEOUT = 300.0  # seconds for npm


class Viewer(NamedTuple):
    """An installed viewer."""

    name: str  # with its version
    script: str  # javaScript that defines ``$3Dmol``
    licence: str  # its licence, which goes wherever the script goes


def viewer_folder() -> Path:
    """Return where the viewer is installed, or would be.

    It is a folder of its own, ``3dmol-VERSION``, in the folder that ``BETAFOLD_VIEWER`` names, or else in
    ``~/.local/share/betafold-mlx`` (``XDG_DATA_HOME`` is heeded).
    """
    share = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "betafold-mlx"
    return Path(os.environ.get("BETAFOLD_VIEWER") or share).expanduser() / f"3dmol-{VERSION}"


def find_viewer() -> Viewer | None:
    """Return the installed viewer; None where there is none, or another than the one that was checked."""
    try:
        script, licence = ((viewer_folder() / name).read_bytes() for name in _MEMBERS)
    except OSError:
        return None
    if hashlib.sha256(script).hexdigest() != _SCRIPT_SHA256:
        return None
    return Viewer(f"3Dmol.js {VERSION}", script.decode("utf-8"), licence.decode("utf-8", "replace"))


def install_viewer(archive: Path | None = None) -> Path:
    """Install the viewer from its archive, which npm downloads by default, and return its folder.

    BetafoldError for no npm, no network, another archive, or a file system that refuses.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = archive or _fetch(Path(scratch))
        try:
            data = path.read_bytes()
            if base64.b64encode(hashlib.sha512(data).digest()).decode() != _ARCHIVE_SHA512:
                raise BetafoldError(f"{path} is not {ARCHIVE}: its checksum differs; fetch it again")
            with tarfile.open(path) as opened:
                members = [opened.extractfile(member) for member in _MEMBERS.values()]
                files = [member.read() for member in members if member is not None]
        except (OSError, tarfile.TarError, KeyError) as error:
            raise BetafoldError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    folder = viewer_folder()
    with atomic_directory(folder) as new:
        for name, content in zip(_MEMBERS, files, strict=True):
            (new / name).write_bytes(content)
    return folder


def _fetch(folder: Path) -> Path:
    """Let npm fetch the archive from the registry that it is set up for."""
    command = ["npm", "pack", "--silent", "--ignore-scripts", PACKAGE]
    try:
        subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=True,
        )
        return (folder / ARCHIVE).resolve(strict=True)
    except (OSError, subprocess.SubprocessError) as error:
        said = " ".join((getattr(error, "stderr", None) or str(error)).split())[:300]
        raise BetafoldError(
            f"npm did not fetch the viewer ({said}): install Node.js or try again, or fetch {ARCHIVE} elsewhere "
            f"with `npm pack {PACKAGE}`, and name it with --from"
        ) from error
