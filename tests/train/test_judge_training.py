"""Decoys, and the training of the judge on them."""

import dataclasses
import math

import mlx.core as mx
import numpy as np
import pytest
from synthetic import make_dataset
from train_helpers import TINY, all_bytes

from betafold_mlx.data.template_library import build_template_library
from betafold_mlx.data.windows import WindowSampler
from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.companions import JUDGE
from betafold_mlx.model.config import JudgeConfig
from betafold_mlx.model.directory import named_arrays
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.model.judge import Verdict
from betafold_mlx.train import decoys as making
from betafold_mlx.train.batches import make_batch
from betafold_mlx.train.checkpoint import start_run
from betafold_mlx.train.decoys import fold_decoys, load_decoys, make_decoys
from betafold_mlx.train.judge_settings import JudgeTrainConfig
from betafold_mlx.train.judge_trainer import (
    CHOICE,
    RMSD_FLOOR,
    JudgeTrainer,
    judge_figures,
    judge_loss,
    some_candidates,
)

SMALL = JudgeTrainConfig(
    network=JudgeConfig(states=TINY.network.width, width=16, layers=1, heads=2, ffn_width=16, pair_width=8),
    model_sha256="m" * 64,
    peptides=3,
    candidates=4,
    steps=6,
    evaluate_every=3,
    warmup=1,
    average=0.5,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make three batches of decoys of a tiny untrained network."""
    dataset = make_dataset()
    mx.random.seed(1)
    model = FoldingModel(TINY.network)
    sampler = WindowSampler(dataset, PADDED_LENGTHS, 3, TINY.sampler)
    folder = tmp_path_factory.mktemp("decoys")
    make_decoys(folder, model, sampler, build_template_library(dataset), range(3))
    return folder, model, sampler


def files(folder):
    return sorted(folder.glob("decoys_*.safetensors"))


def test_decoys_are_compared_with_the_truth(made):
    _, model, sampler = made
    windows, padded = sampler.batch(0)
    batch = make_batch(windows, padded)
    decoys = fold_decoys(model, batch, [window.peptide for window in windows], None, 1.0, 0)
    assert np.array(decoys.made).all()
    points = np.array(decoys.inputs.coordinates, np.float64)
    for row, window in enumerate(windows):
        n = len(window.peptide)
        truth = window.coordinates[:, :3].astype(np.float64).reshape(-1, 3)
        for sample in range(points.shape[1]):
            model_points = points[row, sample, :n, :3].reshape(-1, 3)
            a, b = truth - truth.mean(axis=0), model_points - model_points.mean(axis=0)
            u, s, v = np.linalg.svd(a.T @ b)
            s[-1] *= np.sign(np.linalg.det(u @ v))
            rmsd = math.sqrt(max(0.0, ((a**2).sum() + (b**2).sum() - 2 * s.sum()) / len(a)))
            assert decoys.rmsd[row, sample].item() == pytest.approx(rmsd, abs=2e-3)


def test_decoys_come_back_from_their_files_and_are_made_once(made, monkeypatch):
    folder, model, sampler = made
    first = load_decoys(files(folder)[0])
    assert first.inputs.states.dtype == mx.float32 and first.made.dtype == mx.bool_
    assert first.lddt.min().item() >= 0 and first.lddt.max().item() <= 1
    before = all_bytes(folder)
    monkeypatch.setattr(making, "fold_decoys", None)  # would fail if called
    told = []
    found = make_decoys(folder, model, sampler, None, range(3), told=lambda: told.append(1))
    assert found == files(folder) and len(told) == 3 and all_bytes(folder) == before


def test_the_structure_itself_is_hidden_from_its_decoys(made, monkeypatch):
    _, model, sampler = made
    seen = []

    def look_up(peptides, library, max_identity):
        seen.append(max_identity)
        raise InterruptedError

    monkeypatch.setattr(making, "find_templates", look_up)
    library = build_template_library(sampler.dataset)
    low, high = making.HIDDEN_IDENTITY
    monkeypatch.setattr(making, "WITHOUT_TEMPLATES", 0.0)
    with pytest.raises(InterruptedError):
        make_decoys(made[0] / "other", model, sampler, library, range(1))
    assert low <= seen[0] <= high < 1


def test_the_loss_is_that_of_float64(made):
    decoys = load_decoys(files(made[0])[0])
    rng = np.random.default_rng(0)
    shape = decoys.lddt.shape
    logits, log_rmsd = rng.normal(size=shape), rng.normal(size=shape[:2])
    made_ones = np.ones(shape[:2], bool)
    made_ones[0, -1] = False
    decoys = decoys._replace(made=mx.array(made_ones))
    verdict = Verdict(mx.array(logits.astype(np.float32)), mx.array(log_rmsd.astype(np.float32)))
    rmsd, lddt, mask = (np.array(a, np.float64) for a in (decoys.rmsd, decoys.lddt, decoys.inputs.mask))
    expected = []
    for row in range(shape[0]):
        chosen = np.flatnonzero(made_ones[row])
        real = mask[row] > 0
        p = 1 / (1 + np.exp(-logits[row, chosen][:, real]))
        t = lddt[row, chosen][:, real]
        entropy = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
        squares = np.mean((log_rmsd[row, chosen] - np.log(rmsd[row, chosen] + RMSD_FLOOR)) ** 2)
        chance = np.exp(-log_rmsd[row, chosen] / CHOICE)
        choice = (chance / chance.sum() * rmsd[row, chosen]).sum() / (rmsd[row, chosen].mean() + RMSD_FLOOR)
        expected.append([entropy, squares, choice])
    loss, parts = judge_loss(verdict, decoys)
    assert [parts[name].item() for name in ("lddt", "rmsd", "choice")] == pytest.approx(
        np.mean(expected, axis=0), rel=1e-4
    )
    assert loss.item() == pytest.approx(np.mean(expected, axis=0).sum(), rel=1e-4)


def test_a_step_sees_some_candidates_each_with_its_own_worth(made):
    decoys = load_decoys(files(made[0])[0])
    some = some_candidates(decoys, np.random.default_rng(1), SMALL)
    assert some.rmsd.shape == (SMALL.peptides, SMALL.candidates)
    whole = np.array(decoys.inputs.coordinates)
    for row in range(SMALL.peptides):
        for column in range(SMALL.candidates):
            own = np.array(some.inputs.coordinates[row, column])
            place = np.argwhere((whole == own).all(axis=(2, 3, 4)))
            values = [decoys.rmsd[int(i), int(j)].item() for i, j in place]
            assert some.rmsd[row, column].item() in values


def test_figures_of_a_judge_that_knows_all_are_those_of_the_best(made):
    validation = [load_decoys(path) for path in files(made[0])]
    answers = iter(Verdict(mx.zeros(each.lddt.shape), mx.log(each.rmsd)) for each in validation)
    figures = judge_figures(lambda inputs: next(answers), validation)
    assert figures["score"] == pytest.approx(figures["best"]) and figures["best"] < figures["mean"]


def test_a_stopped_and_resumed_training_ends_in_the_same_bytes(made, tmp_path):
    paths = files(made[0])

    def trainer(run, resume=False):
        return JudgeTrainer(tmp_path / run, paths[:2], paths[2:], SMALL, resume)

    for run in ("whole", "parts"):
        start_run(tmp_path / run, SMALL, "d" * 64)
    assert trainer("whole").run()
    parts = trainer("parts")
    parts.run(lambda figures: figures["step"] == 2 and parts._interrupt(2, None))
    assert parts.progress.step < 6 and trainer("parts", resume=True).run()
    assert all_bytes(tmp_path / "whole") == all_bytes(tmp_path / "parts")
    judge = JUDGE.load(tmp_path / "whole" / "best", "m" * 64)
    assert judge.config == SMALL.network


def test_it_learns_to_tell_good_decoys_from_bad(made, tmp_path):
    paths = files(made[0])
    config = JudgeTrainConfig(
        network=SMALL.network, peptides=12, candidates=5, steps=60, evaluate_every=30, warmup=5
    )
    start_run(tmp_path / "run", config, "d" * 64)
    trainer = JudgeTrainer(tmp_path / "run", paths, paths, config)
    before = judge_figures(trainer.model, trainer.validation)["loss"]
    trainer.run()
    assert judge_figures(trainer.model, trainer.validation)["loss"] < before - 0.2


def test_a_training_starts_from_a_judge_of_another_network(made, tmp_path):
    paths = files(made[0])
    known = JudgeTrainer(tmp_path / "known", paths[:2], paths[2:], SMALL).model
    JUDGE.save(tmp_path, known, "o" * 64)
    other = dataclasses.replace(SMALL, seed=9)
    trainer = JudgeTrainer(tmp_path, paths[:2], paths[2:], other, start=JUDGE.load(tmp_path, None))
    for name, array in named_arrays(trainer.model.parameters()).items():
        np.testing.assert_allclose(
            np.array(array), np.array(named_arrays(known.parameters())[name]), atol=1e-3
        )


def test_without_decoys_there_is_nothing_to_learn_from(tmp_path):
    with pytest.raises(BetafoldError, match="no decoys"):
        JudgeTrainer(tmp_path, [], [], SMALL)
