"""``betafold-mlx dataset fetch``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from betafold_mlx.cli.help import Command
from betafold_mlx.cli.loading import loading
from betafold_mlx.cli.parameters import File, Folder, Late, Number
from betafold_mlx.cli.progress import LiveLine
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import to_json

if TYPE_CHECKING:
    from betafold_mlx.data.fetch import FetchReport
    from betafold_mlx.structure.entry import EntryList

SCHEMA_VERSION = 1
_MOST_CONNECTIONS = 8
_SHOWN = 20  # lines of one kind before the rest is only counted


def _url() -> str:
    from betafold_mlx.data.archive import DEFAULT_URL

    return DEFAULT_URL


def _jobs() -> int:
    from betafold_mlx.data.fetch import JOBS

    return JOBS


def _retries() -> int:
    from betafold_mlx.data.fetch import RETRIES

    return RETRIES


@click.command(
    cls=Command,
    examples=(
        "betafold-mlx dataset fetch --ids weights/betafold-mini/pdb_ids.txt -o structures",
        "betafold-mlx dataset fetch --ids ids.txt -o structures "
        "--url 'https://files.wwpdb.org/pub/pdb/data/structures/divided/mmCIF/{middle}/{id}.cif.gz'",
    ),
)
@click.option(
    "--ids",
    required=True,
    type=File(allow_dash=True),
    help="PDB ids, one a line, # for comments; - is standard input.",
)
@click.option("-o", "--output", required=True, type=Folder(), help="Folder of the files.")
@click.option(
    "--jobs", cls=Late, type=Number(1, _MOST_CONNECTIONS), default=_jobs, help="Connections at a time."
)
@click.option(
    "--url",
    "template",
    cls=Late,
    metavar="TEMPLATE",
    default=_url,
    help="Where the files are; {id} is filled in, and {middle}, the two characters before its last.",
)
@click.option(
    "--retries",
    cls=Late,
    type=Number(0, 20),
    default=_retries,
    help="Further attempts where the server is busy.",
)
@click.option("--ask-again", is_flag=True, help="Ask also for entries that DIR/missing.txt lists.")
@click.option("--missing-ok", is_flag=True, help="Entries that the archive does not have are no failure.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def fetch(
    ids: Path,
    output: Path,
    jobs: int,
    template: str,
    retries: int,
    ask_again: bool,
    missing_ok: bool,
    as_json: bool,
) -> None:
    """Download the mmCIF files of PDB entries, for `dataset build`.

    Each is checked when it comes: it is whole, and the file of that entry. Give the same command again after an
    interrupt or a failure, and it goes on; files that are there and whole are kept. Entries that the archive does not
    have, mostly obsolete ones, are listed in DIR/missing.txt, and not asked for again.
    """
    with loading():
        from betafold_mlx.data.archive import check_url
        from betafold_mlx.data.fetch import fetch_entries

    try:
        check_url(template)
    except BetafoldError as error:
        raise click.UsageError(str(error)) from error
    wanted = _read(ids)
    bar = _Bar(len(wanted.entries))
    try:
        report = fetch_entries(wanted.entries, output, template, jobs, retries, ask_again, bar.show)
    except KeyboardInterrupt:
        bar.end()
        _say("what is there is kept: give the same command again, and it goes on")
        raise
    bar.end()
    _tell(report, len(wanted.entries), output)
    click.echo(to_json(_document(report, wanted, output, template)) if as_json else output, nl=not as_json)
    lacking = report.failed or report.left or wanted.problems or (report.missing and not missing_ok)
    if lacking:
        sys.exit(1)


def _read(path: Path) -> EntryList:
    from betafold_mlx.structure.entry import read_entry_list
    from betafold_mlx.structure.rawfile import read_lines

    if str(path) == "-":
        try:
            wanted = read_entry_list(sys.stdin)
        except UnicodeDecodeError as error:
            raise BetafoldError("standard input is not a text file") from error
    else:
        wanted = read_entry_list(read_lines(path))
    _list(f"{path}: {problem}" for problem in wanted.problems)
    if not wanted.entries:
        raise BetafoldError(f"{path} holds no PDB id")
    return wanted


def _tell(report: FetchReport, count: int, output: Path) -> None:
    from betafold_mlx.data.archive import MISSING_FILE

    _list(f"{entry}: {reason}; it was fetched anew" for entry, reason in sorted(report.replaced.items()))
    _list(f"{entry}: {reason}" for entry, reason in sorted(report.failed.items()))
    numbers = [
        f"{len(report.fetched):,} fetched ({report.size / 1e6:,.1f} MB)",
        f"{len(report.kept):,} were there",
    ]
    if report.missing:
        numbers.append(f"{len(report.missing):,} not in the archive (see {output / MISSING_FILE})")
    if report.failed:
        numbers.append(f"{len(report.failed):,} failed")
    if report.left:
        numbers.append(f"{len(report.left):,} not tried")
    _say(f"{count:,} entries: {', '.join(numbers)}")
    if report.stopped:
        _say(f"{report.stopped}; what is there is kept, and the same command goes on")


def _list(lines: Iterable[str]) -> None:
    """Say the lines; where they are many, the first ones, and how many more there are."""
    listed = list(lines)
    for line in listed[:_SHOWN]:
        _say(line)
    if len(listed) > _SHOWN:
        _say(f"... and {len(listed) - _SHOWN:,} more like this")


def _say(message: str) -> None:
    click.echo(f"betafold-mlx: {message}", err=True)


def _document(report: FetchReport, wanted: EntryList, output: Path, template: str) -> dict[str, object]:
    return {
        "schema_version": SCHEMA_VERSION,
        "output": str(output),
        "url": template,
        "fetched": sorted(report.fetched),
        "bytes": report.size,
        "kept": sorted(report.kept),
        "replaced": report.replaced,
        "missing": sorted(report.missing),
        "failed": report.failed,
        "not_tried": report.left,
        "stopped": report.stopped,
        "not_ids": wanted.problems,
    }


class _Bar:
    """How far it is: a line that lives on a terminal, else a line twice a minute."""

    def __init__(self, count: int) -> None:
        self._count, self._line = count, LiveLine()
        self._told = time.monotonic()

    def show(self, report: FetchReport) -> None:
        now = time.monotonic()
        if now - self._told < (0.1 if self._line.live else 30.0):
            return
        self._told = now
        done = len(report.fetched) + len(report.kept) + len(report.missing) + len(report.failed)
        text = f"{done:,} of {self._count:,} entries, {report.size / 1e6:,.1f} MB fetched"
        if self._line.live:
            self._line.show(text)
        else:
            click.echo(text, err=True)

    def end(self) -> None:
        self._line.hide()
