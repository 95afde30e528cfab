import dataclasses
import json

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from synthetic import make_dataset
from train_helpers import TINY, all_bytes

from betafold_mlx.data.mix import MixedSampler, check_origins
from betafold_mlx.data.sampling import SamplerConfig
from betafold_mlx.data.store import Dataset
from betafold_mlx.data.windows import WindowSampler
from betafold_mlx.errors import BetafoldError
from betafold_mlx.evaluate.items import split_items
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.train.batches import make_batch
from betafold_mlx.train.checkpoint import read_run, start_run
from betafold_mlx.train.loop import Trainer
from betafold_mlx.train.losses import total_loss
from betafold_mlx.train.microbatch import in_microbatches
from betafold_mlx.train.training_config import Mix, TrainConfig

AGAINST = "d" * 64


def make_distilled(against=AGAINST, seed=9, **sizes):
    made = make_dataset(seed, held_out=0, **sizes)
    report = {"distillation": {"summary": "made up", "against": against}}
    return dataclasses.replace(made, report=report, origin="distilled")


@pytest.fixture(scope="module")
def experimental():
    return make_dataset()


@pytest.fixture(scope="module")
def distilled():
    return make_distilled()


def sampler_of(dataset, tokens=384, seed=3, **config):
    return WindowSampler(dataset, PADDED_LENGTHS, seed, SamplerConfig(tokens=tokens, **config))


def mixed_of(experimental, distilled, share, until=None, seed=3, **config):
    first = sampler_of(experimental, seed=seed, **config)
    second = WindowSampler(
        distilled, PADDED_LENGTHS, seed, dataclasses.replace(first.config, substitutions=0.0)
    )
    return MixedSampler(first, second, share, until)


def is_of(dataset, window):
    sequence = window.peptide.sequence
    return any(sequence in record.sequence * (2 if record.cyclic else 1) for record in dataset.records)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.47, 1.0])
def test_each_batch_has_its_share_of_each_origin(experimental, distilled, share):
    sampler = mixed_of(experimental, distilled, share)
    shares = []
    for step in range(400):
        windows, padded = sampler.batch(step)
        labels = [is_of(distilled, window) for window in windows]
        predicted = [window for window, label in zip(windows, labels, strict=True) if label]
        others = [window for window, label in zip(windows, labels, strict=True) if not label]
        assert all(is_of(experimental, window) for window in others)
        assert len(windows) == 384 // padded and all(len(window.peptide) <= padded for window in windows)
        assert abs(len(predicted) - share * len(windows)) < 1
        assert all(window.confidence == 0.0 for window in predicted)
        measured = [window.confidence for window in others]
        assert len(set(measured)) <= 1
        assert sum(measured) == pytest.approx(len(windows) if measured else 0)
        shares.append(len(predicted) / len(windows))
    assert np.mean(shares) == pytest.approx(share, abs=0.01)  # rounding has no side


def test_a_batch_is_a_function_of_seed_and_step(experimental, distilled):
    first, again = (mixed_of(experimental, distilled, 0.5) for _ in range(2))
    other = mixed_of(experimental, distilled, 0.5, seed=4)

    def sequences(sampler, step):
        windows, padded = sampler.batch(step)
        return padded, [(w.peptide, w.coordinates.tobytes(), w.confidence) for w in windows]

    first.batch(0)
    for step in (7, 3, 3):
        assert sequences(first, step) == sequences(again, step)
    assert sequences(first, 7) != sequences(other, 7) and sequences(first, 7) != sequences(first, 8)


def test_from_the_last_mixed_step_on_batches_are_those_of_a_run_without(experimental, distilled):
    sampler, alone = mixed_of(experimental, distilled, 0.5, until=5), sampler_of(experimental)
    for step in range(8):
        windows, padded = sampler.batch(step)
        expected, length = alone.batch(step)
        same = padded == length and [w.peptide for w in windows] == [w.peptide for w in expected]
        assert same == (step >= 5)
        assert any(w.confidence == 0 for w in windows) == (step < 5)


