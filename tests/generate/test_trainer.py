"""Training a generator: examples, runs that go on, model directories."""

import dataclasses
import json
import os
import signal

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
from generate_fakes import TINY as TINY_NETWORK
from generate_fakes import shaken
from mlx.utils import tree_flatten, tree_unflatten
from synthetic import make_dataset
from train_helpers import all_bytes

from betafold_mlx.data.sampling import SamplerConfig
from betafold_mlx.data.windows import WindowSampler
from betafold_mlx.errors import BetafoldError
from betafold_mlx.generate import trainer as trainer_module
from betafold_mlx.generate.flow import DISTANCE_WEIGHT
from betafold_mlx.generate.generator_config import (
    FlowConfig,
    GeneratorConfig,
    GeneratorTrainConfig,
    SamplingConfig,
)
from betafold_mlx.generate.network import load_generator
from betafold_mlx.generate.sampler import SampleSpec, sample_traces
from betafold_mlx.generate.scales import canonical_axes, resampling
from betafold_mlx.generate.trainer import (
    BETAS,
    GeneratorTrainer,
    draw_batch,
    make_optimizer,
    validation_traces,
)
from betafold_mlx.model.directory import load_arrays, load_model
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.structure.secondary import assign_secondary_structure
from betafold_mlx.train.checkpoint import read_run, start_run
from betafold_mlx.train.muon import in_blocks

TINY = GeneratorTrainConfig(
    network=GeneratorConfig(width=32, layers=1, decoder_layers=1, heads=4, ffn_width=64),
    tokens=96,
    steps=6,
    warmup=2,
    evaluate_every=3,
    learning_rate=3e-3,
)


@pytest.fixture(scope="module")
def dataset():
    return make_dataset(held_out=2)


def train(directory, dataset, config=TINY):
    start_run(directory, config, "d" * 64)
    trainer = GeneratorTrainer(directory, dataset, config, "d" * 64)
    return trainer, trainer.run()


# Examples


def sampler(dataset, tokens=512):
    return WindowSampler(dataset, PADDED_LENGTHS, 3, SamplerConfig(tokens=tokens, unstated_ring=0.0))


def test_a_batch_is_a_function_of_its_step(dataset):
    first, again, other = (draw_batch(sampler(dataset), step, 3) for step in (4, 4, 5))
    flat = [[np.array(array) for _, array in tree_flatten(batch)] for batch in (first, again, other)]
    assert all(np.array_equal(a, b) for a, b in zip(flat[0], flat[1], strict=True))
    assert flat[0][0].shape != flat[2][0].shape or not np.array_equal(flat[0][0], flat[2][0])


def open_chains(dataset):
    """The same without rings: those of this data set are open chains, which break where they are turned."""
    records = [dataclasses.replace(record, cyclic=False) for record in dataset.records]
    return dataclasses.replace(dataset, records=records)


def test_rings_are_stated_unless_they_are_cut(dataset):
    rings = {record.length for record in dataset.peptides("train") if record.cyclic}
    found = set()
    for step in range(12):
        batch = draw_batch(sampler(dataset), step, 3)
        cyclic = np.array(batch.layout.places[2])[:, 0, -1].astype(bool)
        found |= set(np.array(batch.layout.masks[2])[cyclic].sum(axis=1).tolist())
    assert found and found <= rings


def test_examples_are_traces_in_the_standard_orientation(dataset):
    seen = set()
    for step in range(12):
        batch = draw_batch(sampler(open_chains(dataset)), step, 3)
        for row in range(len(batch.traces[0])):
            length = int(np.array(batch.layout.masks[2])[row].sum())
            seen.add(length)
            trace = np.array(batch.traces[2])[row, :length]
            np.testing.assert_allclose(trace.mean(axis=0), 0, atol=1e-4)
            np.testing.assert_allclose(np.linalg.norm(np.diff(trace, axis=0), axis=1), 3.8, atol=0.1)
            np.testing.assert_allclose(canonical_axes(trace), np.eye(3), atol=1e-3)
            for coarse, mask in zip(batch.traces[:2], batch.layout.masks[:2], strict=True):
                size = int(np.array(mask)[row].sum())
                expected = resampling(length, size) @ trace
                np.testing.assert_allclose(np.array(coarse)[row, :size], expected, atol=1e-4)
    assert {8, 9} & seen and max(seen) > 24  # shorter ones than any window, too


