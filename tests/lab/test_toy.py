import dataclasses

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs matplotlib")

import mlx.core as mx
from lab_helpers import TINY

from betafold_mlx.lab import toy
from betafold_mlx.lab.runner import Lab


@pytest.mark.parametrize(("mask", "reach"), toy.MASKS.items())
def test_questions_listen_to_the_letters_that_the_mask_shows(mask, reach):
    mx.random.seed(0)
    _, attention = toy.ToyModel()(mx.zeros((1, toy.LENGTH), dtype=mx.int32), reach)
    weights = np.array(attention[0])
    assert weights.sum(axis=1) == pytest.approx(np.ones(toy.LENGTH), abs=1e-5)
    ahead = np.subtract.outer(np.arange(toy.LENGTH), np.arange(toy.LENGTH)).T
    seen = ahead <= reach
    rows = [i for i in range(toy.LENGTH) if seen[i].any()]
    assert (weights[rows][~seen[rows]] == 0).all() and (weights[rows][seen[rows]] > 0).all()


def test_a_question_answers_by_listening_alone():
    mx.random.seed(0)
    model = toy.ToyModel()
    letters = np.random.default_rng(0).integers(0, 20, (1, toy.LENGTH))
    other = letters.copy()
    other[0, 5] = (other[0, 5] + 1) % 20
    first, second = (np.array(model(mx.array(x.astype(np.int32)), 0)[0])[0] for x in (letters, other))
    changed = np.abs(first - second).max(axis=1) > 0
    assert changed.tolist() == [False] * 5 + [True] * (toy.LENGTH - 5)  # the causal mask


def test_what_the_mask_hides_is_not_learned(monkeypatch):
    monkeypatch.setattr(toy, "LENGTH", 6)  # smaller and sooner learned
    monkeypatch.setattr(toy, "MASKS", {"causal": 0, "none": 6, "shifted": -1})
    learned = toy.train_toy("look ahead", "none", 250, 0)
    assert learned.final < toy.SOLVED and toy.on_target(learned.attention, 1) > 0.9
    hidden = toy.train_toy("look ahead", "causal", 100, 0)
    assert hidden.final > 0.9 * toy.GUESSING


def test_the_experiment_says_what_leaks(monkeypatch, tmp_path):
    def trained(task, mask, steps, seed):
        final = 0.01 if toy.allowed(task, mask) else 3.1
        attention = np.eye(toy.LENGTH)
        return toy.ToyRun([3.0, final], final, np.roll(attention, toy.TASKS[task], axis=1))

    monkeypatch.setattr(toy, "train_toy", trained)
    report = toy.run_toy(Lab(tmp_path, dataclasses.replace(TINY, repeats=2)))
    verdicts = {tuple(f.verdict.split(":")[0].split(", mask ")): f.verdict for f in report.findings}
    leaks = [key for key, verdict in verdicts.items() if "leak" in verdict]
    assert leaks == [("look ahead", "none")]
    assert "not learned, as the mask hides" in verdicts["copy", "shifted"]
    assert "with 100% of the attention" in verdicts["look back", "shifted"]
    assert len(report.tables["losses"]) == 18 and set(report.pictures) == {"losses", "attention"}