def test_a_label_belongs_to_its_very_sequence(experimental, distilled):
    sampler = mixed_of(experimental, distilled, 0.5, substitutions=0.9)
    windows = [window for step in range(20) for window in sampler.batch(step)[0]]
    predicted = [window for window in windows if window.confidence == 0]
    assert all(is_of(distilled, window) for window in predicted)
    assert not all(is_of(experimental, window) for window in windows if window.confidence)


def test_what_one_data_set_lacks_the_other_fills_in(experimental):
    short = make_distilled(chains=0, peptides=40)
    kept = [record for record in short.records if record.length <= 16]
    only = dataclasses.replace(short, records=kept)
    sampler = mixed_of(experimental, only, 0.5)
    found = {}
    for step in range(40):
        windows, padded = sampler.batch(step)
        assert len(windows) == 384 // padded
        found.setdefault(padded, []).append(sum(window.confidence == 0 for window in windows))
    assert set(found[16]) == {12} and set(found[24] + found[32]) == {0}


def gradients_of(model, batch):
    def loss(batch):
        value, parts = total_loss(model(batch.inputs), batch.targets, batch.inputs.mask, TINY.loss)
        return value, parts

    (_, parts), gradients = nn.value_and_grad(model, loss)(batch)
    return {name: part.item() for name, part in parts.items()}, dict(tree_flatten(gradients))


