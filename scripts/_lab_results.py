"""Write the findings of a lab folder into ``docs/lab.md``: no number there is typed by hand."""

from __future__ import annotations

import html
import math
import re
import sys
from pathlib import Path

from betafold_mlx.files import write_text
from betafold_mlx.lab.experiment import Finding
from betafold_mlx.lab.experiments import EXPERIMENTS
from betafold_mlx.lab.output import PAGE, read_findings

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "lab.md"
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
    parts = [section(name, folder / name) for name in EXPERIMENTS]
    if not any(parts):
        raise ValueError(
            f"{folder} holds no results: run `betafold-mlx lab all -o {folder} --data DATASET` first"
        )
    return text[:begin] + BEGIN + "\n\n" + "\n".join(part for part in parts if part) + "\n" + text[end:]


def section(name: str, folder: Path) -> str:
    """Return the table of an experiment in Markdown; nothing where it was not done."""
    findings = read_findings(folder)
    if not findings:
        return ""
    lines = [f"### `lab {name}`", "", f"`{command(folder / PAGE)}`", ""]
    lines += ["| measure | value | 95 % | n | verdict |", "|---|---|---|---|---|"]
    lines += [
        "| " + " | ".join(cell.replace("|", "/") for cell in cells(finding)) + " |" for finding in findings
    ]
    return "\n".join(lines) + "\n"


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
