"""What `fold` shows on a terminal, and that programs which read its output get lines without colours as ever."""

import io
import itertools
import math
import re
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from cli_helpers import on_terminal
from hypothesis import given, settings
from hypothesis import strategies as st
from library_helpers import toy_predictor

from betafold_mlx.cli import fold as fold_module
from betafold_mlx.cli import results as results_module
from betafold_mlx.cli.main import main
from betafold_mlx.cli.progress import LiveLine, Progress
from betafold_mlx.cli.results import Results
from betafold_mlx.cli.table import LONGEST, MODELS, PALETTE, Row, Table, painted, rows_of
from betafold_mlx.cli.terminal import cells, clipped, columns, is_coloured, plain
from betafold_mlx.report.bands import BANDS, band_of

SGR = re.compile(r"\x1b\[48;5;(\d+);38;5;(\d+)m([^\x1b]*)\x1b\[0m")
PEPTIDE = "GIGKFLHSAKKF"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture(scope="module")
def predictions():
    predictor = toy_predictor()
    return [predictor.fold(PEPTIDE, id=name, samples=12) for name in ("a", "日本\x1b[31m\n\u202e", "n" * 99)]


def unpainted(text):
    return SGR.sub(r"\3", text)


def rgb(colour):
    """A colour of the palette of 256: a cube of six steps, which terminals leave as xterm made it."""
    steps = (0, 95, 135, 175, 215, 255)
    assert 16 <= colour <= 231
    return tuple(steps[(colour - 16) // weight % 6] for weight in (36, 6, 1))


def luminance(colour):
    parts = [value / 255 for value in colour]  # WCAG 2.2
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("band", BANDS, ids=lambda band: band.name)
def test_letters_are_legible_on_alphafolds_colours_whatever_the_terminal_is(band):
    ground, ink = map(rgb, PALETTE[band.key])
    wanted = tuple(int(band.colour[i : i + 2], 16) for i in (1, 3, 5))
    nearest = min(range(16, 232), key=lambda colour: math.dist(rgb(colour), wanted))
    assert nearest == PALETTE[band.key][0]
    light, dark = sorted((luminance(ground), luminance(ink)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


@settings(deadline=None)
@given(st.lists(st.floats(0, 100, width=32), min_size=1, max_size=LONGEST))
def test_each_letter_stands_on_the_colour_of_its_residue(plddt):
    structure = "".join("HEC"[i % 3] for i in range(len(plddt)))
    text = painted(structure, np.array(plddt, np.float32))
    parts = SGR.findall(text)
    assert unpainted(text) == structure and SGR.sub("", text) == ""
    colours = [int(ground) for ground, _, letters in parts for _ in letters]
    assert colours == [PALETTE[band_of(value).key][0] for value in plddt]
    assert all(a[0] != b[0] for a, b in itertools.pairwise(parts))  # no more codes than need be


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)
ROWS = st.lists(
    st.builds(
        lambda name, length, file: Row(
            plain(name), str(length), np.linspace(20, 99, length), "HEC"[length % 3] * length, file
        ),
        NAMES,
        st.integers(4, LONGEST),
        st.sampled_from(["a.cif", "out/sp_P12345_MAGA_XENLA.cif", "deep/er/" * 9 + "x.cif", ""]),
    ),
    min_size=1,
    max_size=5,
)


@settings(deadline=None)
@given(ROWS, st.integers(36, 200), st.booleans(), st.integers(1, 5))
def test_a_table_fits_and_keeps_all_but_long_names(rows, width, coloured, first):
    table = Table(coloured)
    parts = [table.text(rows[:first], width), table.text(rows[first:], width)]
    assert parts[0] == Table(coloured).text(rows[:first], width)  # waits for nothing that comes later
    lines = unpainted("".join(parts)).splitlines()
    assert all("\x1b" not in line for line in lines)
    assert lines[0].split()[:3] == ["id", "len", "pLDDT"]
    for line in lines:
        assert cells(line) <= width or line.strip() in {row.file for row in rows}, line
    text = "\n".join(lines)
    for row in rows:  # in their order, nothing lost
        pattern = rf"{row.length:>3}  {row.plddt.mean():>5.1f}\s+{row.structure}\s"
        found = re.search(pattern + (rf"\s*{re.escape(row.file)}(\n|$)" if row.file else ""), text + "\n")
        assert found, (row, text)
        text = text[found.end() - 1 :]


def test_columns_line_up_where_there_is_room():
    rows = [
        Row(name, "12", np.full(12, 80.0), "H" * 12, f"{name}.cif")
        for name in ("a", "bcd", "日本", "e\u0301")
    ]
    lines = unpainted(Table(True).text(rows, 80)).splitlines()
    places = {
        cells(line[: line.index(mark)]) for line, mark in zip(lines, ["structure", *["HH"] * 4], strict=True)
    }
    ends = {cells(line[: line.rindex("  ")]) for line in lines}
    assert len(places) == 1 and len(ends) == 1


def test_a_narrow_terminal_gets_the_parts_below_each_other():
    row = Row("magainin", "23", np.full(23, 71.0), "C" * 23, "out/magainin.cif")
    assert Table(False).text([row], 40).splitlines() == [
        "id        len  pLDDT",
        "  structure  file",
        "magainin   23   71.0",
        f"  {'C' * 23}",
        "  out/magainin.cif",
    ]


def test_a_row_a_peptide_and_further_models_where_they_are_wanted(predictions):
    assert [row.length for row in rows_of(predictions[0], "a.cif", False)] == ["12"]
    rows = rows_of(predictions[0], "a.cif", True)
    assert len(rows) == MODELS and [row.file for row in rows] == ["a.cif", *[""] * (MODELS - 1)]
    off = predictions[0].spread.rmsd_to_first[1]
    assert rows[1].name == f"  model 2, {off:.1f} A off"
    assert [row.structure for row in rows] == list(predictions[0].secondary_structure[:MODELS])


def test_no_header_steers_the_terminal(predictions, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr(sys, "stderr", Terminal())
    results = Results(as_json=False)
    for prediction in predictions:
        results.prediction(prediction, [tmp_path / "x.cif"])
    results.failure("b\x1b[2J\r\n", results_module.BetafoldError("wrong"))
    results.end()
    text = unpainted(sys.stdout.getvalue() + sys.stderr.getvalue())
    assert "日本?[31m??" in text and "b?[2J??: wrong" in text and "nn..." in text
    assert all(letter == "\n" or unicodedata.category(letter) not in ("Cc", "Cf") for letter in text)


def test_no_message_about_a_header_steers_the_terminal(tmp_path, monkeypatch, capsys):
    heads = ("n-cap=\x1b[31m", "disulfides=\x1b[31m", "cyclyc=\x1b]0;x\x07", "disulfide=1-2\x9b5m")
    (tmp_path / "in.fasta").write_text(
        "".join(f">{i} {head}\nGIGKFLHSAKKF\n" for i, head in enumerate(heads)) + ">x\nGIG\x1b[31mKF\n"
    )
    monkeypatch.setattr(fold_module, "_load", lambda *_: toy_predictor())
    with pytest.raises(SystemExit) as ended:
        main(["fold", str(tmp_path / "in.fasta"), "-o", str(tmp_path / "out")])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (1, "") and len(err.splitlines()) == 5
    assert all(letter == "\n" or letter.isprintable() for letter in err)


def test_rows_are_printed_when_they_come(predictions, tmp_path, monkeypatch):
    """Or a library of a million records would fill the memory."""
    monkeypatch.setattr(sys, "stdout", Terminal())
    results = Results(as_json=False)
    sizes = []
    for _ in range(3):
        results.prediction(predictions[0], [tmp_path / "x.cif"])
        results.flush()
        sizes.append(len(sys.stdout.getvalue().splitlines()))
        assert not results._rows and not results._lines
    assert sizes[1] - sizes[0] == sizes[2] - sizes[1] > 0


@pytest.mark.parametrize(
    ("environment", "on_a_terminal", "elsewhere"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "0"}, True, False),
        ({"CLICOLOR_FORCE": "1"}, True, True),
        ({"CLICOLOR_FORCE": "0"}, True, False),
        ({"CLICOLOR": "0"}, False, False),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True, True),
    ],
)
def test_who_wants_colours(monkeypatch, environment, on_a_terminal, elsewhere):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (is_coloured(Terminal()), is_coloured(io.StringIO())) == (on_a_terminal, elsewhere)


def test_text_is_cut_by_what_it_takes(monkeypatch):
    assert [clipped("日本語", width) for width in (6, 5, 4, 2)] == ["日本語", "日...", "...", ".."]
    assert columns(io.StringIO()) == 80
    monkeypatch.setenv("COLUMNS", "33")
    assert columns(Terminal()) == 33
    monkeypatch.setenv("COLUMNS", "no")
    assert columns(Terminal()) == 80


def test_a_live_line_stays_on_one_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr(sys, "stderr", Terminal())
    progress = Progress(10_000)
    progress.advance(2560)
    progress.hide()
    shown = sys.stderr.getvalue().split("\r\x1b[K")[1:]
    assert len(shown) == 2 and shown[0].startswith("[#####") and len(shown[0]) < 30 and shown[1] == ""
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stderr", Terminal())
    line = LiveLine()
    line.show("x")
    line.hide()
    assert sys.stderr.getvalue() == "" and not line.live


PROGRAM = (
    "import sys\nsys.path.insert(0, {tests!r})\nfrom library_helpers import Quick\n"
    "from betafold_mlx.cli import fold\nfold._load = lambda *_: Quick()\n"
    "from betafold_mlx.cli.main import main\n"
    "main(['fold', 'in.fasta', '-o', 'out', '--batch-size', '2', '--samples', '3'])"
)


@pytest.fixture
def library(tmp_path, request):
    (tmp_path / "in.fasta").write_text("".join(f">p{i}\x1b[2J\n{'ACDEFGHIKL' * 2}\n" for i in range(20)))
    return ["-c", PROGRAM.format(tests=str(request.path.parent))]


def plain_lines(text):
    lines = text.splitlines()
    assert len(lines) == 20
    for number, line in enumerate(lines):
        assert re.fullmatch(rf"p{number}\?\[2J +20  pLDDT +\d+\.\d  [HEC]{{20}}  out/p{number}__2J.cif", line)


def test_a_library_on_a_terminal(library, tmp_path):
    code, text = on_terminal(library, tmp_path)
    assert code == 0 and "[#####---------------]" not in text.rpartition("\r\x1b[K")[2]
    assert " of 20 peptides, " in text and SGR.search(text)
    seen = unpainted(re.sub(r"\r\x1b\[K(\[[^\r]*(?=\r))?", "", text))
    lines = seen.splitlines()
    assert lines[0].startswith("id") and "\x1b" not in seen
    assert [line.split()[0] for line in lines[1:]] == [f"p{number}?[2J" for number in range(20)]


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_library_on_a_terminal_without_colours(library, tmp_path, environment):
    code, text = on_terminal(library, tmp_path, **environment)
    assert code == 0 and "\x1b[4" not in text and "\x1b[3" not in text
    assert text.count("structure") == 1 and ">90" not in text
    if "TERM" in environment:
        assert "\x1b" not in text and "\r" not in text and "peptides" not in text


def test_output_for_programs_has_neither_header_nor_colours_nor_progress(library, tmp_path):
    """Whatever standard error is: a terminal shows the progress there."""
    done = subprocess.run([sys.executable, *library], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    plain_lines(done.stdout)
    with (tmp_path / "results").open("w") as stdout:
        code, text = on_terminal(library, tmp_path, stdout=stdout)
    assert code == 0 and (tmp_path / "results").read_text() == done.stdout
    assert " of 20 peptides, " in text and text.endswith("\r\x1b[K") and "pLDDT" not in text


def test_colours_can_be_forced_into_lines(library, tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    done = subprocess.run([sys.executable, *library], cwd=tmp_path, capture_output=True, text=True)
    assert SGR.search(done.stdout)
    plain_lines(unpainted(done.stdout))
