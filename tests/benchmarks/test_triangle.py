"""The section `triangle` of `scripts/bench`: what it measures, its exponents, its words and its plot."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import _bench_triangle  # noqa: E402
import mlx.core as mx  # noqa: E402
from _bench_triangle_cases import (  # noqa: E402
    ATTENTION,
    FLOAT,
    GRADIENT,
    HALF,
    STRUCTURE,
    STRUCTURE_GRADIENT,
    UNBIASED,
    UPDATE,
    Case,
    cases,
)
from _bench_triangle_report import BEGIN, END, exponent, lines, page, plot, summary  # noqa: E402


def law(form, power, factor, what=ATTENTION):
    return [
        {
            **Case(what, form, n, 32)._asdict(),
            **{"seconds": 2 * factor * n**power, "cpu_seconds": factor * n**power, "peak_bytes": 5.0 * n**2},
        }
        for n in (128, 32, 64)
    ]


@pytest.fixture
def rows():
    """softmax is fastest at 32 and slowest at 128; both meet between."""
    return [*law("softmax", 3, 1e-9), *law("additive", 2, 50e-9), *law(UNBIASED, 2, 1e-9)]


def test_exponents_and_who_is_fastest(rows):
    assert exponent(rows[:3], "cpu_seconds") == pytest.approx(3)
    found = summary(rows)
    by_form = {e["form"]: e for e in found["exponents"]}
    for name, want in (("time", 3), ("time_last", 3), ("memory", 2)):
        assert by_form["softmax"][name] == pytest.approx(want)
    assert by_form["additive"]["time"] == pytest.approx(2)
    fastest = {f["length"]: (f["form"], f["slowest_by"]) for f in found["fastest"]}
    assert fastest[32] == ("softmax", pytest.approx(50 / 32))
    assert fastest[128] == ("additive", pytest.approx(128 / 50))
    text = "\n".join(lines(found))
    assert "| 32 | attention, softmax | 0.0328 ms, 0.0051 MB |" in text
    assert "| n^3.0, n^3.0 | n^2.0, n^2.0 |" in text
    assert "n = 128: additive is fastest of additive, softmax; the slowest takes 2.56 times" in text
    assert json.dumps(found)


def test_the_last_doubling_shows_what_constants_hide():
    rows = law("softmax", 3, 1e-9)
    for row in rows:
        row["cpu_seconds"] += 1e-3
    (found,) = summary(rows)["exponents"]
    assert found["time"] < found["time_last"] < 3


def test_half_precision_is_told_as_multiples_of_float32():
    whole = law("gated", 2, 1e-9, UPDATE)[1]
    half = {
        **whole,
        "dtype": HALF,
        "cpu_seconds": 7 * whole["cpu_seconds"],
        "peak_bytes": 2560.0,
        "difference": 0.004,
    }
    alone = {**half, "width": 64}
    found = summary([whole, half, alone])
    (row,) = found["precision"]
    assert row["time_by"] == pytest.approx(7) and row["memory_by"] == pytest.approx(0.5)
    assert not found["exponents"] and not found["fastest"]  # one length, one form
    assert f"| {UPDATE}, gated | 32 | 32 | bfloat16 | 7.0 | 0.50 | 0.40 % |" in "\n".join(lines(found))


def test_the_plot(rows, tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("x.svg", "y.svg"):
        plot([*rows, *law("gated", 3, 1e-9, UPDATE)], tmp_path / name)
    drawn = (tmp_path / "x.svg").read_text()
    assert "<svg" in drawn and drawn == (tmp_path / "y.svg").read_text()


def test_a_report_is_written_into_a_page(rows):
    machine = {"processor": "X", "blas": "Y", "usable_processors": 2, "threads": 1}
    machine |= {"versions": {"mlx": "1.2"}, "load_average": {"before": 0.4, "after": 2.6}}
    report = {"quick": True, "machine": machine, "sections": {"triangle": summary(rows)}}
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    written = page(text, report)
    assert written.startswith(
        f"before\n{BEGIN}\n`scripts/bench triangle --quick --threads 1`: X, Y, MLX 1.2, beside"
    )
    assert written.endswith(f"{END}\nafter\n") and "old" not in written and page(written, report) == written
    assert "\n| 32 | attention, softmax | 0.0328 ms" in written
    assert "\n| attention | 32 | 128 | `additive` | 2.56 |\n" in written
    document = (SCRIPTS.parent / "docs" / "pair-trunk.md").read_text()
    assert document.count(BEGIN) == document.count(END) == 1


def test_what_is_measured():
    full, quick = cases(False), cases(True)
    assert len(full) == len(set(full)) and len(quick) == len(set(quick)) and len(quick) < len(full) / 2
    for width in (32, 64, 128):
        for form in ("softmax", "additive", "gated"):
            for what in (ATTENTION, UPDATE):
                lengths = {
                    c.length for c in full if c[:2] == (what, form) and c.width == width and c.dtype == FLOAT
                }
                longest = {512} if what == ATTENTION and form != "softmax" else set()
                assert lengths == {32, 64, 128, 256} | longest
        for what in (UPDATE, GRADIENT):
            assert {c.dtype for c in full if c.what == what and c.width == width} == {FLOAT, HALF}
    assert {c.what for c in quick} == {ATTENTION, UPDATE, GRADIENT, STRUCTURE, STRUCTURE_GRADIENT}


@pytest.mark.parametrize(
    "case",
    [
        Case(ATTENTION, "softmax", 16, 32),
        Case(ATTENTION, UNBIASED, 16, 32),
        Case(UPDATE, "gated", 8, 32),
        Case(UPDATE, "gated", 8, 32, HALF),
        Case(GRADIENT, "additive", 8, 32),
        Case(GRADIENT, "gated", 8, 32, HALF),
        Case(STRUCTURE, "", 8, 32),
        Case(STRUCTURE_GRADIENT, "", 8, 32),
    ],
    ids=str,
)
def test_a_case_is_measured(case, monkeypatch, tmp_path):
    monkeypatch.setattr(_bench_triangle, "PAIRS", 256)
    monkeypatch.setattr("_bench_measure.BUDGET", 0.0)
    (tmp_path / "case.json").write_text(json.dumps(case._asdict()))
    row = _bench_triangle.one(tmp_path, quick=True)
    assert {key: row[key] for key in case._fields} == case._asdict()
    assert row["seconds"] > 0 and row["cpu_seconds"] > 0 and row["peak_bytes"] > 0 and row["calls"] == 2
    if case.form == "softmax":
        assert row["peak_bytes"] > 16**3 * 4  # it holds at least one number for each triangle
    assert ("difference" in row) == (case.dtype == HALF and case.what == UPDATE)
    assert 0 < row.get("difference", 0.01) < 0.05


def test_a_gradient_reaches_weights_and_pairs():
    ((weights, pairs),) = _bench_triangle._gradient(Case(GRADIENT, "gated", 8, 32), 1)()
    norms = [mx.abs(array).sum().item() for array in (pairs, weights["outgoing"]["project"]["weight"])]
    assert min(norms) > 0


def test_a_long_call_is_not_repeated(monkeypatch, tmp_path):
    monkeypatch.setattr(_bench_triangle, "LONG", 0.0)
    monkeypatch.setattr(_bench_triangle, "PAIRS", 64)
    (tmp_path / "case.json").write_text(json.dumps(Case(UPDATE, "gated", 8, 32)._asdict()))
    assert _bench_triangle.one(tmp_path, quick=False)["calls"] == 1


def bench(*arguments):
    command = [sys.executable, str(SCRIPTS / "_bench.py"), *arguments]
    return subprocess.run(command, env=dict(os.environ), capture_output=True, text=True)


def test_an_unknown_section_is_refused():
    done = bench("square")
    assert done.returncode == 2 and "triangle" in done.stderr and "Traceback" not in done.stderr


def test_a_plot_that_cannot_be_drawn_is_refused_at_once(tmp_path):
    pytest.importorskip("matplotlib")
    done = bench("triangle", "--plot", str(tmp_path / "x.pdf"))
    assert done.returncode == 1 and ".svg or .png" in done.stderr and "attention" not in done.stderr
