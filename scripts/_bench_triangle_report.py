"""What the measurements of triangle attention say: exponents, who is fastest where, tables and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

Row = dict[str, Any]
QUANTITIES = {"cpu_seconds": "time", "peak_bytes": "memory"}
"""Processor time, which other work on the machine changes less than time on the wall."""


def series(rows: list[Row]) -> dict[tuple[str, str, int], list[Row]]:
    """Return the rows of each (what, form, width), by length."""
    found: dict[tuple[str, str, int], list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["length"]):
        found.setdefault((row["what"], row["form"], row["width"]), []).append(row)
    return found


def exponent(rows: list[Row], quantity: str) -> float:
    """Return p of the power law n^p through the rows, by least squares of logarithms."""
    lengths, values = ([row[name] for row in rows] for name in ("length", quantity))
    return float(np.polyfit(np.log(lengths), np.log(values), 1)[0])


def summary(rows: list[Row]) -> dict[str, Any]:
    """Return the exponents of all series, and the fastest form of each length and width.

    Returns
    -------
    dict
        ``exponents``: of each series for time and memory, through all lengths and through the last two, where
        constant costs matter least. ``fastest``: the form with the least processor time, and how many times as much
        the slowest takes.
    """
    exponents = [
        {
            **{"what": what, "form": form, "width": width},
            **{name: exponent(found, quantity) for quantity, name in QUANTITIES.items()},
            **{f"{name}_last": exponent(found[-2:], quantity) for quantity, name in QUANTITIES.items()},
        }
        for (what, form, width), found in series(rows).items()
        if len(found) > 1
    ]
    fastest = []
    for what, width, length in sorted({(r["what"], r["width"], r["length"]) for r in rows}):
        same = [r for r in rows if (r["what"], r["width"], r["length"]) == (what, width, length)]
        forms = {r["form"]: r["cpu_seconds"] for r in same if "without" not in r["form"]}
        best = min(forms, key=lambda form: forms[form])
        fastest.append(
            {
                **{"what": what, "width": width, "length": length, "form": best},
                "slowest_by": max(forms.values()) / forms[best],
                "forms": sorted(forms),
            }
        )
    return {"rows": rows, "exponents": exponents, "fastest": fastest}


def lines(section: dict[str, Any]) -> list[str]:
    """Return a report of `summary` as text."""
    text = [
        "  a peptide, forward: wall and (processor) time; exponents of processor time, of all lengths (the last two)"
    ]
    powers = {(e["what"], e["form"], e["width"]): e for e in section["exponents"]}
    for key, rows in series(section["rows"]).items():
        what, form, width = key
        cells = "  ".join(
            f"{row['length']}: {_time(row['seconds'])} ({_time(row['cpu_seconds'])}) "
            f"{row['peak_bytes'] / 1e6:.1f} MB"
            for row in rows
        )
        text.append(f"  {what} {form}, width {width}:  {cells}")
        if key in powers:
            p = powers[key]
            text.append(
                f"    time n^{p['time']:.1f} ({p['time_last']:.1f}), "
                f"memory n^{p['memory']:.1f} ({p['memory_last']:.1f})"
            )
    for row in section["fastest"]:
        text.append(
            f"  {row['what']}, width {row['width']}, n = {row['length']}: {row['form']} is fastest of "
            f"{', '.join(row['forms'])}; the slowest takes {row['slowest_by']:.2f} times as long"
        )
    return text


def plot(rows: list[Row], path: Path) -> None:
    """Draw time and memory against length, a column a width.

    Raises
    ------
    click.ClickException
        matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise click.ClickException("--plot needs matplotlib: pip install -e '.[bench]'") from error
    widths = sorted({row["width"] for row in rows})
    figure = Figure(figsize=(4 * len(widths) + 2, 7.5), layout="constrained")
    axes = figure.subplots(2, len(widths), sharex=True, sharey="row", squeeze=False)
    for column, width in enumerate(widths):
        for (what, form, its_width), found in series(rows).items():
            if its_width != width:
                continue
            for place, (quantity, scale) in enumerate((("cpu_seconds", 1e3), ("peak_bytes", 1e-6))):
                axes[place, column].plot(
                    [row["length"] for row in found],
                    [scale * row[quantity] for row in found],
                    marker="o",
                    linestyle="-" if what == "attention" else "--",
                    label=f"{what}, {form}: n^{exponent(found[-2:], quantity):.1f}"
                    if len(found) > 1
                    else form,
                )
        for place, name in enumerate(("processor ms a peptide", "MB a peptide")):
            axis = axes[place, column]
            axis.set_xscale("log", base=2)
            axis.set_yscale("log")
            axis.set_title(f"width {width}")
            axis.set_xlabel("residues n")
            axis.legend(fontsize=6, title="exponent of the last doubling", title_fontsize=6)
            if not column:
                axis.set_ylabel(name)
    figure.savefig(path)


def _time(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"
