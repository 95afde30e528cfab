import dataclasses
import json

import pytest

pytest.importorskip("matplotlib", reason="needs matplotlib")

from distill_helpers import save_toy
from lab_helpers import tiny_lab
from synthetic import make_dataset

from betafold_mlx.data.store import Dataset
from betafold_mlx.distill.teacher import Teacher
from betafold_mlx.fold import closing
from betafold_mlx.fold.closing import ROUNDS
from betafold_mlx.lab import distilled_labels
from betafold_mlx.lab.runner import EXPERIMENTS, run_experiment, write_report


@pytest.fixture(autouse=True, scope="module")
def few_steps(quick_folds):
    """Few steps of minimisation, but as many as ever of closing: what has not its bonds is no label."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closing, "ROUNDS", ROUNDS)
        yield


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    said = []
    make_dataset(chains=3, peptides=2).save(folder / "data")
    lab = tiny_lab(folder, model=str(save_toy(folder / "teacher", sure=9.0)), say=said.append)
    return dataclasses.replace(lab, budget=dataclasses.replace(lab.budget, windows=3)), said


@pytest.fixture(scope="module")
def report(lab):
    return run_experiment("distill", lab[0])


def test_without_with_and_with_at_first(lab, report):
    lab, _ = lab
    rows = report.tables["runs"]
    assert [(row["variant"], row["seed"]) for row in rows] == [
        (name, 0) for name in (distilled_labels.ALONE, distilled_labels.MIXED, distilled_labels.REMOVED)
    ]
    column = next(name for name in rows[0] if name.startswith("backbone RMSD after folding"))
    assert len({row[column] for row in rows}) == 3
    steps = lab.budget.steps
    assert {row["step"] for row in report.tables["curves"]} == set(range(1, steps + 1))
    verdicts = [finding.verdict for finding in report.findings]
    for name, baseline in (
        (distilled_labels.MIXED, distilled_labels.ALONE),
        (distilled_labels.REMOVED, distilled_labels.ALONE),
        (distilled_labels.REMOVED, distilled_labels.MIXED),
    ):
        assert any(verdict.startswith(f"{name} against {baseline}, backbone RMSD") for verdict in verdicts)
    assert any("trained on another data set" in note for note in report.notes)
    assert any(f"after step {steps // 2} of {steps}" in note for note in report.notes)
    files = write_report(lab.directory / "distill", EXPERIMENTS["distill"].title, "lab distill", report)
    assert all(file.stat().st_size for file in files)


def test_the_mix_is_what_the_variant_says(lab, report):
    lab, _ = lab
    runs = (lab.directory / "runs").iterdir()
    mixes = [json.loads((path / "run.json").read_text())["settings"].get("mix") for path in runs]
    labels = next((lab.directory / "labels").iterdir())
    assert sum(mix is None for mix in mixes) == 1
    assert sorted(str(mix["until"]) for mix in mixes if mix) == ["2", "None"]
    made = Dataset.load(labels)
    assert made.origin == "distilled" and made.report["distillation"]["against"] == lab.dataset_sha256
    assert made.report["distillation"]["mutants"] == 12


def test_labels_are_made_once(lab, report):
    lab, said = lab
    said.clear()
    again = run_experiment("distill", lab)
    assert again.tables == report.tables
    assert said[0] == "12 mutants: labelled before" and all(line.endswith("before") for line in said)
    (before,) = (lab.directory / "labels").iterdir()
    said.clear()
    assert (
        distilled_labels.label_mutants(dataclasses.replace(lab, seed=1), Teacher.load([lab.model])) != before
    )
    assert said == ["labelling 12 mutants of training examples"]
