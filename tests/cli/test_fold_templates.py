"""`betafold-mlx fold --candidates` and `--templates`: where a model came from, and which files are refused."""

import json

import numpy as np
import pytest
from synthetic import HELIX, STRAND
from template_helpers import library_of

from betafold_mlx import Predictor
from betafold_mlx.cli.main import main
from betafold_mlx.errors import BetafoldError
from betafold_mlx.templates.library import LIBRARY_FILE

PEPTIDE = "GIGKFLHSAKKFGKAFVG"
BENT = np.concatenate([np.tile(HELIX, (9, 1)), np.tile(STRAND, (9, 1))])


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A library that has the peptide."""
    path = tmp_path_factory.mktemp("libraries") / "own.safetensors"
    library_of(["WWPHNDCCYWRRTPPGHE", (PEPTIDE, (), False, BENT)]).save(path)
    return path


@pytest.fixture
def fold(tmp_path, model, monkeypatch, capsys):
    """Call the command in an empty folder: exit code, JSON where all went well, standard error."""

    def call(*arguments, peptide=PEPTIDE, folder=model):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as ended:
            main(["fold", peptide, "--model", str(folder), "--json", *map(str, arguments)])
        out, err = capsys.readouterr()
        return ended.value.code, json.loads(out) if out else None, err

    return call


def models_of(document, record=0):
    return document["results"][record]["models"]


def test_models_say_their_template_and_their_clashes(fold, known, tmp_path):
    code, document, _ = fold("--templates", known, "--samples", "7", "--candidates", "5")
    models = models_of(document)
    assert code == 0 and len(models) == 7  # of seven drawn and two threaded
    assert json.loads((tmp_path / f"{PEPTIDE}.json").read_text())["models"] == models
    assert sorted(str(model["template"]) for model in models) == ["1ABC_A"] * 2 + ["None"] * 5
    (template,) = document["results"][0]["templates"]
    assert template["entry"] == "1ABC_A" and template["identity"] == template["coverage"] == 1.0
    assert 0.5 <= template["trust"] <= 1
    assert all(isinstance(model["clashes"], int) and model["clashes"] >= 0 for model in models)


@pytest.mark.parametrize("source", ["none", "auto"])
def test_without_templates_none_is_used(fold, source):
    code, document, _ = fold("--templates", source, "--samples", "5")
    assert code == 0 and [model["template"] for model in models_of(document)] == [None] * 5


def test_a_model_brings_templates_of_its_own(fold, known, model, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    for file in model.iterdir():
        (own / file.name).write_bytes(file.read_bytes())
    (own / LIBRARY_FILE).write_bytes(known.read_bytes())
    code, document, _ = fold("--samples", "9", folder=own)
    assert code == 0 and any(each["template"] for each in models_of(document))
    _, without, _ = fold("--samples", "9", "--templates", "none", folder=own)
    assert not any(each["template"] for each in models_of(without))
    _, named, _ = fold("--samples", "9", "--templates", known)
    assert models_of(named) == models_of(document)


def test_a_fasta_file_is_looked_up_too(fold, known, tmp_path):
    (tmp_path / "in.fasta").write_text(f">a\n{PEPTIDE}\n>b\nWTNYKDTWPEQRGCHMSL\n>c\nACDE\n")
    code, document, _ = fold("--templates", known, "--samples", "7", peptide="in.fasta")
    assert code == 0
    used = [sum(each["template"] is not None for each in models_of(document, n)) for n in range(3)]
    assert used[0] == 2 and used[2] == 0
    _, alone, _ = fold("--templates", known, "--samples", "7")
    for here, there in zip(models_of(document), models_of(alone), strict=True):
        assert here["template"] == there["template"] and here["clashes"] == there["clashes"]


def test_libraries_that_are_missing_or_damaged(fold, known, model, tmp_path):
    half, text = tmp_path / "half.safetensors", tmp_path / "text"
    half.write_bytes(known.read_bytes()[:600])
    text.write_text("no library\n")
    before = sorted(tmp_path.iterdir())
    for path, message in (
        (tmp_path / "missing", "no template library at"),
        (half, "is not a whole template library"),
        (text, "is not a whole template library"),
        (tmp_path, "no template library at"),
    ):
        code, document, err = fold("--templates", path)
        assert (code, document) == (1, None)
        (line,) = err.splitlines()
        assert line.startswith("betafold-mlx: ") and message in line and str(path) in line
        with pytest.raises(BetafoldError, match="template library"):
            Predictor.load(model, templates=path)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("candidates", ["0", "-1", "1001", "many"])
def test_impossible_numbers_of_candidates(fold, candidates):
    code, document, err = fold("--candidates", candidates)
    assert (code, document) == (2, None) and len(err.splitlines()) == 1 and "--candidates" in err


def test_the_best_of_the_candidates_are_returned(model):
    """Fewer samples than candidates: the first ones of the same ranking."""
    predictor = Predictor.load(model, templates=None)
    every = predictor.fold(PEPTIDE, samples=6, candidates=6)
    for samples in (1, 3):
        best = predictor.fold(PEPTIDE, samples=samples, candidates=6)
        np.testing.assert_array_equal(best.coordinates, every.coordinates[:samples])
        assert best.clashes == every.clashes[:samples] and len(best.threaded) == samples
    score = every.plddt.mean(axis=1) - 30.0 * np.array(every.clashes) / len(PEPTIDE)
    assert len(every.clashes) == 6 and len(np.unique(score.round(3))) > 1


def test_a_candidate_is_the_same_whatever_else_is_drawn(model, known):
    """The models of few candidates are among those of many; more candidates only add to them."""
    predictor = Predictor.load(model, templates=known)
    few = predictor.fold(PEPTIDE, samples=4, candidates=2)
    many = predictor.fold(PEPTIDE, samples=9, candidates=7)
    assert len(few.coordinates) == 4 and len(many.coordinates) == 9
    for coordinates, template in zip(few.coordinates, few.threaded, strict=True):
        same = [np.array_equal(coordinates, other, equal_nan=True) for other in many.coordinates]
        assert any(same)
        assert many.threaded[same.index(True)] == template
    for wrong in (0, -3):
        with pytest.raises(BetafoldError, match="candidates must be at least 1"):
            predictor.fold(PEPTIDE, candidates=wrong)
