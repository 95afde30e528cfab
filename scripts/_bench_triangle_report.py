"""What the measurements of the pair trunk say: exponents, who is fastest where, tables and a plot.

    scripts/bench triangle --threads 1 --json > triangle.json
    .venv/bin/python scripts/_bench_triangle_report.py triangle.json docs/pair-trunk.md docs/pair-trunk.svg

writes them into the page, between its marks, and the picture beside it: no number there is typed by hand.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
from _bench_triangle_cases import ATTENTION, FLOAT, GRADIENT, STRUCTURE, STRUCTURE_GRADIENT, UNBIASED, UPDATE

from betafold_mlx.files import write_text

BEGIN, END = "<!-- bench triangle -->", "<!-- /bench triangle -->"

Row = dict[str, Any]
QUANTITIES = {"cpu_seconds": "time", "peak_bytes": "memory"}
"""Processor time, which other work on the machine changes less than time on the wall."""


def series(rows: list[Row]) -> dict[tuple[str, str, int], list[Row]]:
    """Return the float32 rows of each (what, form, width) that was measured at several lengths, by length."""
    found: dict[tuple[str, str, int], list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["width"], row["length"])):
        if row["what"] in (ATTENTION, UPDATE) and row["dtype"] == FLOAT:
            found.setdefault((row["what"], row["form"], row["width"]), []).append(row)
    return found


def exponent(rows: list[Row], quantity: str) -> float:
    """Return p of the power law n^p through the rows, by least squares of logarithms."""
    lengths, values = ([row[name] for row in rows] for name in ("length", quantity))
    return float(np.polyfit(np.log(lengths), np.log(values), 1)[0])


def summary(rows: list[Row]) -> dict[str, Any]:
    """Return the exponents of all series, the fastest form of each length and width, and what half precision costs.

    Returns
    -------
    dict
        ``exponents``: of each series for time and memory, through all lengths and through the last two, where
        constant costs matter least. ``fastest``: the form with the least processor time, and how many times as much
        the slowest takes. ``precision``: processor time and memory in half precision as multiples of float32's.
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
    same: dict[tuple[str, int, int], dict[str, float]] = {}
    for row in rows:
        if row["form"] not in ("", UNBIASED) and row["dtype"] == FLOAT:
            forms = same.setdefault((row["what"], row["width"], row["length"]), {})
            forms[row["form"]] = row["cpu_seconds"]
    fastest = [
        {
            **{"what": what, "width": width, "length": length},
            **{"form": min(forms, key=lambda form: forms[form]), "forms": sorted(forms)},
            "slowest_by": max(forms.values()) / min(forms.values()),
        }
        for (what, width, length), forms in sorted(same.items())
        if len(forms) > 1
    ]
    return {"rows": rows, "exponents": exponents, "fastest": fastest, "precision": _precision(rows)}


def _precision(rows: list[Row]) -> list[Row]:
    places = {(row["what"], row["form"], row["length"], row["width"], row["dtype"]): row for row in rows}
    found = []
    for (what, form, length, width, dtype), row in places.items():
        whole = places.get((what, form, length, width, FLOAT))
        if dtype != FLOAT and whole:
            ratios = {f"{name}_by": row[key] / whole[key] for key, name in QUANTITIES.items()}
            place = {"what": what, "form": form, "length": length, "width": width, "dtype": dtype}
            found.append({**place, **ratios, "difference": row.get("difference")})
    return found


def lines(section: dict[str, Any], fastest: bool = True) -> list[str]:
    """Return a report of `summary` as tables in Markdown, `fastest` in words."""
    rows = section["rows"]
    lengths = sorted({row["length"] for found in series(rows).values() for row in found})
    powers = {(e["what"], e["form"], e["width"]): e for e in section["exponents"]}
    text = [
        "  of one peptide, forward: processor time, and memory beyond what is given; exponents of n through all",
        "  lengths, and through the last two",
        "",
        f"  | width | | {' | '.join(f'n = {n}' for n in lengths)} | time | memory |",
        f"  |---|---|{'---|' * len(lengths)}---|---|",
    ]
    for (what, form, width), found in series(rows).items():
        cells = {row["length"]: f"{_time(row['cpu_seconds'])}, {_size(row['peak_bytes'])}" for row in found}
        fitted = ["", ""]
        if (what, form, width) in powers:
            p = powers[what, form, width]
            fitted = [f"n^{p[name]:.1f}, n^{p[f'{name}_last']:.1f}" for name in QUANTITIES.values()]
        shown = [str(width), f"{what}, {form}", *(cells.get(n, "") for n in lengths), *fitted]
        text.append(f"  | {' | '.join(shown)} |")
    if fastest:
        text.append("")
    for row in section["fastest"] if fastest else ():
        text.append(
            f"  {row['what']}, width {row['width']}, n = {row['length']}: {row['form']} is fastest of "
            f"{', '.join(row['forms'])}; the slowest takes {row['slowest_by']:.2f} times as long"
        )
    return text + _training(rows) + _halves(section["precision"])


def _training(rows: list[Row]) -> list[str]:
    """Return what a peptide costs in training: the updates of a block by width, and the structure."""
    found = [row for row in rows if row["what"] == GRADIENT and row["dtype"] == FLOAT]
    if not found:
        return []
    text = [
        "",
        "  | forth and back, one peptide | n | width | processor time | memory |",
        "  |---|---|---|---|---|",
    ]
    structure = [row for row in rows if row["what"] in (STRUCTURE, STRUCTURE_GRADIENT)]
    for row in [*sorted(found, key=lambda row: (row["width"], row["form"])), *structure]:
        name = f"{row['what']}, {row['form']}" if row["form"] else row["what"]
        cells = [
            name,
            str(row["length"]),
            str(row["width"]),
            _time(row["cpu_seconds"]),
            _size(row["peak_bytes"]),
        ]
        text.append(f"  | {' | '.join(cells)} |")
    return text


