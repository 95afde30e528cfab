"""Fetching a checkpoint from the Hugging Face hub, over plain HTTP."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin

from betafold_mlx.download import Progress, RefusedError, UnreachableError, download, open_url
from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.checkpoint import (
    CONFIG,
    PICKLE,
    PICKLE_INDEX,
    VOCABULARY,
    WEIGHTS,
    WEIGHTS_INDEX,
    read_hub_config,
    read_index,
)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", flags=re.ASCII)
_DIGEST = re.compile(r'(?:W/)?"?([0-9a-f]{64}|[0-9a-f]{40})"?')


class _Entry(NamedTuple):
    """A file on the hub: its size, its checksum where the hub tells, and the commit it belongs to."""

    size: int
    digest: str | None
    commit: str | None


def endpoint() -> str:
    """Return the hub's address: the environment's ``HF_ENDPOINT``, as for the hub's own tools, or the public one."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def check_hub_id(hub_id: str) -> str:
    """Return `hub_id` where it has the form ``owner/name``.

    Raises
    ------
    BetafoldError
        Otherwise.
    """
    if not _HUB_ID.fullmatch(hub_id) or ".." in hub_id:
        raise BetafoldError(f"{hub_id!r} is no hub id: write owner/name, as in facebook/esm2_t6_8M_UR50D")
    return hub_id


def fetch_checkpoint(
    hub_id: str, folder: Path, progress: Callable[[str], Progress | None] = lambda name: None
) -> str | None:
    """Download the files of a checkpoint that `read_checkpoint` needs; those already there stay.

    Parameters
    ----------
    hub_id : str
        ``owner/name``.
    folder : Path
        Where they go. A broken download leaves its parts there for the next call.
    progress : callable
        Given the name of a file, returns what is to be told of its bytes.

    Returns
    -------
    str or None
        The commit that they belong to, where the hub tells.

    Raises
    ------
    BetafoldError
        No network, no such model, no file of weights in it, a config that is not ESM-2, a broken download. One line
        that says what to do.
    """
    try:
        return _fetch(hub_id, folder, progress)
    except UnreachableError as error:
        raise BetafoldError(
            f"{error}. Without a network: copy {CONFIG} and {WEIGHTS} of {hub_id} into a folder on this machine, "
            f"and run convert-esm {hub_id} --from FOLDER"
        ) from error
    except RefusedError as error:
        if error.status in (401, 403, 404):
            raise BetafoldError(
                f"the hub has no open model {hub_id}, or it lacks a file ({error}); a model that needs a login can be "
                "downloaded with the hub's own tools and converted with --from FOLDER"
            ) from error
        raise


def _fetch(hub_id: str, folder: Path, progress: Callable[[str], Progress | None]) -> str | None:
    entry = _look_up(hub_id, "main", CONFIG)
    if entry is None:
        raise BetafoldError(f"the model {hub_id} of the hub has no {CONFIG}")
    commit = entry.commit or "main"  # everything from one commit, though the model may change meanwhile

    def get(name: str, entry: _Entry | None = None) -> bool:
        entry = entry or _look_up(hub_id, commit, name)
        if entry is None:
            return False
        _get(hub_id, commit, name, entry, folder, progress(name))
        return True

    get(CONFIG, entry)
    read_hub_config(folder / CONFIG)  # before gigabytes come of something else
    get(VOCABULARY)
    for single, index in ((WEIGHTS, WEIGHTS_INDEX), (PICKLE, PICKLE_INDEX)):
        if get(single):
            return entry.commit
        if get(index):
            for shard in sorted(set(read_index(folder / index).values())):
                if not get(shard):
                    raise BetafoldError(f"the model {hub_id} of the hub lacks {shard}, which its index names")
            return entry.commit
    raise BetafoldError(f"the model {hub_id} of the hub has no {WEIGHTS}")


def _get(hub_id: str, commit: str, name: str, entry: _Entry, folder: Path, progress: Progress | None) -> None:
    path = folder / name
    stamp = folder / f"{name}.etag"  # what the file, or the part of it that is there, is a copy of
    mark = f"{entry.digest or commit} {entry.size}\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not stamp.is_file() or stamp.read_text(encoding="utf-8") != mark:
            for stale in (path, folder / f"{name}.part"):
                stale.unlink(missing_ok=True)
            stamp.write_text(mark, encoding="utf-8")
    except OSError as error:
        raise BetafoldError(f"cannot write {folder}: {error.strerror or error}") from error
    if not path.is_file():
        download(_url(hub_id, commit, name), path, entry.size, entry.digest, progress)


def _url(hub_id: str, commit: str, name: str) -> str:
    return f"{endpoint()}/{hub_id}/resolve/{commit}/{name}"


def _look_up(hub_id: str, commit: str, name: str) -> _Entry | None:
    """Ask the hub about a file; None where the model has no such file."""
    url = _url(hub_id, commit, name)
    found = None
    for _ in range(4):  # a renamed model redirects on the hub; a large file redirects to a store elsewhere
        try:
            with open_url(url, {"Accept-Encoding": "identity"}, method="HEAD", follow=False) as answer:
                headers, status = answer.headers, answer.status
        except RefusedError as error:
            if error.status == 404 and name != CONFIG:
                return None
            raise
        found = found or headers.get("X-Repo-Commit")
        where = headers.get("Location", "")
        if 300 <= status < 400 and "X-Linked-Size" not in headers and where:
            url = urljoin(url, where)
            continue
        size = headers.get("X-Linked-Size") or headers.get("Content-Length") or ""
        if not size.isdecimal():
            raise BetafoldError(f"{url}: the server does not tell the file's size")
        digest = _DIGEST.fullmatch(headers.get("X-Linked-ETag") or headers.get("ETag") or "")
        return _Entry(int(size), digest and digest[1], found)
    raise BetafoldError(f"{url}: redirected in circles")