def test_the_confidence_learns_from_experiments_alone(experimental, distilled):
    mx.random.seed(0)
    model = FoldingModel(TINY.network)
    windows, padded = mixed_of(experimental, distilled, 0.5).batch(2)
    real = [dataclasses.replace(w, confidence=1.0) for w in windows if w.confidence]
    parts, gradients = gradients_of(model, make_batch(windows, padded))
    alone, expected = gradients_of(model, make_batch(real, padded))
    assert 0 < len(real) < len(windows)
    assert parts["confidence"] == pytest.approx(alone["confidence"], rel=1e-5)
    assert parts["torsion"] != pytest.approx(alone["torsion"], rel=1e-3)
    heads = [name for name in gradients if name.startswith("confidence_head")]
    assert heads
    for name in heads:
        np.testing.assert_allclose(np.array(gradients[name]), np.array(expected[name]), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("size", [1, 5])
def test_it_does_so_however_a_batch_is_cut(experimental, distilled, size):
    mx.random.seed(0)
    model = FoldingModel(TINY.network)
    windows, padded = mixed_of(experimental, distilled, 0.4).batch(2)
    batch, keys = make_batch(windows, padded), mx.zeros((len(windows), 2))

    def confidence(part, keys):
        return total_loss(model(part.inputs), part.targets, part.inputs.mask, TINY.loss)[1]["confidence"]

    whole = confidence(batch, keys).item()
    assert in_microbatches(model, confidence, batch, keys, size).item() == pytest.approx(whole, rel=1e-5)


def test_a_batch_of_experiments_alone_has_no_factors(experimental):
    assert make_batch(*sampler_of(experimental).batch(0)).targets.confidence is None


def test_a_stopped_and_resumed_mixed_run_ends_in_the_same_bytes(tmp_path, experimental, distilled):
    config = dataclasses.replace(TINY, mix=Mix("e" * 64, 1, 3, until=6))

    class StopError(Exception):
        pass

    def stop(figures):
        if figures["step"] == 5:
            raise StopError

    for name in ("whole", "parts"):
        start_run(tmp_path / name, config, AGAINST)
    whole = Trainer(tmp_path / "whole", experimental, config, AGAINST, distilled=distilled)
    assert whole.run()
    with pytest.raises(StopError):  # nothing is saved after step 4
        Trainer(tmp_path / "parts", experimental, config, AGAINST, distilled=distilled).run(stop)
    again = read_run(tmp_path / "parts", AGAINST)
    assert again == config
    resumed = Trainer(tmp_path / "parts", experimental, again, AGAINST, resume=True, distilled=distilled)
    assert resumed.progress.step == 4 and resumed.run()
    assert all_bytes(tmp_path / "whole") == all_bytes(tmp_path / "parts")
    document = json.loads((tmp_path / "whole" / "best" / "config.json").read_text())
    assert document["training"]["settings"]["mix"]["dataset_sha256"] == "e" * 64
    card = (tmp_path / "whole" / "best" / "README.md").read_text()
    assert "18 distilled ones" in card and "75% of the examples up to step 6" in card
    plain = dataclasses.replace(config, mix=None)
    start_run(tmp_path / "plain", plain, AGAINST)
    Trainer(tmp_path / "plain", experimental, plain, AGAINST).run()
    weights = [(tmp_path / name / "last/model.safetensors").read_bytes() for name in ("whole", "plain")]
    assert weights[0] != weights[1]


def test_settings_without_a_mix_do_not_name_it():
    assert "mix" not in TINY.to_dict()
    mixed = dataclasses.replace(TINY, mix=Mix("e" * 64, 0.2, 0.6, 30))
    assert TrainConfig.from_dict(mixed.to_dict()) == mixed and mixed.mix.share == pytest.approx(0.75)
    assert TrainConfig.from_dict(TINY.to_dict()) == TINY


@pytest.mark.parametrize(
    "values",
    [{"experimental": -1}, {"experimental": 0, "distilled": 0}, {"distilled": float("nan")}, {"until": 0}],
)
def test_a_mix_that_cannot_be(values):
    with pytest.raises(BetafoldError, match="mix"):
        Mix("e" * 64, **values)


def test_what_can_be_trained_on_together(experimental, distilled, tmp_path):
    check_origins(experimental, AGAINST, distilled)
    check_origins(experimental, AGAINST, None)
    with pytest.raises(BetafoldError, match="distilled one, which cannot measure a model"):
        check_origins(distilled, AGAINST, None)
    with pytest.raises(BetafoldError, match="not distilled"):
        check_origins(experimental, AGAINST, experimental)
    with pytest.raises(BetafoldError, match="kept apart from another data set"):
        check_origins(experimental, "f" * 64, distilled)
    mixed = dataclasses.replace(TINY, mix=Mix("e" * 64))
    for config, second in ((TINY, distilled), (mixed, None)):
        with pytest.raises(BetafoldError, match="do not go together"):
            Trainer(tmp_path / "run", experimental, config, AGAINST, distilled=second)


def test_the_origin_is_kept_on_disk(tmp_path, experimental, distilled):
    distilled.save(tmp_path / "labels")
    loaded = Dataset.load(tmp_path / "labels")
    assert loaded.origin == "distilled" and loaded.records == distilled.records
    with pytest.raises(BetafoldError, match="predictions, to learn from"):
        split_items(loaded, "train")
    experimental.save(tmp_path / "real")
    assert "origin" not in json.loads((tmp_path / "real" / "dataset.json").read_text())
    assert Dataset.load(tmp_path / "real").origin == "experimental"


@pytest.mark.parametrize("damage", ["a test record", "a fragment", "no distillation", "an origin"])
def test_a_distilled_data_set_that_could_be_measured_on_is_refused(tmp_path, experimental, distilled, damage):
    changes = {
        "a test record": {
            "records": [dataclasses.replace(distilled.records[0], split="test"), *distilled.records[1:]]
        },
        "a fragment": {"fragments": [dataclasses.replace(experimental.fragments[0], record=0, start=0)]},
        "no distillation": {"report": {}},
        "an origin": {"origin": "guessed"},
    }
    dataclasses.replace(distilled, **changes[damage]).save(tmp_path / "labels")
    with pytest.raises(BetafoldError, match="damaged data set"):
        Dataset.load(tmp_path / "labels")