def test_told_secondary_structure_is_that_of_the_trace(dataset):
    told = 0
    for step in range(8):
        batch = draw_batch(sampler(dataset), step, 3)
        for row, trace in enumerate(np.array(batch.traces[2])):
            mask = np.array(batch.layout.masks[2])[row]
            letters = assign_secondary_structure(trace[mask])
            states = np.array(batch.layout.states[2])[row][mask]
            for letter, state in zip(letters, states, strict=True):
                assert not state.any() or "HEC"[int(state.argmax())] == letter
            told += states.any()
    assert told > 5


def test_nothing_of_the_test_split_is_touched(dataset, monkeypatch):
    rows = [slice(r.start, r.start + r.length) for r in dataset.records if r.split == "test"]
    spoiled = dataset.coordinates.copy()
    for part in rows:
        spoiled[part] = np.nan
    changed = dataclasses.replace(dataset, coordinates=spoiled)
    arrays = [array for step in range(10) for _, array in tree_flatten(draw_batch(sampler(changed), step, 3))]
    arrays += [array for batch in validation_traces(changed, 3, 16) for _, array in tree_flatten(batch)]
    assert all(np.isfinite(np.array(array)).all() for array in arrays)


def test_validation_is_the_validation_split(dataset, monkeypatch):
    calls = []
    monkeypatch.setattr(trainer_module, "collate_traces", lambda traces, *_: calls.extend(traces))
    validation_traces(dataset, 3, 2)
    expected = [
        dataset.coordinates[start : start + f.length, 1]
        for f in dataset.fragments
        if f.split == "validation"
        for start in [dataset.records[f.record].start + f.start]
    ] + [
        dataset.coordinates[r.start : r.start + r.length, 1]
        for r in dataset.peptides("validation")
        if r.kind != "mhc_bound"
    ]
    assert len(calls) == len(expected) > 2
    assert {trace.tobytes() for trace in calls} == {np.asarray(e, np.float64).tobytes() for e in expected}


# Runs


def test_a_run_leaves_a_generator_metrics_and_a_checkpoint(tmp_path, dataset):
    trainer, finished = train(tmp_path / "run", dataset)
    assert finished and trainer.progress.step == 6
    loaded = load_generator(tmp_path / "run" / "best")
    assert loaded.model.config == TINY.network and loaded.trained_on == "d" * 64
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 7))
    assert [line["step"] for line in lines if "validation" in line] == [3, 6]
    flow, distance = np.mean([lines[0][f"scale_{k}_loss"] for k in (1, 2, 3)]), lines[0]["distance_loss"]
    assert distance > 0
    assert lines[0]["loss"] == pytest.approx(flow + DISTANCE_WEIGHT * distance, rel=1e-5)
    figures = lines[-1]["validation"]
    assert figures["score"] == pytest.approx(np.mean([figures[f"scale_{k}"] for k in (1, 2, 3)]), rel=1e-5)
    card = (tmp_path / "run" / "best" / "README.md").read_text()
    assert "noisy context, scheduled sampling, self-conditioning" in card and "without a sequence" in card


@pytest.mark.parametrize("stop_after", [2, 5])
def test_a_stopped_and_resumed_run_ends_in_the_same_bytes(tmp_path, dataset, stop_after):
    train(tmp_path / "whole", dataset)
    start_run(tmp_path / "parts", TINY, "d" * 64)
    trainer = GeneratorTrainer(tmp_path / "parts", dataset, TINY, "d" * 64)

    def interrupt(figures):
        if figures["step"] == stop_after and "loss" in figures:
            os.kill(os.getpid(), signal.SIGINT)

    assert trainer.run(interrupt) is False
    mx.random.seed(99)  # whatever the process did in between
    config = read_run(tmp_path / "parts", "d" * 64, GeneratorTrainConfig)
    assert config == TINY
    assert GeneratorTrainer(tmp_path / "parts", dataset, config, "d" * 64, resume=True).run() is True
    assert all_bytes(tmp_path / "whole") == all_bytes(tmp_path / "parts")


