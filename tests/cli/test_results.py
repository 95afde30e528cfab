"""What `fold` prints: lines, a table on a terminal, and one JSON document, piece by piece."""

import contextlib
import json
import re
import subprocess
import sys
import unicodedata

import mlx.core as mx
import pytest
from cli_helpers import on_terminal
from synthetic import toy_model

from betafold_mlx import Predictor
from betafold_mlx.cli import results as results_module
from betafold_mlx.cli.progress import Progress
from betafold_mlx.cli.results import Results
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import to_json
from betafold_mlx.model.directory import LoadedModel


@pytest.fixture(scope="module")
def predictions(tmp_path_factory):
    mx.random.seed(0)
    predictor = Predictor(LoadedModel(toy_model(), "toy", "0" * 64, tmp_path_factory.mktemp("toy")))
    return [predictor.fold("GIGKFLHSAKKF", id=name) for name in ("é\n\"'", "b\x1b[31m\u202e", "a" * 50)]


@pytest.fixture
def keep():
    """Close results when the test ends."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context


@pytest.mark.parametrize(
    ("count", "errors", "resumed"), [(0, 0, None), (1, 0, 7), (3, 2, None), (0, 2, None), (3, 0, None)]
)
def test_the_document_is_what_to_json_would_write(
    predictions, tmp_path, capsys, keep, count, errors, resumed
):
    results = keep(Results(as_json=True))
    if resumed is not None:
        results.resumed(resumed)
    for number in range(max(count, errors)):
        if number < errors:
            results.failure(f"bad {number}", BetafoldError("is 'wrong'\n"))
        if number < count:
            results.prediction(predictions[number], [tmp_path / "x.cif"])
        results.flush()
    results.end()
    document = {
        "schema_version": 1,
        **({} if resumed is None else {"resumed_after": resumed}),
        "results": [p.to_dict() | {"files": [str(tmp_path / "x.cif")]} for p in predictions[:count]],
        "errors": [{"id": f"bad {number}", "error": "is 'wrong'\n"} for number in range(errors)],
    }
    out, err = capsys.readouterr()
    assert out == to_json(document) and json.loads(out) == document
    assert err.count("is 'wrong'") == errors


def test_lines_share_a_column_and_steer_no_terminal(predictions, tmp_path, capsys):
    results = Results(as_json=False)
    for chunk in ([1], [2, 1], [1]):
        for number in chunk:
            results.prediction(predictions[number], [tmp_path / "x.cif"])
        results.flush()
    results.end()
    out = capsys.readouterr().out
    assert [line.index("12  pLDDT") for line in out.splitlines()] == [9, 42, 42, 42]
    assert "b?[31m?  " in out and "\x1b" not in out and "\u202e" not in out


def test_messages_do_not_flood(capsys, monkeypatch, keep):
    monkeypatch.setattr(results_module, "MAX_MESSAGES", 3)
    results = keep(Results(as_json=True))
    for number in range(9):
        results.failure(f"p{number}", BetafoldError("wrong"))
    results.end()
    out, err = capsys.readouterr()
    assert err.splitlines()[2:] == [
        "betafold-mlx: p2: wrong",
        "betafold-mlx: more messages like this are in summary.csv",
    ]
    assert len(json.loads(out)["errors"]) == 9


def test_no_progress_without_a_terminal_but_now_and_then_a_line(capsys, monkeypatch):
    with Progress("peptides", 3) as progress:
        progress.advance(2)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("betafold_mlx.cli.progress._SECONDS", -1.0)
    with Progress("peptides", 3) as progress:
        progress.advance(2)
    assert re.fullmatch(r"(0 of 3 peptides\n)?2 of 3 peptides, [\d.,]+ a second\n", capsys.readouterr().err)


PROGRAM = (
    "import sys\nsys.path.insert(0, {tests!r})\nfrom library_helpers import Quick\n"
    "from betafold_mlx.cli import fold\nfold._load = lambda *_: Quick()\n"
    "from betafold_mlx.cli.main import main\n"
    "main(['fold', 'in.fasta', '-o', 'out', '--batch-size', '2', '--samples', '3', '--processes', '1'])"
)


@pytest.fixture
def library(tmp_path, request):
    (tmp_path / "in.fasta").write_text("".join(f">p{i}\x1b[2J\n{'ACDEFGHIKL' * 2}\n" for i in range(20)))
    return ["-c", PROGRAM.format(tests=str(request.path.parents[1]))]


def seen(text):
    """Leave out colours and what moves the cursor; a line that is written anew is a line."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r", "\n")


def test_a_library_on_a_terminal(library, tmp_path):
    code, text = on_terminal(library, tmp_path, columns="120")
    assert code == 0 and "/20 peptides" in seen(text) and "\x1b[" in text and "\x1b[2J" not in text
    rows = re.findall(r"^p(\d+)\?\[2J +20 +\d+\.\d +[HEC]{20} +out/p\1__2J\.cif *$", seen(text), re.MULTILINE)
    assert [int(row) for row in rows] == list(range(20))
    assert seen(text).count("structure") == 1
    assert all(c in "\n\r\x1b" or unicodedata.category(c) not in ("Cc", "Cf") for c in text)


def test_a_narrow_terminal_loses_nothing(library, tmp_path):
    code, text = on_terminal(library, tmp_path, columns="40", NO_COLOR="1")
    assert code == 0 and "\x1b[3" not in text and "\x1b[4" not in text
    letters = "".join(re.findall(r"[HEC]{2,}", seen(text)))
    assert len(letters) >= 380 and seen(text).count(".cif") >= 15


def test_output_for_programs_has_neither_header_nor_colours_nor_progress(library, tmp_path):
    """Whatever standard error is: a terminal shows the progress there."""
    done = subprocess.run([sys.executable, *library], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    for number, line in enumerate(lines):
        assert re.fullmatch(rf"p{number}\?\[2J +20  pLDDT +\d+\.\d  [HEC]{{20}}  out/p{number}__2J.cif", line)
    assert len(lines) == 20
    with (tmp_path / "results").open("w") as stdout:
        code, text = on_terminal(library, tmp_path, stdout=stdout)
    assert code == 0 and (tmp_path / "results").read_text() == done.stdout
    assert "/20 peptides" in seen(text) and "pLDDT" not in text
