"""Downloads that pick up where they were broken off, and are checked before anyone sees the file.

The standard library is enough. (The hub's own client, huggingface_hub 2.4, deletes what it has when it is broken off.)
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO

from betafold_mlx import __version__
from betafold_mlx.errors import BetafoldError

Progress = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes in all."""

USER_AGENT = f"betafold-mlx/{__version__}"
TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""
ATTEMPTS = 5
CHUNK = 1 << 18


class UnreachableError(BetafoldError):
    """The server did not answer: no network, no such host, a firewall."""


class RefusedError(BetafoldError):
    """The server answered with an error.

    Attributes
    ----------
    status : int
        Its HTTP status.
    retry_after : float or None
        Seconds that it asks to wait before the next request, where it does.
    """

    def __init__(self, message: str, status: int, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after

    @property
    def is_passing(self) -> bool:
        """Whether the same request may be answered later: a server that is busy or in trouble."""
        return self.status in (408, 425, 429) or self.status >= 500


class BrokenError(BetafoldError):
    """The connection broke in mid-file."""


def open_url(
    url: str, headers: dict[str, str] | None = None, method: str = "GET", follow: bool = True
) -> http.client.HTTPResponse:
    """Ask a server.

    Parameters
    ----------
    url : str
        ``http`` or ``https``.
    headers : dict of str to str, optional
        More of the request's headers.
    method : str
        ``GET`` or ``HEAD``.
    follow : bool
        Whether to go where a redirection points; else its own answer is returned.

    Returns
    -------
    http.client.HTTPResponse
        To be closed by the caller.

    Raises
    ------
    UnreachableError
        No answer.
    RefusedError
        An answer with an error status.
    """
    if not url.startswith(("https://", "http://")):
        raise BetafoldError(f"{url} is not a web address")
    request = urllib.request.Request(
        url, headers={"User-Agent": USER_AGENT, **(headers or {})}, method=method
    )
    handlers = [] if follow else [_NoRedirect()]
    try:
        answer: http.client.HTTPResponse = urllib.request.build_opener(*handlers).open(
            request, timeout=TIMEOUT
        )
    except urllib.error.HTTPError as error:
        if not follow and 300 <= error.code < 400:
            return error  # type: ignore[return-value]
        wait = _retry_after(error.headers.get("Retry-After"))
        error.close()
        raise RefusedError(
            f"{url}: the server answers {error.code} {error.reason}", error.code, wait
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(f"cannot reach {_host(url)}: {_reason(error)}") from error
    return answer


def _retry_after(text: str | None) -> float | None:
    """Return the seconds of a ``Retry-After`` header, a number or a date (RFC 9110, section 10.2.3)."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return None


def read_chunk(answer: http.client.HTTPResponse, url: str, most: int = CHUNK) -> bytes:
    """Return the next bytes of an answer, as many as are there and `most` at most; none at its end.

    Raises
    ------
    BrokenError
        The connection broke.
    """
    try:
        return answer.read1(most)  # what is there: a kill loses no more
    except (OSError, http.client.HTTPException) as error:
        raise BrokenError(f"the connection to {_host(url)} broke: {_reason(error)}") from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _host(url: str) -> str:
    return url.split("/")[2]


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return "its certificate cannot be verified (Python's own certificates may be missing or out of date)"
    return str(getattr(reason, "strerror", None) or reason or type(error).__name__)


def download(
    url: str, path: Path, size: int, digest: str | None, progress: Progress | None = None, pause: float = 1.0
) -> None:
    """Download a file, going on from what an earlier attempt left.

    What has come so far is kept as ``NAME.part`` beside `path`, through broken connections, Ctrl-C and a kill. The
    file appears under its own name when it is whole and its checksum fits.

    Parameters
    ----------
    url : str
        Where it is.
    path : Path
        Where it goes. Its folder is made where it does not exist.
    size : int
        Its size in bytes.
    digest : str or None
        Its SHA-256 (64 digits) or the SHA-1 that Git gives it (40 digits), as far as known.
    progress : callable, optional
        Told of every piece.
    pause : float
        Seconds before the second attempt; doubled before each further one.

    Raises
    ------
    UnreachableError
        After `ATTEMPTS` attempts that brought nothing new.
    RefusedError
        The server answers with an error.
    BetafoldError
        A checksum that does not fit, a full disk, another process that downloads the same file.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            _lock(file, path)
            _fill(url, file, size, progress, pause)
        _check(part, path, size, digest)
        part.replace(path)
    except OSError as error:
        raise BetafoldError(f"cannot write {path}: {error.strerror or error}") from error


def _lock(file: IO[bytes], path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lets go of it when the process ends
    except BlockingIOError as error:
        raise BetafoldError(f"another process is downloading {path}: wait for it") from error


def _fill(url: str, file: IO[bytes], size: int, progress: Progress | None, pause: float) -> None:
    failures = 0
    if file.tell() > size:
        file.truncate(0)
    while (have := file.seek(0, 2)) < size:
        try:
            _receive(url, file, size, progress)
        except (UnreachableError, RefusedError, BrokenError) as error:
            if isinstance(error, RefusedError) and not error.is_passing:
                raise
            failures = (
                failures + 1 if file.seek(0, 2) == have else 0
            )  # a line that breaks but gets on will do
            if failures >= ATTEMPTS:
                raise UnreachableError(
                    f"{error}; {have:,} of {size:,} bytes are kept, and the same command goes on from there"
                ) from error
            time.sleep(pause * 2 ** max(failures - 1, 0))


def _receive(url: str, file: IO[bytes], size: int, progress: Progress | None) -> None:
    have = file.seek(0, 2)
    with open_url(url, {"Range": f"bytes={have}-"} if have else None) as answer:
        if have and answer.status != 206:  # the server sends the whole: begin again
            file.truncate(0)
            have = 0
        while have < size:
            chunk = read_chunk(answer, url, min(CHUNK, size - have))
            if not chunk:
                raise BrokenError(f"the connection to {_host(url)} broke off")
            file.write(chunk)
            file.flush()
            have += len(chunk)
            if progress is not None:
                progress(have, size)


def _check(part: Path, path: Path, size: int, digest: str | None) -> None:
    if digest is None:
        return
    hasher = hashlib.sha256() if len(digest) == 64 else hashlib.sha1(f"blob {size}\0".encode())
    with part.open("rb") as file:
        while chunk := file.read(1 << 20):
            hasher.update(chunk)
    if hasher.hexdigest() != digest:
        part.unlink()
        raise BetafoldError(f"{path.name} came with a wrong checksum and was thrown away: try again")
