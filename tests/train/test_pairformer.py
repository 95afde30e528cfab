"""Training with the pair trunk: in pieces, with recycling, stopped and resumed, and from the command line."""

import dataclasses
import json
import os
import signal

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from cli_helpers import run
from mlx.utils import tree_flatten, tree_map
from synthetic import make_dataset
from train_helpers import OPTIONS, TINY, all_bytes, train

from betafold_mlx import device
from betafold_mlx.data.windows import WindowSampler
from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.directory import load_model
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.inputs import PADDED_LENGTHS, collate
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.train.batches import make_batch
from betafold_mlx.train.checkpoint import read_run, start_run
from betafold_mlx.train.loop import Trainer
from betafold_mlx.train.losses import total_loss
from betafold_mlx.train.microbatch import MICROBATCH, in_microbatches

NETWORK = dataclasses.replace(TINY.network, trunk="pairformer", pair_width=32, pair_blocks=1, recycles=2)
CONFIG = dataclasses.replace(TINY, network=NETWORK)
PAIRS = ["--trunk", "pairformer", "--pair-width", "32", "--pair-blocks", "1", "--recycles", "1"]


@pytest.fixture(scope="module")
def dataset():
    return make_dataset(held_out=1)  # the confidence is fitted on validation: that takes the time


@pytest.fixture(autouse=True)
def small_microbatches(monkeypatch):
    for trunk in MICROBATCH:
        monkeypatch.setitem(MICROBATCH, trunk, 3)


def test_a_stopped_and_resumed_run_ends_in_the_same_bytes(tmp_path, dataset):
    train(tmp_path / "whole", dataset, CONFIG)
    start_run(tmp_path / "parts", CONFIG, "d" * 64)
    trainer = Trainer(tmp_path / "parts", dataset, CONFIG, "d" * 64)

    def interrupt(figures):
        if figures["step"] == 3 and "loss" in figures:
            os.kill(os.getpid(), signal.SIGINT)

    assert trainer.run(interrupt) is False
    mx.random.seed(99)
    config = read_run(tmp_path / "parts", "d" * 64)
    assert config == CONFIG
    assert Trainer(tmp_path / "parts", dataset, config, "d" * 64, resume=True).run() is True
    assert all_bytes(tmp_path / "whole") == all_bytes(tmp_path / "parts")
    loaded = load_model(tmp_path / "whole" / "best")
    assert loaded.model.config == NETWORK
    card = (tmp_path / "whole" / "best" / "README.md").read_text()
    assert "32 channels, gated triangle attention with 2 heads, run up to 2 times again" in card
    folded = loaded.model(collate([Peptide.of("GIGKFLHSAKKF")]), return_attention=True)
    assert mx.isfinite(folded.coordinates).all().item() and len(folded.attention) == 1


def test_it_learns_the_rule_of_the_data_and_fits_its_confidence(tmp_path, dataset):
    network = dataclasses.replace(NETWORK, recycles=1)
    changes = {"network": network, "steps": 80, "warmup": 5, "evaluate_every": 80, "calibrate": True}
    train(tmp_path / "run", dataset, dataclasses.replace(CONFIG, **changes))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    for part in ("torsion_loss", "distogram_loss"):
        losses = [line[part] for line in lines if part in line]
        assert np.mean(losses[-16:]) < 0.85 * np.mean(losses[:8]), part
    calibrated = load_model(tmp_path / "run" / "best").model.calibration
    assert float(calibrated.bias) != 0


def test_each_step_draws_its_number_of_passes_and_the_same_again(tmp_path, dataset):
    def passes(directory, network, steps):
        start_run(directory, CONFIG, "d" * 64)
        config = dataclasses.replace(CONFIG, network=network)
        trainer = Trainer(directory, dataset, config, "d" * 64)
        seen = []
        for step in range(steps):
            trainer.progress.step = step
            asked = set()

            def stands_in(batch, keys, recycles, asked=asked):
                asked.add(recycles)
                return (mx.zeros(()), {}), tree_map(mx.zeros_like, trainer.model.trainable_parameters())

            trainer._step(stands_in)
            (number,) = asked  # one for all pieces of a step
            seen.append(number)
        return seen

    first = passes(tmp_path / "one", NETWORK, 30)
    assert set(first) == {0, 1, 2}
    assert passes(tmp_path / "two", NETWORK, 30) == first
    assert set(passes(tmp_path / "none", dataclasses.replace(NETWORK, recycles=0), 3)) == {0}


