"""What `fold` prints: lines and one JSON document, piece by piece."""

import contextlib
import json

import mlx.core as mx
import pytest
from toy_models import toy_model

from betafold_mlx import Predictor
from betafold_mlx.cli import results as results_module
from betafold_mlx.cli.progress import Progress, progress_line
from betafold_mlx.cli.results import Results
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import to_json
from betafold_mlx.model.directory import LoadedModel


@pytest.fixture(scope="module")
def predictions(tmp_path_factory):
    mx.random.seed(0)
    predictor = Predictor(LoadedModel(toy_model(), "toy", "0" * 64, tmp_path_factory.mktemp("toy")))
    return [predictor.fold("GIGKFLHSAKKF", id=name) for name in ("é\n\"'", "b", "a" * 50)]


@pytest.fixture
def keep():
    """Close results when the test ends."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("errors", [0, 2])
@pytest.mark.parametrize("resumed", [None, 7])
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


def test_lines_share_a_column(predictions, tmp_path, capsys):
    results = Results(as_json=False)
    for chunk in ([1], [2, 1], [1]):
        for number in chunk:
            results.prediction(predictions[number], [tmp_path / "x.cif"])
        results.flush()
    results.end()
    lines = capsys.readouterr().out.splitlines()
    assert [line.index("12  pLDDT") for line in lines] == [3, 42, 42, 42]


def test_messages_do_not_flood(capsys, monkeypatch, keep):
    monkeypatch.setattr(results_module, "MOST_MESSAGES", 3)
    results = keep(Results(as_json=True))
    for number in range(9):
        results.failure(f"p{number}", BetafoldError("wrong"))
    results.end()
    out, err = capsys.readouterr()
    assert err.splitlines()[2:] == [
        "betafold-mlx: p2: wrong",
        "betafold-mlx: there is more of this kind: see summary.csv",
    ]
    assert len(json.loads(out)["errors"]) == 9


def test_progress_counts_the_rate_of_this_run_only(capsys):
    assert progress_line(0, 10, 0, 0.0).endswith(" 0 a second, 0:00:00 left")
    assert progress_line(900, 1000, 100, 10.0).endswith(" 10 a second, 0:00:10 left")
    assert progress_line(10, 10, 10, 1.0).startswith("[" + 20 * "#" + "]")
    assert progress_line(11, 10, 11, 1.0) == "11 peptides, 11 a second"  # the file grew
    progress = Progress(3)
    progress.advance(2)
    progress.hide()
    assert capsys.readouterr().err == ""  # no terminal