def _halves(found: list[Row]) -> list[str]:
    """Return what half precision costs beside float32."""
    if not found:
        return []
    text = ["", "  | | n | width | dtype | time by float32's | memory by float32's | difference |"]
    text.append("  |---|---|---|---|---|---|---|")
    for row in found:
        differs = "" if row["difference"] is None else f"{100 * row['difference']:.2f} %"
        cells = [f"{row['what']}, {row['form']}", str(row["length"]), str(row["width"]), row["dtype"]]
        cells += [f"{row['time_by']:.1f}", f"{row['memory_by']:.2f}", differs]
        text.append(f"  | {' | '.join(cells)} |")
    return text


def check_plot(path: Path) -> None:
    """Check that a plot can be drawn into a file, before minutes are spent on what it shows.

    Raises
    ------
    click.ClickException
        matplotlib is not installed, or the file has another ending.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise click.ClickException("--plot needs matplotlib: pip install -e '.[bench]'")
    if path.suffix not in (".svg", ".png"):
        raise click.ClickException(f"--plot {path}: name a file that ends in .svg or .png")


def plot(rows: list[Row], path: Path) -> None:
    """Draw time and memory against length, a column a width, as ``.svg`` or ``.png``."""
    from betafold_mlx.lab.figures import figure_bytes

    path.write_bytes(figure_bytes(_figure(rows), path.suffix.removeprefix(".")))


def _figure(rows: list[Row]) -> Any:
    from betafold_mlx.lab.figures import COLOURS, MARKS, new_figure, styled

    @styled
    def draw() -> Any:
        widths = sorted({width for _, _, width in series(rows)})
        lengths = sorted({row["length"] for found in series(rows).values() for row in found})
        figure = new_figure(3.6 * len(widths) + 0.8, 7.6)
        axes = figure.subplots(2, len(widths), sharex=True, sharey="row", squeeze=False)
        forms = list(dict.fromkeys(form for _, form, _ in series(rows)))
        for (what, form, width), found in series(rows).items():
            column, number = widths.index(width), forms.index(form)
            for place, (quantity, scale) in enumerate((("cpu_seconds", 1e3), ("peak_bytes", 1e-6))):
                power = f": n^{exponent(found[-2:], quantity):.1f}" if len(found) > 1 else ""
                axes[place, column].plot(
                    [row["length"] for row in found],
                    [scale * row[quantity] for row in found],
                    marker=MARKS[number],
                    ms=4,
                    color=COLOURS[number],
                    linestyle="-" if what == ATTENTION else "--",
                    label=f"{form}{'' if what == ATTENTION else ', block'}{power}",
                )
        for place, name in enumerate(("processor time of a peptide (ms)", "memory of a peptide (MB)")):
            for column, width in enumerate(widths):
                axis = axes[place, column]
                axis.set_xscale("log", base=2)
                axis.set_yscale("log")
                axis.set_xticks(lengths, [str(n) for n in lengths])
                axis.minorticks_off()
                axis.set_title(f"width {width}" if not place else "")
                axis.set_xlabel("residues n" if place else "")
                axis.legend(
                    fontsize=6.5,
                    title="exponent of the last doubling",
                    title_fontsize=6.5,
                    loc="upper center",
                    bbox_to_anchor=(0.5, -0.14),
                    ncols=2,
                )
                if not column:
                    axis.set_ylabel(name)
        return figure

    return draw()


def _time(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


def _size(count: float) -> str:
    return f"{count / 1e6:.2g} MB" if count < 1e7 else f"{count / 1e6:.0f} MB"


def page(text: str, report: dict[str, Any]) -> str:
    """Return a page with the tables of a report of ``scripts/bench triangle --json`` between its marks."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    section, machine = report["sections"]["triangle"], report["machine"]
    options = f"{' --quick' if report['quick'] else ''} --threads {machine['threads']}"
    load = machine["load_average"]
    made = (
        f"`scripts/bench triangle{options}`: {machine['processor']}, {machine['blas']}, "
        f"MLX {machine['versions']['mlx']}, beside other work (load {load['before']:.0f} to {load['after']:.0f} on "
        f"{machine['usable_processors']} processors)."
    )
    tables = [line.strip() for line in lines(summary(section["rows"]), fastest=False)]
    best = [
        [row["what"], str(row["width"]), str(row["length"]), f"`{row['form']}`", f"{row['slowest_by']:.2f}"]
        for row in section["fastest"]
    ]
    head = ["", "| | width | n | fastest | the slowest takes, times as long |", "|---|---|---|---|---|"]
    rows = [f"| {' | '.join(cells)} |" for cells in best]
    return f"{before}{BEGIN}\n{made}\n\n" + "\n".join([*tables, *head, *rows]) + f"\n{END}{after}"


def main(arguments: list[str]) -> None:
    """Write a saved report into a page, and its picture."""
    if len(arguments) != 3:
        sys.exit("usage: _bench_triangle_report.py REPORT.json PAGE.md PICTURE.svg")
    saved, document, picture = map(Path, arguments)
    report = json.loads(saved.read_text(encoding="utf-8"))
    write_text(document, page(document.read_text(encoding="utf-8"), report))
    plot(report["sections"]["triangle"]["rows"], picture)


if __name__ == "__main__":
    main(sys.argv[1:])
