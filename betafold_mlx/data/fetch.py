"""Files of many PDB entries, fetched over a few connections: politely, checked, and kept when something breaks.

Each file comes under a hidden name and gets its own when it is whole and that of the entry. How long to wait is the
server's to say (``Retry-After``, for all connections at once). Where it does not, the waits double, with some chance in
them: clients that were turned away together are not to come back together.
"""

from __future__ import annotations

import contextlib
import fcntl
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from betafold_mlx.data.archive import entry_path, entry_url, read_missing, write_missing
from betafold_mlx.download import BrokenError, RefusedError, UnreachableError, open_url, read_chunk
from betafold_mlx.errors import BetafoldError
from betafold_mlx.structure.entry import DamagedError, check_entry_file
from betafold_mlx.structure.rawfile import MAX_BYTES

JOBS, RETRIES = 4, 4
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before the second attempt for an entry, and before any: half of it to one and a half times as long."""
LONGEST_REQUEST = 300.0
"""Seconds that a server may ask to wait. Where it asks for more, the run ends."""
GIVE_UP_AFTER = 8
"""Entries that fail one after another before the run ends: it is not the entries then."""
NOTHING_FOUND = 20
"""Entries that the server does not have, where it has none, before the address counts as wrong."""

_AHEAD = 4  # entries that the connections may settle before somebody looks at what they settled
_LOCK_FILE = ".fetch.lock"
_PART = ".part"
_LAST_WORDS = 2.0  # seconds that a run which ends early waits for its connections


class Outcome(NamedTuple):
    """What became of an entry.

    Attributes
    ----------
    entry : str
        Its id.
    state : str
        ``fetched``, ``kept`` (it was there), ``missing`` (the server has no such file) or ``failed``.
    reason : str
        Why it failed; of a fetched one, what was wrong with the file that was there before.
    size : int
        Bytes that came.
    """

    entry: str
    state: str
    reason: str = ""
    size: int = 0


@dataclass
class FetchReport:
    """What a run did.

    Attributes
    ----------
    fetched, kept, missing : list of str
        Entries by what became of them, as in `Outcome`.
    failed : dict of str to str
        Entry -> why.
    replaced : dict of str to str
        Those of the fetched ones that were there -> what was wrong with them.
    left : list of str
        Entries that were not tried, because the run ended early.
    size : int
        Bytes that came.
    stopped : str or None
        Why the run ended early.
    """

    fetched: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    size: int = 0
    stopped: str | None = None

    def add(self, outcome: Outcome) -> None:
        """Count an entry."""
        self.size += outcome.size
        if outcome.state == "failed":
            self.failed[outcome.entry] = outcome.reason
            return
        {"fetched": self.fetched, "kept": self.kept, "missing": self.missing}[outcome.state].append(
            outcome.entry
        )
        if outcome.reason:
            self.replaced[outcome.entry] = outcome.reason


Progress = Callable[[FetchReport], None]
"""Called after every entry."""


class _EndedError(BetafoldError):
    """The run cannot go on."""


class _StoppedError(Exception):
    """The run has ended, and its connections are to end too."""


def fetch_entries(
    entries: Sequence[str],
    folder: Path,
    template: str,
    jobs: int = JOBS,
    retries: int = RETRIES,
    ask_again: bool = False,
    progress: Progress = lambda report: None,
) -> FetchReport:
    """Fetch the gzipped mmCIF files of PDB entries into a folder.

    Files that are there and whole are kept. Entries that the server does not have are listed in the folder's
    ``missing.txt``, and no later run asks for them. A run ends early where the server cannot be reached, refuses one
    entry after another, or asks to wait for more than `LONGEST_REQUEST`. It can be interrupted and killed at any time,
    and the same call goes on.

    Parameters
    ----------
    entries : sequence of str
        Ids as of `betafold_mlx.structure.entry.entry_id`, each once.
    folder : Path
        Where the files go; made where it does not exist.
    template : str
        Of their addresses (`betafold_mlx.data.archive.check_url`).
    jobs : int
        Connections at a time.
    retries : int
        Further attempts for an entry where the server is busy or the connection breaks.
    ask_again : bool
        Ask for entries that are listed as missing, too.
    progress : callable
        Given what was done so far, after every entry.

    Returns
    -------
    FetchReport

    Raises
    ------
    BetafoldError
        The folder cannot be written, the disk is full, or another process is fetching into the folder.
    """
    folder = Path(folder)
    with _locked(folder):
        known = read_missing(folder, template)
        skipped = set() if ask_again else {e for e in known if not entry_path(folder, e).exists()}
        report = FetchReport(missing=[entry for entry in entries if entry in skipped])
        wanted = [entry for entry in entries if entry not in skipped]
        connections = _Connections(wanted, folder, template, retries)
        right_address = True
        try:
            connections.open(jobs)
            right_address = _collect(connections, len(wanted), report, progress)
        finally:
            connections.close()
            _remove_parts(folder)
            if right_address:
                there = {*report.fetched, *report.kept}
                write_missing(folder, template, {*known, *report.missing} - there)
    settled = {*report.fetched, *report.kept, *report.missing, *report.failed}
    report.left = [entry for entry in entries if entry not in settled]
    return report


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Make the folder, let nobody else fetch into it, and remove what a killed process left half done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _LOCK_FILE).open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lets go when the process ends
            except BlockingIOError as error:
                raise BetafoldError(f"another process is fetching into {folder}: wait for it") from error
            _remove_parts(folder)
            yield
    except OSError as error:
        raise BetafoldError(f"cannot write {error.filename or folder}: {error.strerror or error}") from error


def _remove_parts(folder: Path) -> None:
    for part in folder.glob(f".*{_PART}"):
        part.unlink(missing_ok=True)


def _collect(connections: _Connections, count: int, report: FetchReport, progress: Progress) -> bool:
    """Gather the outcomes; end the run where going on makes no sense. Return whether the address may be right."""
    listed, failures = len(report.missing), 0
    for _ in range(count):
        outcome = connections.take()
        if isinstance(outcome, _EndedError):
            report.stopped = str(outcome)
            return True
        if isinstance(outcome, BaseException):
            raise outcome
        report.add(outcome)
        progress(report)
        if outcome.state != "kept":  # which says nothing of the server
            failures = failures + 1 if outcome.state == "failed" else 0
        if failures == GIVE_UP_AFTER:
            report.stopped = f"{failures} entries failed one after another"
            return True
        if not (report.fetched or report.kept) and len(report.missing) - listed == NOTHING_FOUND:
            report.stopped = (
                f"the server has none of the first {NOTHING_FOUND} entries: is its address right?"
            )
            return False
    return True


class _Connections:
    """Threads that take entries and settle them, and what they share.

    They run no more than `_AHEAD` entries ahead of who takes what they settled: a server that is to be left alone is
    not asked for another hundred entries while that is found out on a busy machine.
    """

    def __init__(self, entries: Sequence[str], folder: Path, template: str, retries: int) -> None:
        self._done: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        self._room = threading.Semaphore(0)  # to take an entry
        self._waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
        for entry in entries:
            self._waiting.put(entry)
        self._folder, self._template, self._retries = folder, template, retries
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()
        self._reached = False  # whether the server ever answered
        self._not_before = 0.0  # on the monotonic clock: when it wants to be asked again

    def open(self, count: int) -> None:
        """Start to work. The threads end with the process, for one may hang on a silent server."""
        self._room.release(count + _AHEAD)
        for _ in range(min(count, self._waiting.qsize())):
            thread = threading.Thread(target=self._work, daemon=True)
            self._threads.append(thread)
            thread.start()

    def take(self) -> Outcome | BaseException:
        """Wait for the `Outcome` of the next entry that is settled, or the exception of a thread that ended by it."""
        outcome = self._done.get()
        self._room.release()
        return outcome

    def close(self) -> None:
        """Stop, and give the threads a little time to notice. One that notices later writes nothing more."""
        self._stop.set()
        self._room.release(len(self._threads) + 1)
        until = time.monotonic() + _LAST_WORDS
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.0))

    def _work(self) -> None:
        try:
            while self._room.acquire() and not self._stop.is_set():
                self._done.put(self._settle(self._waiting.get_nowait()))
        except (queue.Empty, _StoppedError):
            pass
        except BaseException as error:  # for the main thread to raise
            self._done.put(error)

    def _settle(self, entry: str) -> Outcome:
        """Get the entry's file, one way or another."""
        path, replaced, trouble = entry_path(self._folder, entry), "", ""
        if path.exists():
            try:
                check_entry_file(path, entry)
                return Outcome(entry, "kept")
            except BetafoldError as error:
                replaced = str(error)
        for attempt in range(self._retries + 1):
            self._pause(attempt)
            try:
                return Outcome(entry, "fetched", replaced, self._fetch(entry, path))
            except RefusedError as error:
                self._reached = True
                if error.status in (404, 410):
                    return Outcome(entry, "missing")
                if not error.is_passing:
                    return Outcome(entry, "failed", str(error))
                self._hold(error)
                trouble = str(error)
            except UnreachableError as error:
                if not self._reached or attempt == self._retries:
                    raise _EndedError(str(error)) from error
            except (BrokenError, DamagedError) as error:
                trouble = str(error)
            except BetafoldError as error:  # it came whole, and is something else
                return Outcome(entry, "failed", str(error))
        return Outcome(entry, "failed", trouble)

    def _fetch(self, entry: str, path: Path) -> int:
        """Have the entry's file under its name, or raise what is wrong. Return its size."""
        url, part, size = entry_url(self._template, entry), path.with_name(f".{path.name}{_PART}"), 0
        with open_url(url, {"Accept-Encoding": "identity"}) as answer:
            self._reached = True
            self._check_stopped()
            with part.open("wb") as file:
                while chunk := read_chunk(answer, url):
                    self._check_stopped()
                    file.write(chunk)
                    size += len(chunk)
                    if size > MAX_BYTES:
                        raise BetafoldError(f"{url}: larger than any structure file")
        try:
            check_entry_file(part, entry)
        except DamagedError as error:
            raise DamagedError(f"{url}: what came is {error}") from error
        except BetafoldError as error:
            raise BetafoldError(f"{url}: what came is {error}") from error
        self._check_stopped()
        part.replace(path)
        return size

    def _pause(self, attempt: int) -> None:
        """Wait before an attempt, and as long as the server wants all to wait."""
        until = time.monotonic()
        if attempt:
            until += min(FIRST_WAIT * 2 ** (attempt - 1), LONGEST_WAIT) * random.uniform(0.5, 1.5)
        while (rest := max(until, self._not_before) - time.monotonic()) > 0:
            self._stop.wait(rest)
            self._check_stopped()
        self._check_stopped()

    def _hold(self, refused: RefusedError) -> None:
        """Let all connections wait as long as the server asks for."""
        wait = refused.retry_after
        if wait is None:
            return
        if wait > LONGEST_REQUEST:
            raise _EndedError(f"{refused}, and asks to be left alone for {wait:.0f} s")
        self._not_before = max(self._not_before, time.monotonic() + wait)

    def _check_stopped(self) -> None:
        if self._stop.is_set():
            raise _StoppedError
