import csv
import dataclasses
import html.parser
import io

import pytest

pytest.importorskip("matplotlib", reason="needs matplotlib")

import mlx.core as mx
import numpy as np
from lab_helpers import tiny_lab, tiny_model

from betafold_mlx.lab import embeddings, limits, recipe
from betafold_mlx.lab.runner import EXPERIMENTS, read_findings, run_experiment, write_report
from betafold_mlx.lab.series import TrainedRun, base_config

pytestmark = pytest.mark.usefixtures("quick_folds")
TRAINED = ("norm", "dropout", "schedule", "distogram", "positions", "mask", "recipe")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    return tiny_lab(folder, model=str(tiny_model(folder / "model")))


@pytest.mark.parametrize(
    "name",
    [
        "dropout",
        *(pytest.param(name, marks=pytest.mark.slow) for name in TRAINED if name != "dropout"),
        "failures",
        pytest.param("limits", marks=pytest.mark.slow),
    ],
)
def test_an_experiment_fills_its_folder(lab, name, monkeypatch):
    monkeypatch.setattr(limits, "SAMPLES", 6)
    changes = recipe.changes
    assert len(changes(base_config(lab.budget))) == 9
    few = (recipe.BASELINE, "peptides only")  # the others take as long
    monkeypatch.setattr(recipe, "changes", lambda base: {name: changes(base)[name] for name in few})
    report = run_experiment(name, lab)
    files = write_report(lab.directory / name, EXPERIMENTS[name].title, f"lab {name}", report)
    assert all(file.is_file() and file.stat().st_size for file in files)
    assert report.findings and report.pictures
    for table in report.tables:
        rows = list(csv.DictReader(io.StringIO((lab.directory / name / f"{table}.csv").read_text())))
        assert rows and None not in rows[0] and len(rows) == len(report.tables[table])
    for picture in report.pictures:
        assert (lab.directory / name / f"{picture}.png").read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in (lab.directory / name / f"{picture}.svg").read_bytes()
    read = read_findings(lab.directory / name)
    assert [f.verdict for f in read] == [f.verdict for f in report.findings]
    page = (lab.directory / name / "index.html").read_text()
    assert page.count("data:image/png;base64,") == len(report.pictures)
    Strict().feed(page)


class Strict(html.parser.HTMLParser):
    """Finds what a page would have to fetch from elsewhere."""

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            assert name not in ("src", "href") or value.startswith("data:"), (tag, value)
        assert tag not in ("script", "link")


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(lab, tmp_path):
    again = dataclasses.replace(lab, directory=tmp_path)
    for one in (lab, again):
        report = run_experiment("dropout", one)
        write_report(one.directory / "once", "Dropout", "lab dropout", report)
    first, second = (
        {path.name: path.read_bytes() for path in (one.directory / "once").iterdir()} for one in (lab, again)
    )
    assert first == second


@pytest.mark.slow
def test_runs_are_shared_between_experiments(lab):
    run_experiment("norm", lab)
    before = len(list((lab.directory / "runs").iterdir()))
    run_experiment("dropout", lab)  # its baseline is that of norm
    run_experiment("norm", lab)
    assert len(list((lab.directory / "runs").iterdir())) <= before + 2


def run_of(validation, training):
    curve = [
        {"step": 10 * (i + 1), "validation": {"ramachandran_loss": v}, "train": {"ramachandran_loss": t}}
        for i, (v, t) in enumerate(zip(validation, training, strict=True))
    ]
    return TrainedRun(0, curve, [], [], [], {})


@pytest.mark.parametrize(
    ("validation", "training", "step"),
    [
        ([3, 2, 1], [3, 2, 1], None),  # still learning
        ([3, 1, 2], [3, 2, 1], 20),  # overfits after step 20
        ([3, 1, 2], [3, 1, 2], None),  # both get worse: that is something else
        ([1, 2, 3], [3, 2, 1], 10),
    ],
)
def test_the_onset_of_overfitting(validation, training, step):
    assert recipe.onset(run_of(validation, training)) == step


@pytest.mark.slow
def test_depth_trains_on_fixed_windows(lab, monkeypatch):
    monkeypatch.setattr(recipe, "SHAPES", ((1, 8), (4, 8)))
    report = run_experiment("depth", lab)
    assert "losses" in report.pictures and len(report.tables["overfitting"]) == 2


@pytest.mark.slow
def test_embeddings_of_a_random_network(lab, monkeypatch):
    monkeypatch.setitem(embeddings.SIZES, "8M", (1, 16, 2, 32))
    report = run_experiment("embeddings", lab)
    assert [row["variant"] for row in report.tables["runs"]] == [embeddings.BASELINE, embeddings.RANDOM]
    first, second = (embeddings.random_esm().embed(["GIGKF"])[0] for _ in range(2))
    assert np.array_equal(first, second) and first.shape == (5, 16) and np.isfinite(first).all()
    assert not mx.array_equal(mx.array(first[0]), mx.array(first[2])).item()  # the two G stand elsewhere


def test_a_lever_is_found():
    from synthetic import backbone_of

    from betafold_mlx.evaluate.items import Item
    from betafold_mlx.geometry import backbone_torsions, build_backbone
    from betafold_mlx.lab.failures import lever
    from betafold_mlx.peptide.sequence import Peptide, residue_ids

    sequence = "AEKLAEKLVGAEKLAEKL"
    native = backbone_of(sequence, np.random.default_rng(0), noise=0.0)
    torsions = np.array(backbone_torsions(mx.array(native[None]))[0])
    torsions[0, 9, 1] += 1.5
    bent = np.array(build_backbone(mx.array(torsions), mx.array(residue_ids(sequence))[None]))[0]
    place, left = lever(Item("x", "free", Peptide.of(sequence), native, 0), bent)
    assert place == 9 and left < 0.05
