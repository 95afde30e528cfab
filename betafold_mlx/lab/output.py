"""The folder of an experiment: tables, figures and a page, whole or not there."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from betafold_mlx.files import atomic_directory, write_text
from betafold_mlx.lab.experiment import Finding, Outcome, Row
from betafold_mlx.lab.figures import figure_bytes
from betafold_mlx.lab.page import page

FINDINGS = "findings"
"""Name of the table that each experiment has."""
PAGE = "index.html"


def write_outcome(directory: Path, title: str, command: str, outcome: Outcome) -> list[Path]:
    """Write what an experiment found.

    Parameters
    ----------
    directory : Path
        Replaced as a whole where it exists.
    title, command : str
        Name of the experiment, and what was typed to get this.
    outcome : Outcome
        What it found.

    Returns
    -------
    list of Path
        The files, the page first.

    Raises
    ------
    BetafoldError
        Where the file system refuses.
    """
    tables = {FINDINGS: [dataclasses.asdict(finding) for finding in outcome.findings], **outcome.tables}
    with atomic_directory(directory) as temporary:
        pictures: dict[str, bytes] = {}
        for name, picture in outcome.pictures.items():
            for kind in ("png", "svg"):
                data = figure_bytes(picture.figure, kind)
                (temporary / f"{name}.{kind}").write_bytes(data)
                pictures[name] = data if kind == "png" else pictures[name]
        for name, rows in tables.items():
            write_text(temporary / f"{name}.csv", to_csv(rows))
        write_text(temporary / PAGE, page(title, command, outcome, pictures))
        names = sorted(path.name for path in temporary.iterdir() if path.name != PAGE)
    return [directory / name for name in (PAGE, *names)]


def to_csv(rows: Sequence[Row]) -> str:
    r"""Return a table as CSV: numbers with six digits, nothing for None and NaN.

    >>> to_csv([{"a": 0.1234567, "b": None}])
    'a,b\n0.123457,\n'
    """
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: shown(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def shown(value: Any) -> Any:
    """Return a value as it stands in a table."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


def read_findings(directory: Path) -> list[Finding]:
    """Read back the findings of an experiment; none where it was not done."""
    path = directory / f"{FINDINGS}.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Finding(
                row["measure"],
                row["unit"],
                float(row["value"]) if row["value"] else math.nan,
                float(row["low"]) if row["low"] else None,
                float(row["high"]) if row["high"] else None,
                int(row["repeats"]),
                row["verdict"],
            )
            for row in csv.DictReader(file)
        ]
