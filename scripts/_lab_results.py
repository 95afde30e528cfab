"""Write the findings of a lab folder into ``docs/`` and the model card: no number there is typed by hand."""

from __future__ import annotations

import csv
import html
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from betafold_mlx.evaluate.layout import TextTable
from betafold_mlx.files import write_text
from betafold_mlx.lab.runner import EXPERIMENTS, PAGE, Finding, read_findings

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "lab.md"
CARD = ROOT / "weights" / "betafold-mini" / "README.md"
ON_CARD = ("recipe", "limits")
"""Experiments whose tables stand in the model card too, between ``<!-- lab NAME -->`` and ``<!-- /lab NAME -->``."""
PAIRS, GENERATOR = ROOT / "docs" / "pair-trunk.md", ROOT / "docs" / "generate.md"
OF_PAIRS, OF_GENERATOR = ("width", "stability"), ("generator",)
"""Experiments whose tables stand on a page of their subject instead, between such marks."""
ELSEWHERE = (*OF_PAIRS, *OF_GENERATOR)
TABLES = {"width": "shapes"}
"""Experiments one of whose tables of means and intervals is shown above the comparisons."""
BEGIN, END = "<!-- results: written by scripts/lab-results -->", "<!-- end of results -->"


def main() -> None:
    """Replace the results in the document by those of the folder named on the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: scripts/lab-results DIR")
    folder = Path(sys.argv[1])
    try:
        text = with_results(DOCUMENT.read_text(encoding="utf-8"), folder)
    except ValueError as error:
        sys.exit(f"lab-results: {error}")
    write_text(DOCUMENT, text)
    for path, names in ((CARD, ON_CARD), (PAIRS, OF_PAIRS), (GENERATOR, OF_GENERATOR)):
        write_text(path, between_marks(path.read_text(encoding="utf-8"), folder, names))


def between_marks(text: str, folder: Path, names: Sequence[str]) -> str:
    """Return a document with the tables of these experiments; what was not done stays as it is."""
    for name in names:
        findings = read_findings(folder / name)
        if findings:
            begin, end = f"<!-- lab {name} -->", f"<!-- /lab {name} -->"
            before, rest = text.split(begin)
            after = rest.split(end)[1]
            table = folder / name / f"{TABLES.get(name)}.csv"
            means = means_table(table) + "\n" if table.exists() else ""
            made = f"`{command(folder / name / PAGE)}`\n\n{means}{tables(findings)}"
            text = f"{before}{begin}\n{made}{end}{after}"
    return text


def with_results(text: str, folder: Path) -> str:
    """Return a document with the results of a folder between its marks.

    Raises
    ------
    ValueError
        The document has no marks, or the folder no results.
    """
    begin, end = text.find(BEGIN), text.find(END)
    if not 0 <= begin < end:
        raise ValueError("the document lacks the marks of the results")
    parts = [section(name, folder / name) for name in EXPERIMENTS if name not in ELSEWHERE]
    if not any(parts):
        if any(read_findings(folder / name) for name in ELSEWHERE):
            return text
        raise ValueError(
            f"{folder} holds no results: run `betafold-mlx lab all -o {folder} --data DATASET` first"
        )
    return text[:begin] + BEGIN + "\n\n" + "\n".join(part for part in parts if part) + "\n" + text[end:]


def means_table(path: Path) -> str:
    """Return a CSV table in Markdown; a column followed by its ``low`` and ``high`` becomes one with an interval."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if not name.endswith((" low", " high"))]
    lines = [
        [
            f"{float(row[name]):.2f} ({float(row[f'{name} low']):.2f} to {float(row[f'{name} high']):.2f})"
            if row.get(f"{name} low")
            else f"{float(row[name]):.2f}"
            if "." in row[name]
            else row[name]
            for name in names
        ]
        for row in rows
    ]
    return TextTable([name.replace("variant", "") for name in names], lines).markdown() + "\n"


def section(name: str, folder: Path) -> str:
    """Return the table of an experiment in Markdown; nothing where it was not done."""
    findings = read_findings(folder)
    if not findings:
        return ""
    return f"### `lab {name}`\n\n`{command(folder / PAGE)}`\n\n{tables(findings)}"


def tables(findings: list[Finding]) -> str:
    """Return findings in Markdown: differences from each baseline as one table, the others line by line."""
    compared: dict[str, dict[str, dict[str, Finding]]] = {}  # baseline -> variant -> measure -> finding
    others = []
    for finding in findings:
        measure, _, pair = finding.measure.rpartition(", ")
        variant, is_pair, baseline = pair.rpartition(" - ")
        if measure and is_pair:
            unit = f" ({finding.unit})" if finding.unit else ""
            compared.setdefault(baseline, {}).setdefault(variant, {})[f"{measure}{unit}"] = finding
        else:
            others.append(finding)
    parts = []
    for baseline, variants in compared.items():
        measures = list(dict.fromkeys(measure for row in variants.values() for measure in row))
        lines = [
            [variant, *(difference(row.get(measure)) for measure in measures)]
            for variant, row in variants.items()
        ]
        parts.append(TextTable([f"less {baseline}", *measures], lines).markdown())
    if others:
        parts.append(
            TextTable(["measure", "value", "95 %", "n", "verdict"], list(map(cells, others))).markdown()
        )
    return "\n\n".join(parts) + "\n"


def difference(finding: Finding | None) -> str:
    """Return a difference with its interval, in bold where that excludes zero."""
    if finding is None or math.isnan(finding.value):
        return ""
    if finding.low is None or finding.high is None:
        return f"{finding.value:+.2f}"
    written = f"{finding.value:+.2f} ({finding.low:+.2f} to {finding.high:+.2f})"
    return f"**{written}**" if finding.excludes_zero else written


def cells(finding: Finding) -> list[str]:
    """Return a finding as the cells of a row."""
    known = finding.low is not None and finding.high is not None
    ends = f"{finding.low:.3g} to {finding.high:.3g}" if known else ""
    value = "" if math.isnan(finding.value) else f"{finding.value:.3g} {finding.unit}".strip()
    return [finding.measure, value, ends, str(finding.repeats), finding.verdict]


def command(page: Path) -> str:
    """Return the command that a page says it was made by."""
    found = re.search(r"<code>(.*?)</code>", page.read_text(encoding="utf-8"))
    return html.unescape(found[1]) if found else ""


if __name__ == "__main__":
    main()