def test_a_kill_between_checkpoints_repeats_the_lost_steps(tmp_path, dataset):
    train(tmp_path / "whole", dataset)
    start_run(tmp_path / "parts", TINY, "d" * 64)

    def die(figures):
        if figures["step"] == 5:
            raise SystemExit  # stands in for kill -9: nothing is saved after step 3

    with pytest.raises(SystemExit):
        GeneratorTrainer(tmp_path / "parts", dataset, TINY, "d" * 64).run(die)
    trainer = GeneratorTrainer(tmp_path / "parts", dataset, TINY, "d" * 64, resume=True)
    assert trainer.progress.step == 3
    trainer.run()
    assert all_bytes(tmp_path / "whole") == all_bytes(tmp_path / "parts")


@pytest.mark.slow
def test_it_learns_the_shapes_of_the_data(tmp_path):
    """Helices and strands alone: less is open at each scale than the best linear guess knows."""
    config = dataclasses.replace(
        TINY,
        network=dataclasses.replace(TINY.network, width=64, ffn_width=128),
        tokens=192, steps=80, warmup=10, evaluate_every=80, learning_rate=4e-3,
        flow=FlowConfig(noisy_context=False, scheduled_sampling=False, self_conditioning=False),
    )  # fmt: skip
    train(tmp_path / "run", open_chains(make_dataset()), config)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = np.array([[line[f"scale_{k}_loss"] for k in (1, 2, 3)] for line in lines[:-1]])
    before, after = losses[:5].mean(axis=0), losses[-10:].mean(axis=0)
    assert (after < before * [0.6, 0.93, 0.9]).all(), (before, after)


@pytest.mark.parametrize(
    "change",
    [
        ["abc"],
        {"network": None},
        {"steps": None},
        {"tokens": float("nan")},
        {"flow": {"noisy_context": True}},
        {"flow": FlowConfig().__dict__ | {"noisy_context": "no"}},
        {"flow": FlowConfig().__dict__ | {"of_another_version": True}},
        {"of_another_version": 1},
    ],
)
def test_settings_of_something_else_are_one_line(tmp_path, change):
    start_run(tmp_path, TINY, "d" * 64)
    path = tmp_path / "run.json"
    document = json.loads(path.read_text())
    document["settings"] = change if isinstance(change, list) else document["settings"] | change
    path.write_text(json.dumps(document))
    with pytest.raises(BetafoldError) as error:
        read_run(tmp_path, "d" * 64, GeneratorTrainConfig)
    assert "\n" not in str(error.value)


def test_no_validation_data(tmp_path, dataset):
    records = [dataclasses.replace(record, split="train") for record in dataset.records]
    with pytest.raises(BetafoldError, match="no validation"):
        GeneratorTrainer(
            tmp_path, dataclasses.replace(dataset, records=records, fragments=[]), TINY, "d" * 64
        )


def test_predictions_are_not_trained_on(tmp_path, dataset):
    with pytest.raises(BetafoldError, match="distilled"):
        GeneratorTrainer(tmp_path, dataclasses.replace(dataset, origin="distilled"), TINY, "d" * 64)


def test_who_was_never_told_an_estimate_does_not_listen_to_one(tmp_path, dataset):
    """Sampling tells every model its own estimate: without training for it that would be noise."""
    for told in (True, False):
        flow = FlowConfig(self_conditioning=told)
        trainer, _ = train(tmp_path / str(told), dataset, dataclasses.replace(TINY, flow=flow))
        for model in (trainer.model, load_generator(tmp_path / str(told) / "best").model):
            assert (np.abs(np.array(model.decoder.before.weight)).max() > 0) == told


# Model directories


@pytest.fixture(scope="module")
def saved(tmp_path_factory, dataset):
    path = tmp_path_factory.mktemp("run") / "run"
    trainer, _ = train(path, dataset, dataclasses.replace(TINY, evaluate_every=TINY.steps))
    return path / "best", trainer.model


