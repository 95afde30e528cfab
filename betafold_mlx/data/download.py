"""Download of PDB entries: gzipped mmCIF files over a few connections, each checked before it gets its name."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import atomic_path, locked, sweep_temporary, write_text
from betafold_mlx.gzipped import read_lines
from betafold_mlx.structure.entry import EntryFileError, check_entry_file, read_entry_list

if TYPE_CHECKING:
    import httpx

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""
FIRST_WAIT = 1.0
"""Seconds before the second attempt for an entry, doubled for each further one, times a random 0.5 to 1.5."""
MAX_WAIT = 300.0
"""Seconds that a server may ask to wait (``Retry-After``). Where it asks for more, the run ends."""
MAX_FAILURES = 8
"""Failures one after another that end the run: then it is not the entries."""
MAX_MISSING = 20
"""Missing entries, where nothing was found yet, that end the run: then the address is wrong."""
MISSING_FILE = "missing.txt"

_EXAMPLE = "https://files.wwpdb.org/pub/pdb/data/structures/divided/mmCIF/{middle}/{id}.cif.gz"


@dataclass
class FetchReport:
    """Outcome of a run."""

    fetched: list[str] = field(default_factory=list)  # entries that came
    kept: list[str] = field(default_factory=list)  # entries that were there already
    missing: list[str] = field(default_factory=list)  # entries that the server does not have
    failed: dict[str, str] = field(default_factory=dict)  # entry -> reason
    size: int = 0  # bytes fetched
    stopped: str | None = None  # why the run ended early


class _StopError(BetafoldError):
    """Going on makes no sense; the message says why."""


def check_url(template: str) -> str:
    """Return a template of web addresses; raises BetafoldError where it is none.

    ``{id}`` in it stands for an entry's id in lower case, ``{middle}`` for the two characters before its last, which
    name its folder in the archive's own layout.
    """
    import httpx

    try:
        url = httpx.URL(template)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or "{id}" not in template:
        raise BetafoldError(f"{template!r} is not an address of files: write one like {_EXAMPLE}")
    return template


def entry_url(template: str, entry: str) -> str:
    """Return the address of an entry's file.

    >>> entry_url("https://example.org/{middle}/{id}.cif.gz", "1le0")
    'https://example.org/le/1le0.cif.gz'
    """
    return template.replace("{middle}", entry[-3:-1]).replace("{id}", entry)


def fetch_entries(
    entries: Sequence[str],
    folder: Path,
    template: str,
    jobs: int,
    retries: int,
    ask_again: bool = False,
    progress: Callable[[], None] = lambda: None,
) -> FetchReport:
    """Download the gzipped mmCIF files of PDB entries, each once, into a folder, from addresses as of `check_url`.

    Whole files that are there are kept. Entries that the server does not have are listed in the folder's
    ``missing.txt``, and no later run asks for them unless `ask_again`. After an interrupt or a failure the same call
    goes on. `jobs` connections are open at a time; where the server is busy or a connection breaks, there are
    `retries` further attempts. `progress` is called after every entry.
    """
    with locked(folder / ".fetch.lock", f"another process is fetching into {folder}: wait for it"):
        sweep_temporary(folder)
        known = _read_missing(folder, template)
        skip = set() if ask_again else {e for e in known if not (folder / f"{e}.cif.gz").exists()}
        fetcher = _Fetcher(folder, template, retries)
        report = fetcher.report
        report.missing += [entry for entry in entries if entry in skip]
        try:
            asyncio.run(fetcher.run([entry for entry in entries if entry not in skip], jobs, progress))
        finally:
            place = {entry: number for number, entry in enumerate(entries)}
            for names in (report.fetched, report.kept, report.missing):
                names.sort(key=place.__getitem__)  # not as they came over several connections
            came = {*report.fetched, *report.kept}
            if came or not report.stopped:  # else the address may be wrong
                _write_missing(folder, template, {*known, *report.missing} - came)
    return report


class _Fetcher:
    """The state that the connections of a run share."""

    def __init__(self, folder: Path, template: str, retries: int) -> None:
        self.folder, self.template, self.retries = folder, template, retries
        self.report = FetchReport()
        self.reached = False  # whether the server ever answered
        self.failures = self.not_found = 0  # failures: one after another

    async def run(self, entries: Sequence[str], jobs: int, progress: Callable[[], None]) -> None:
        import httpx

        from betafold_mlx._version import __version__

        waiting = iter(entries)  # shared: each worker takes the next one

        async def work() -> None:
            for entry in waiting:
                await self.settle(client, entry)
                progress()

        headers = {"User-Agent": f"betafold-mlx/{__version__}", "Accept-Encoding": "identity"}
        async with httpx.AsyncClient(headers=headers, timeout=TIMEOUT, follow_redirects=True) as client:
            workers = [asyncio.ensure_future(work()) for _ in range(jobs)]
            try:
                await asyncio.gather(*workers)
            except _StopError as error:
                self.report.stopped = str(error)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def settle(self, client: httpx.AsyncClient, entry: str) -> None:
        """Have the file of an entry in the folder, or note why not."""
        report, path = self.report, self.folder / f"{entry}.cif.gz"
        try:
            await asyncio.to_thread(check_entry_file, path, entry)
            report.kept.append(entry)
            return
        except (FileNotFoundError, EntryFileError):  # none, or a damaged one
            pass
        reason = await self.fetch(client, entry, path)
        if reason is None:
            report.missing.append(entry)
            self.not_found += 1
            if self.not_found == MAX_MISSING and not (report.fetched or report.kept):
                raise _StopError(f"the server has none of {MAX_MISSING} entries: is its address right?")
        elif reason:
            report.failed[entry] = reason
            self.failures += 1
            if self.failures == MAX_FAILURES:
                raise _StopError(f"{MAX_FAILURES} entries failed one after another")
            return
        else:
            report.fetched.append(entry)
            report.size += path.stat().st_size
        self.failures = 0

    async def fetch(self, client: httpx.AsyncClient, entry: str, path: Path) -> str | None:
        """Download one file. Return why it did not come: nothing where it did, None where the server has none."""
        import httpx

        url, reason = entry_url(self.template, entry), ""
        for attempt in range(self.retries + 1):
            wait = FIRST_WAIT * 2**attempt * random.uniform(0.5, 1.5)
            try:
                async with client.stream("GET", url) as answer:
                    self.reached = True
                    if answer.is_success:
                        with atomic_path(path) as temporary:
                            with temporary.open("wb") as file:
                                async for chunk in answer.aiter_raw():
                                    file.write(chunk)
                            await asyncio.to_thread(check_entry_file, temporary, entry)
                        return ""
                    if answer.status_code in (404, 410):
                        return None
                    reason = f"{url}: the server answers {answer.status_code} {answer.reason_phrase}"
                    if answer.status_code < 500 and answer.status_code not in (408, 425, 429):
                        return reason
                    asked = answer.headers.get("Retry-After", "")
                    wait = max(wait, float(asked) if asked.isdecimal() else 0.0)
                    if wait > MAX_WAIT:
                        raise _StopError(f"{reason}, and asks to wait {wait:.0f} s")
            except httpx.RequestError as error:
                reason = f"cannot reach {httpx.URL(url).host}: {error or type(error).__name__}"
                if not self.reached:
                    raise _StopError(reason) from error
            except EntryFileError as error:
                reason = f"{url}: what came is {error}"
            if attempt < self.retries:
                await asyncio.sleep(wait)
        return reason


def _read_missing(folder: Path, template: str) -> set[str]:
    """Return the entries of ``missing.txt``; none where it is about another address."""
    path = folder / MISSING_FILE
    lines = [line.rstrip("\r\n") for line in read_lines(path)] if path.exists() else []
    return set(read_entry_list(lines).entries) if f"# at {template}" in lines else set()


def _write_missing(folder: Path, template: str, entries: set[str]) -> None:
    """Write ``missing.txt``, or remove it where nothing is missing."""
    if not entries:
        (folder / MISSING_FILE).unlink(missing_ok=True)
        return
    lines = [
        "# PDB entries, most of them obsolete, that the server does not have",
        f"# at {template}",
        "# `dataset fetch` asks for them again only with --ask-again.",
        *sorted(entries),
    ]
    write_text(folder / MISSING_FILE, "\n".join(lines) + "\n")
