import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="needs matplotlib")

from betafold_mlx.lab.runner import Finding, LabReport, read_findings, write_report

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "_lab_results.py"
FINDINGS = [
    Finding("RMSD, a - b", "Å", 0.1234, -0.5, 0.75, 3, "a against b: no difference seen."),
    Finding("RMSD, c - b", "Å", float("nan"), None, None, 0, "c against b: nothing to compare."),
    Finding("phi error, c - b", "°", 2.0, 1.0, 3.0, 3, "c against b: worse."),
    Finding("loss of copy", "nats", 0.1234, None, None, 3, "learned | well."),
]

PAIRS = {"b - a": 1.0, "c - a": 2.0, "c - b": 3.0}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("lab_results", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_those_of_the_files(script, tmp_path):
    command = "betafold-mlx lab norm --data 'a <b>'"
    write_report(tmp_path / "norm", "Norm", command, LabReport(FINDINGS))
    text = f"before\n{script.BEGIN}\nold numbers\n{script.END}\nafter\n"
    written = script.with_results(text, tmp_path)
    assert written.startswith("before\n") and written.endswith("\nafter\n") and "old numbers" not in written
    assert f"### `lab norm`\n\n`{command}`" in written
    assert "| less b | RMSD (Å) | phi error (°) |\n|---|---|---|\n" in written
    assert "| a | +0.12 (-0.50 to +0.75) |  |\n| c |  | **+2.00 (+1.00 to +3.00)** |\n" in written
    assert "| loss of copy | 0.123 nats |  | 3 | learned / well. |" in written
    assert script.with_results(written, tmp_path) == written


def test_each_baseline_has_a_table_of_its_own(script):
    found = [Finding(f"RMSD, {pair}", "Å", value, None, None, 3, "") for pair, value in PAIRS.items()]
    assert script.tables(found) == (
        "| less a | RMSD (Å) |\n|---|---|\n| b | +1.00 |\n| c | +2.00 |\n\n"
        "| less b | RMSD (Å) |\n|---|---|\n| c | +3.00 |\n"
    )


@pytest.mark.parametrize(
    ("document", "names"), [("CARD", "ON_CARD"), ("PAIRS", "OF_PAIRS"), ("GENERATOR", "OF_GENERATOR")]
)
def test_the_other_documents_have_their_marks(script, document, names):
    text = getattr(script, document).read_text()
    for name in getattr(script, names):
        assert text.count(f"<!-- lab {name} -->") == text.count(f"<!-- /lab {name} -->") == 1


def test_what_stands_on_another_page_is_not_repeated(script, tmp_path):
    for name in ("width", "norm"):
        write_report(tmp_path / name, "X", f"betafold-mlx lab {name}", LabReport(FINDINGS[:1]))
    text = script.with_results(f"{script.BEGIN}\n{script.END}", tmp_path)
    assert "lab norm" in text and "lab width" not in text
    write_report(tmp_path / "alone" / "width", "X", "betafold-mlx lab width", LabReport(FINDINGS[:1]))
    assert script.with_results(text, tmp_path / "alone") == text  # nothing of its own: the page stays
    marked = "<!-- lab width -->\nold\n<!-- /lab width -->"
    assert "| a | +0.12 (-0.50 to +0.75) |" in script.between_marks(marked, tmp_path, ["width"])


def test_means_stand_above_the_comparisons(script, tmp_path):
    shapes = [
        {"variant": "a", "steps": 1530, "lDDT": 62.624, "lDDT low": 62.382, "lDDT high": 62.867},
        {"variant": "b", "steps": 200, "lDDT": 60.5, "lDDT low": None, "lDDT high": None},
    ]
    write_report(
        tmp_path / "width", "X", "betafold-mlx lab width", LabReport(FINDINGS[:1], {"shapes": shapes})
    )
    written = script.between_marks("<!-- lab width --><!-- /lab width -->", tmp_path, ["width"])
    assert "|  | steps | lDDT |\n|---|---|---|\n" in written
    assert "| a | 1530 | 62.62 (62.38 to 62.87) |\n| b | 200 | 60.50 |\n\n| less b |" in written


def test_the_card_has_the_tables_of_its_experiments(script, tmp_path):
    write_report(tmp_path / "recipe", "Recipe", "betafold-mlx lab recipe", LabReport(FINDINGS[:1]))
    text = (
        "<!-- lab recipe -->\nstale\n<!-- /lab recipe -->\n<!-- lab limits -->\nkept\n<!-- /lab limits -->\n"
    )
    written = script.between_marks(text, tmp_path, script.ON_CARD)
    assert "stale" not in written and "kept" in written and "`betafold-mlx lab recipe`" in written
    assert (
        "| a | +0.12 (-0.50 to +0.75) |" in written
        and script.between_marks(written, tmp_path, script.ON_CARD) == written
    )


def test_findings_come_back_as_they_were(tmp_path):
    write_report(tmp_path / "norm", "Norm", "x", LabReport(FINDINGS[:1]))
    assert read_findings(tmp_path / "norm") == FINDINGS[:1]


def test_nothing_is_written_where_there_is_nothing(script, tmp_path):
    with pytest.raises(ValueError, match="no results"):
        script.with_results(f"{script.BEGIN}\n{script.END}", tmp_path)
    with pytest.raises(ValueError, match="marks"):
        script.with_results("text", tmp_path)
    ended = subprocess.run([sys.executable, SCRIPT, tmp_path], capture_output=True, text=True)
    assert ended.returncode == 1 and "holds no results" in ended.stderr and "Traceback" not in ended.stderr


def test_the_document_has_its_marks(script):
    assert script.BEGIN in script.DOCUMENT.read_text() and script.END in script.DOCUMENT.read_text()