def test_a_generator_comes_back(saved):
    path, model = saved
    loaded = load_generator(path)
    assert loaded.name == "best" and len(loaded.sha256) == 64
    (kept,) = sample_traces(loaded.model, [SampleSpec(12, 0)], 0, SamplingConfig(10, 2))
    (own,) = sample_traces(model, [SampleSpec(12, 0)], 0, SamplingConfig(10, 2))
    np.testing.assert_allclose(kept, own, atol=0.1)  # half precision
    assert all(array.dtype == mx.float16 for array in load_arrays(path / "model.safetensors").values())


def test_each_kind_of_model_is_refused_by_the_other(saved, tmp_path):
    with pytest.raises(BetafoldError, match="not describe a betafold folding model"):
        load_model(saved[0])
    (tmp_path / "config.json").write_text('{"model_type": "betafold"}')
    with pytest.raises(BetafoldError, match="not describe a generator"):
        load_generator(tmp_path)


# The optimiser, against Muon and AdamW written down in float64


RATE, BLOCK_RATE, DECAY = 1e-2, 3e-2, 0.1


def rates(block_rate):
    return GeneratorTrainConfig(learning_rate=RATE, block_learning_rate=block_rate, weight_decay=DECAY)


def orthogonalised(matrix):
    """Five steps of the quintic iteration of Jordan et al. 2024, on the longer side."""
    x = matrix / (np.linalg.norm(matrix) + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x


def test_matrices_of_blocks_take_orthogonal_steps_and_the_rest_adamws():
    model = shaken(TINY_NETWORK)
    optimizer = make_optimizer(rates(BLOCK_RATE))
    optimizer.init(model.trainable_parameters())
    rng = np.random.default_rng(0)
    before = {name: np.array(value, np.float64) for name, value in tree_flatten(model.parameters())}
    momentum = {name: np.zeros_like(value) for name, value in before.items()}
    square = {name: np.zeros_like(value) for name, value in before.items()}
    expected = {name: value.copy() for name, value in before.items()}
    for share in (1.0, 0.5):
        optimizer.learning_rate = share * RATE
        gradients = {name: rng.normal(size=value.shape) for name, value in before.items()}
        tree = model.parameters()
        flat = [(name, mx.array(gradients[name].astype(np.float32))) for name, _ in tree_flatten(tree)]
        optimizer.update(model, tree_unflatten(flat))
        for name, gradient in gradients.items():
            if in_blocks(name, mx.array(gradient)):
                momentum[name] = 0.95 * momentum[name] + 0.05 * gradient
                step = orthogonalised(0.05 * gradient + 0.95 * momentum[name])
                rows, columns = gradient.shape
                expected[name] -= share * BLOCK_RATE * max(1.0, rows / columns) ** 0.5 * step
            else:
                momentum[name] = BETAS[0] * momentum[name] + (1 - BETAS[0]) * gradient
                square[name] = BETAS[1] * square[name] + (1 - BETAS[1]) * gradient**2
                expected[name] *= 1 - share * RATE * DECAY
                expected[name] -= share * RATE * momentum[name] / (np.sqrt(square[name]) + 1e-8)
    found = dict(tree_flatten(model.parameters()))
    muon = [name for name in found if in_blocks(name, found[name])]
    assert 0 < len(muon) < len(found) and all(name.endswith("weight") for name in muon)
    for name, value in found.items():
        assert np.allclose(np.array(value), expected[name], atol=2e-4), name


def test_tables_and_the_layers_in_and_out_are_not_muons():
    names = {
        name: value
        for name, value in tree_flatten(shaken(TINY_NETWORK).parameters())
        if not in_blocks(name, value)
    }
    always = {
        "decoder.separation.weight",
        "context.place.weight",
        "decoder.velocity.weight",
        "context.begin",
    }
    assert always <= set(names)
    assert "context.blocks.0.attention.query.bias" in names


def test_both_rates_follow_one_schedule():
    assert type(make_optimizer(rates(0.0))) is optim.AdamW
    optimizer = make_optimizer(rates(BLOCK_RATE))
    for rate in (RATE, 0.1 * RATE, 0.0):
        optimizer.learning_rate = rate
        muon, rest = optimizer.optimizers
        assert rest.learning_rate.item() == pytest.approx(rate) == optimizer.learning_rate.item()
        assert muon.learning_rate.item() == pytest.approx(3 * rate)
