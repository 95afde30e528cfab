"""Write the figures of `bench_triangle` into docs/pair-trunk.md and its picture: no number there is typed by hand.

python benchmarks/pair_trunk_page.py TRIANGLE.json docs/pair-trunk.md docs/pair-trunk.svg
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from bench_triangle import ATTENTION, GRADIENT, UNBIASED, UPDATE

from betafold_mlx.files import write_text

BEGIN, END = "<!-- bench triangle -->", "<!-- /bench triangle -->"
COMMAND = "OMP_NUM_THREADS=1 scripts/bench triangle --benchmark-timer=time.process_time"

Row = dict[str, Any]  # the fields of a Case, and ms, MB of one peptide


def read_rows(report: dict[str, Any]) -> list[Row]:
    """Return what was measured, a peptide's share of it: the fastest call, which other work disturbed least."""
    rows = []
    for each in report["benchmarks"]:
        extra = each["extra_info"]
        figures = {"ms": 1e3 * each["stats"]["min"] / extra["peptides"], "MB": extra["MB"]}
        rows.append(each["params"] | figures | {"difference": extra.get("difference in percent")})
    return rows


def read_series(rows: list[Row]) -> dict[tuple[int, str, str], list[Row]]:
    """Return the float32 rows of each (width, what, form) that was measured at several lengths, by length."""
    found: dict[tuple[int, str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["width"], row["length"])):
        if row["what"] in (ATTENTION, UPDATE) and row["dtype"] == "float32":
            found.setdefault((row["width"], row["what"], row["form"]), []).append(row)
    return {key: series for key, series in found.items() if len(series) > 1}


def exponent(rows: list[Row], quantity: str) -> float:
    """Return p of the power law n^p through the rows, by least squares of logarithms.

    >>> round(exponent([{"length": n, "ms": 5.0 * n**3} for n in (32, 64, 128)], "ms"), 6)
    3.0
    """
    lengths, values = ([row[name] for row in rows] for name in ("length", quantity))
    return float(np.polyfit(np.log(lengths), np.log(values), 1)[0])


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def name_of(row: Row) -> str:
    """Return what was measured in words."""
    return f"{row['what']}, {row['form']}" if row["form"] else row["what"]


def lengths_table(rows: list[Row]) -> str:
    """Return time and memory by length, with exponents through all lengths and through the last two."""
    all_series = read_series(rows)
    lengths = sorted({row["length"] for series in all_series.values() for row in series})
    lines = []
    for (width, _, _), series in all_series.items():
        cells = {row["length"]: f"{row['ms']:.3g} ms, {row['MB']:.2g} MB" for row in series}
        powers = [
            f"n^{exponent(series, name):.1f}, n^{exponent(series[-2:], name):.1f}" for name in ("ms", "MB")
        ]
        lines.append([str(width), name_of(series[0]), *(cells.get(n, "") for n in lengths), *powers])
    return table(["width", "", *(f"n = {n}" for n in lengths), "time", "memory"], lines)


def training_table(rows: list[Row]) -> str:
    """Return what a peptide costs in training: the updates of a block by width, and the structure."""
    found = [row for row in rows if row["what"] not in (ATTENTION, UPDATE) and row["dtype"] == "float32"]
    lines = [
        [name_of(row), str(row["length"]), str(row["width"]), f"{row['ms']:.3g} ms", f"{row['MB']:.2g} MB"]
        for row in sorted(found, key=lambda row: (row["what"] != GRADIENT, row["width"], row["form"]))
    ]
    return table(["one peptide", "n", "width", "time", "memory"], lines)


def precision_table(rows: list[Row]) -> str:
    """Return what half precision costs beside float32."""
    exact = {
        (row["what"], row["form"], row["length"], row["width"]): row
        for row in rows
        if row["dtype"] == "float32"
    }
    lines = []
    for row in rows:
        whole = exact[row["what"], row["form"], row["length"], row["width"]]
        if row is not whole and row["dtype"] != "float32":
            differs = f"{row['difference']:.2f} %" if row["difference"] is not None else ""
            ratios = [f"{row['ms'] / whole['ms']:.1f}", f"{row['MB'] / whole['MB']:.2f}"]
            lines.append(
                [name_of(row), str(row["length"]), str(row["width"]), row["dtype"], *ratios, differs]
            )
    return table(["", "n", "width", "type", "time by float32's", "memory by float32's", "difference"], lines)


