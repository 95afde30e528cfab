"""``betafold-mlx dataset fetch``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import rich_click as click

from betafold_mlx.cli.options import FOLDER, examples, json_option, usage_errors
from betafold_mlx.cli.progress import Progress, say
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import to_json

SCHEMA_VERSION = 1
_MAX_CONNECTIONS = 8
_MAX_SHOWN = 20  # lines of one kind before the rest is only counted


@click.command(
    epilog=examples(
        "betafold-mlx dataset fetch --ids weights/betafold-mini/pdb_ids.txt -o structures",
        "betafold-mlx dataset fetch --ids ids.txt -o structures "
        "--url 'https://files.wwpdb.org/pub/pdb/data/structures/divided/mmCIF/{middle}/{id}.cif.gz'",
    )
)
@click.option(
    "--ids",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="PDB ids, one a line, # for comments; - is standard input.",
)
@click.option("-o", "--output", required=True, type=FOLDER, help="Folder of the files.")
@click.option("--jobs", type=click.IntRange(1, _MAX_CONNECTIONS), default=4, help="Connections at a time.")
@click.option(
    "--url",
    "template",
    metavar="TEMPLATE",
    default="https://files.rcsb.org/download/{id}.cif.gz",  # RCSB's file download service
    help="Where the files are; {id} is filled in, and {middle}, the two characters before its last.",
)
@click.option(
    "--retries", type=click.IntRange(0, 20), default=4, help="Further attempts where the server is busy."
)
@click.option("--ask-again", is_flag=True, help="Ask also for entries that DIR/missing.txt lists.")
@click.option("--missing-ok", is_flag=True, help="Entries that the archive does not have are no failure.")
@json_option
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

    Each file is checked when it comes: it is whole, and the file of that entry. Run the same command to resume after
    an interrupt or a failure; whole files are kept. Entries that the archive does not have, mostly obsolete ones, are
    listed in DIR/missing.txt and not asked for again.
    """
    from betafold_mlx.data.download import MISSING_FILE, check_url, fetch_entries
    from betafold_mlx.gzipped import read_lines
    from betafold_mlx.structure.entry import read_entry_list

    with usage_errors():
        check_url(template)
    wanted = read_entry_list(read_lines(None if str(ids) == "-" else ids))
    _list(f"{ids}: {problem}" for problem in wanted.problems)
    if not wanted.entries:
        raise BetafoldError(f"{ids} holds no PDB id")

    with Progress("entries", len(wanted.entries)) as progress:
        report = fetch_entries(
            wanted.entries, output, template, jobs, retries, ask_again, progress=progress.advance
        )
    settled = {*report.fetched, *report.kept, *report.missing, *report.failed}
    left = [entry for entry in wanted.entries if entry not in settled]
    _list(f"{entry}: {reason}" for entry, reason in sorted(report.failed.items()))
    counts = {
        f"fetched ({report.size / 1e6:,.1f} MB)": report.fetched,
        "were there": report.kept,
        f"not in the archive (see {output / MISSING_FILE})": report.missing,
        "failed": report.failed,
        "not tried": left,
    }
    numbers = [f"{len(of):,} {what}" for n, (what, of) in enumerate(counts.items()) if of or n < 2]
    say(f"{len(wanted.entries):,} entries: {', '.join(numbers)}")
    if report.stopped:
        say(f"{report.stopped}; run the same command to resume")
    if as_json:
        document = {
            "schema_version": SCHEMA_VERSION,
            "output": str(output),
            "url": template,
            "fetched": sorted(report.fetched),
            "bytes": report.size,
            "kept": sorted(report.kept),
            "missing": sorted(report.missing),
            "failed": report.failed,
            "not_tried": left,
            "stopped": report.stopped,
            "not_ids": wanted.problems,
        }
        click.echo(to_json(document), nl=False)
    else:
        click.echo(output)
    if report.failed or left or wanted.problems or (report.missing and not missing_ok):
        sys.exit(1)


def _list(lines: Iterable[str]) -> None:
    """Say the first lines, and how many more there are."""
    listed = list(lines)
    for line in listed[:_MAX_SHOWN]:
        say(line)
    if len(listed) > _MAX_SHOWN:
        say(f"... and {len(listed) - _MAX_SHOWN:,} more like this")
