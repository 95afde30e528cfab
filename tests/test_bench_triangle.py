"""The section `triangle` of `scripts/bench`: what it measures, its exponents, its words and its plot."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"
sys.path.insert(0, str(SCRIPTS))

import _bench_triangle  # noqa: E402
from _bench_triangle_report import exponent, lines, plot, summary  # noqa: E402


def law(form, power, factor, what="attention"):
    return [
        {
            **{"what": what, "form": form, "width": 32, "length": n},
            **{"seconds": 2 * factor * n**power, "cpu_seconds": factor * n**power, "peak_bytes": 5.0 * n**2},
        }
        for n in (128, 32, 64)
    ]


@pytest.fixture
def rows():
    """softmax is fastest at 32 and slowest at 128; both meet between."""
    return [*law("softmax", 3, 1e-9), *law("additive", 2, 50e-9), *law("additive without bias", 2, 1e-9)]


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
    assert "softmax, width 32" in text and "time n^3.0 (3.0), memory n^2.0" in text
    assert "n = 128: additive is fastest of additive, softmax; the slowest takes 2.56 times" in text
    assert json.dumps(found)


def test_the_last_doubling_shows_what_constants_hide():
    rows = law("softmax", 3, 1e-9)
    for row in rows:
        row["cpu_seconds"] += 1e-3
    (found,) = summary(rows)["exponents"]
    assert found["time"] < found["time_last"] < 3


def test_the_plot(rows, tmp_path):
    pytest.importorskip("matplotlib")
    plot([*rows, *law("gated", 3, 1e-9, "update")], tmp_path / "x.svg")
    assert "<svg" in (tmp_path / "x.svg").read_text()


def test_all_forms_are_measured_and_the_longest_of_linear_ones_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(_bench_triangle, "LENGTHS", (8, 16))
    monkeypatch.setattr(_bench_triangle, "LONGEST", 32)
    monkeypatch.setattr(_bench_triangle, "WIDTHS", (32,))
    monkeypatch.setattr(_bench_triangle, "PAIRS", 64)
    monkeypatch.setattr("_bench_measure.BUDGET", 0.0)
    rows = _bench_triangle.triangle(tmp_path, quick=False)
    forms = {(row["what"], row["form"]) for row in rows}
    assert len(forms) == 7 and ("update", "gated") in forms
    longest = {(row["what"], row["form"]) for row in rows if row["length"] == 32}
    assert longest == {("attention", f) for f in ("additive", "gated", "additive without bias")}
    assert all(row["seconds"] > 0 and row["peak_bytes"] > 0 for row in rows)
    memory = {(r["form"], r["length"]): r["peak_bytes"] for r in rows if r["what"] == "attention"}
    assert memory["softmax", 16] > 16**3 * 4  # it holds at least one number for each triangle


def test_an_unknown_section_is_refused():
    command = [sys.executable, str(SCRIPTS / "_bench.py"), "square"]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True)
    assert done.returncode == 2 and "triangle" in done.stderr and "Traceback" not in done.stderr