def fastest_table(rows: list[Row]) -> str:
    """Return the fastest form of attention of each width and length."""
    same: dict[tuple[str, int, int], dict[str, float]] = {}
    for row in rows:
        if row["form"] not in ("", UNBIASED) and row["dtype"] == "float32":
            same.setdefault((row["what"], row["width"], row["length"]), {})[row["form"]] = row["ms"]
    lines = []
    for (what, width, length), forms in sorted(same.items()):
        if len(forms) > 1:
            slowest = max(forms.values()) / min(forms.values())
            lines.append(
                [what, str(width), str(length), f"`{min(forms, key=lambda f: forms[f])}`", f"{slowest:.2f}"]
            )
    return table(["", "width", "n", "fastest", "the slowest takes, times as long"], lines)


def page(text: str, report: dict[str, Any]) -> str:
    """Return a page with the tables of a report between its marks."""
    before, rest = text.split(BEGIN)
    rows, machine = read_rows(report), report["machine_info"]["betafold"]
    made = (
        f"`{COMMAND}`: {machine['processor']}, {machine['blas']}, MLX {machine['versions']['mlx']}, load "
        f"{machine['load']:.0f} on {machine['usable_processors']} processors. Of one peptide, forward: processor\n"
        "time, and memory beyond what is given; exponents of n through all lengths, and through the last two."
    )
    tables = [lengths_table(rows), training_table(rows), precision_table(rows), fastest_table(rows)]
    return "\n\n".join([f"{before}{BEGIN}\n{made}", *tables]) + f"\n{END}{rest.split(END)[1]}"


def draw(rows: list[Row]) -> Any:
    """Return a figure of time and memory against length, a column a width."""
    from betafold_mlx.lab.drawing import COLOURS, MARKS, new_figure, style

    def drawn() -> Any:
        all_series = read_series(rows)
        widths = sorted({width for width, _, _ in all_series})
        forms = list(dict.fromkeys(form for _, _, form in all_series))
        figure = new_figure(3.6 * len(widths) + 0.8, 7.6)
        axes = figure.subplots(2, len(widths), sharex=True, sharey="row", squeeze=False)
        for (width, what, form), series in all_series.items():
            number, line = forms.index(form), "-" if what == ATTENTION else "--"
            for place, quantity in enumerate(("ms", "MB")):
                label = (
                    f"{form}{'' if what == ATTENTION else ', block'}: n^{exponent(series[-2:], quantity):.1f}"
                )
                points = [row["length"] for row in series], [row[quantity] for row in series]
                style: dict[str, Any] = {"marker": MARKS[number], "color": COLOURS[number], "linestyle": line}
                axes[place, widths.index(width)].plot(*points, ms=4, label=label, **style)
        lengths = sorted({row["length"] for series in all_series.values() for row in series})
        legend: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14), "ncols": 2}
        for place, name in enumerate(("processor time of a peptide (ms)", "memory of a peptide (MB)")):
            axes[place, 0].set_ylabel(name)
            for axis, width in zip(axes[place], widths, strict=True):
                axis.set_xscale("log", base=2)
                axis.set_yscale("log")
                axis.set_xticks(lengths, [str(n) for n in lengths])
                axis.minorticks_off()
                axis.set_title("" if place else f"width {width}")
                axis.set_xlabel("residues n" if place else "")
                axis.legend(fontsize=6.5, title="exponent of the last doubling", title_fontsize=6.5, **legend)
        return figure

    with style():
        return drawn()


def main(saved: str, document: str, picture: str) -> None:
    """Write a saved report into the page, and draw its picture."""
    from betafold_mlx.lab.drawing import figure_bytes

    report = json.loads(Path(saved).read_text(encoding="utf-8"))
    write_text(Path(document), page(Path(document).read_text(encoding="utf-8"), report))
    Path(picture).write_bytes(figure_bytes(draw(read_rows(report)), Path(picture).suffix.removeprefix(".")))


if __name__ == "__main__":
    main(*sys.argv[1:])