@pytest.mark.skipif(mx.default_device().type != mx.DeviceType.cpu, reason="a GPU takes the batch as it is")
def test_the_gradient_in_microbatches_is_that_of_the_batch(dataset, monkeypatch):
    mx.random.seed(0)
    model = FoldingModel(dataclasses.replace(NETWORK, recycles=1))
    model.update(tree_map(lambda a: a + 0.05 * mx.random.normal(a.shape), model.trainable_parameters()))
    windows, padded = WindowSampler(dataset, PADDED_LENGTHS, 0, TINY.sampler).batch(0)
    batch = make_batch(windows, padded)
    keys = mx.random.split(mx.random.key(1), len(windows))
    assert len(windows) % 3  # the last piece is smaller, and must count less

    def loss(batch, keys):
        return total_loss(model(batch.inputs, keys), batch.targets, batch.inputs.mask, TINY.loss)

    function = nn.value_and_grad(model, loss)
    whole = tree_flatten(function(batch, keys))
    one, two = [], []
    for found, number in ((one, 1), (two, 3)):
        monkeypatch.setattr(device, "blas_threads", lambda number=number: number)
        found += tree_flatten(in_microbatches(model, function, batch, keys, 3))
    for (name, ours), (_, others), (_, theirs) in zip(one, two, whole, strict=True):
        assert mx.array_equal(ours, others).item(), name  # whatever runs beside it
        size = float(mx.abs(theirs).max())
        np.testing.assert_allclose(np.array(ours), np.array(theirs), atol=1e-4 * size + 1e-7, err_msg=name)


@pytest.mark.skipif(mx.default_device().type != mx.DeviceType.cpu, reason="a GPU takes the batch as it is")
def test_an_error_in_a_piece_reaches_the_step(dataset):
    windows, padded = WindowSampler(dataset, PADDED_LENGTHS, 0, TINY.sampler).batch(0)

    def fails(batch, keys):
        raise BetafoldError(f"{len(keys)} examples")

    with pytest.raises(BetafoldError, match="3 examples"):
        in_microbatches(
            FoldingModel(NETWORK),
            fails,
            make_batch(windows, padded),
            mx.random.split(mx.random.key(1), len(windows)),
            3,
        )


# The command


def test_train_fold_and_evaluate(tmp_path, dataset):
    dataset.save(tmp_path / "set")
    for form in ("gated", "softmax"):
        code, out, err = run(
            *("train", tmp_path / "set", "-o", tmp_path / form, *OPTIONS, "--steps", "2"),
            *(*PAIRS, "--triangle", form),
        )
        assert code == 0, err
        network = json.loads((tmp_path / form / "best" / "config.json").read_text())["network"]
        assert (network["trunk"], network["triangle"], network["recycles"]) == ("pairformer", form, 1)
    code, out, err = run(
        *("fold", "GIGKFLHSAKKF", "--model", tmp_path / "gated" / "best", "--json"), cwd=tmp_path
    )
    assert code == 0 and len(json.loads(out)["results"]) == 1, err
    code, out, err = run(
        "evaluate", tmp_path / "set", "--model", tmp_path / "gated" / "best", "--json", "--samples", "1"
    )
    assert code == 0 and json.loads(out), err


def test_options_of_the_pairs_need_the_pair_trunk(tmp_path, dataset):
    dataset.save(tmp_path / "set")
    for option in (["--pair-width", "64"], ["--triangle", "gated"], ["--recycles", "1"]):
        code, _, err = run("train", tmp_path / "set", "-o", tmp_path / "run", *option)
        assert code == 2 and f"{option[0]} goes with --trunk pairformer" in err
    for option in (["--pair-width", "31"], ["--pair-blocks", "9"], ["--triangle", "square"]):
        code, _, err = run("train", tmp_path / "set", "-o", tmp_path / "run", *PAIRS, *option)
        assert code == 2 and option[0] in err
    code, _, err = run(
        "train", tmp_path / "set", "-o", tmp_path / "run", *OPTIONS, *PAIRS, "--triangle-heads", "5"
    )
    assert code == 1 and "triangle heads" in err and len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()
