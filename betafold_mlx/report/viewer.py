"""The 3D viewer of the report: 3Dmol.js, fetched by npm on request, checked, and never part of this package.

N. Rego and D. Koes, Bioinformatics 31, 1322 (2015). What is fetched is fixed by the checksums below, so it does not
matter where it comes from.
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

SCRIPT_FILE, LICENCE_FILE = "3Dmol-min.js", "LICENSE"
FOLDER_VARIABLE = "BETAFOLD_VIEWER"
INSTALL = "betafold-mlx viewer install"
_TIMEOUT = 300.0  # seconds for npm


class Package(NamedTuple):
    """A release of a viewer.

    Attributes
    ----------
    name, version : str
        As the package manager knows it.
    integrity : str
        SHA-512 of the archive in base64, as the package manager's lock files have it.
    script_sha256 : str
        Of the script in it.
    script, licence : str
        Paths in the archive.
    """

    name: str
    version: str
    integrity: str
    script_sha256: str
    script: str
    licence: str

    @property
    def archive(self) -> str:
        """Name of the archive."""
        return f"{self.name}-{self.version}.tgz"


PACKAGE = Package(
    name="3dmol",
    version="2.5.5",
    integrity="kqNHouGqq3YfW58174tdERvm0XYTmP0tavQKOqIw1ouc2OJ7epkXEFrtEkVXV0clBZT2Ze2xHRC/qxX0u0qCdw==",
    script_sha256="f7cc78921ae72e7623e89cdd111434f58c2efddd2ffda1cd212644b406fb8016",
    script="package/build/3Dmol-min.js",
    licence="package/LICENSE",
)


class Viewer(NamedTuple):
    """A viewer that is there.

    Attributes
    ----------
    name : str
        With its version.
    script : str
        JavaScript that defines ``$3Dmol``.
    licence : str
        Its licence, which goes wherever the script goes.
    """

    name: str
    script: str
    licence: str


def viewer_folder(package: Package = PACKAGE) -> Path:
    """Return where the viewer is installed, or would be.

    It is a folder of its own, ``3dmol-VERSION``, in that which ``BETAFOLD_VIEWER`` names, or else in the user's
    ``~/.local/share/betafold-mlx`` (`XDG_DATA_HOME` is heeded).
    """
    share = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "betafold-mlx"
    parent = Path(os.environ.get(FOLDER_VARIABLE) or share)
    return parent.expanduser() / f"{package.name}-{package.version}"


def find_viewer(package: Package = PACKAGE) -> Viewer | None:
    """Return the installed viewer; None where there is none, or another than the one that was checked."""
    folder = viewer_folder(package)
    try:
        script = (folder / SCRIPT_FILE).read_bytes()
        licence = (folder / LICENCE_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    if hashlib.sha256(script).hexdigest() != package.script_sha256:
        return None
    return Viewer(f"3Dmol.js {package.version}", script.decode("utf-8"), licence)


def install_viewer(archive: Path | None = None, package: Package = PACKAGE) -> Path:
    """Install the viewer.

    Parameters
    ----------
    archive : Path, optional
        Its archive; by default npm fetches it.
    package : Package
        Which release.

    Returns
    -------
    Path
        The folder that it is in.

    Raises
    ------
    BetafoldError
        No npm, no network, an archive that is not the one expected, or a file system that refuses.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = _fetch(package, Path(scratch)) if archive is None else archive
        script, licence = _unpack(path, package)
    folder = viewer_folder(package)
    with atomic_directory(folder) as new:
        (new / SCRIPT_FILE).write_bytes(script)
        (new / LICENCE_FILE).write_bytes(licence)
    return folder


def _fetch(package: Package, folder: Path) -> Path:
    """Let npm fetch the archive; it asks the registry that it is set up for."""
    wanted = f"{package.name}@{package.version}"
    elsewhere = f"or fetch {package.archive} where it is (`npm pack {wanted}`), and name it with --from"
    try:
        done = subprocess.run(
            ["npm", "pack", "--silent", "--ignore-scripts", wanted],
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise BetafoldError(
            f"npm, which fetches the viewer, is not installed: install Node.js, {elsewhere}"
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BetafoldError(f"npm did not fetch the viewer ({error}): try again, {elsewhere}") from error
    if done.returncode or not (folder / package.archive).is_file():
        said = " ".join((done.stderr or done.stdout).split())[:300] or f"exit code {done.returncode}"
        raise BetafoldError(f"npm did not fetch the viewer ({said}): try again, {elsewhere}")
    return folder / package.archive


def _unpack(path: Path, package: Package) -> tuple[bytes, bytes]:
    """Return the script and the licence of an archive that is the one expected."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BetafoldError(f"cannot read {path}: {error.strerror or error}") from error
    if base64.b64encode(hashlib.sha512(data).digest()).decode() != package.integrity:
        raise BetafoldError(f"{path} is not {package.archive}: its checksum is another; fetch it again")
    try:
        with tarfile.open(path) as archive:
            script, licence = (_member(archive, name) for name in (package.script, package.licence))
    except (tarfile.TarError, KeyError, OSError) as error:
        raise BetafoldError(f"cannot unpack {path}: {error}") from error
    if hashlib.sha256(script).hexdigest() != package.script_sha256:
        raise BetafoldError(f"the script in {path} is not that of {package.archive}")
    return script, licence


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(name)
    with file:
        return file.read()
