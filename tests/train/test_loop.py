import dataclasses
import json
import os
import signal
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from synthetic import make_dataset
from train_helpers import TINY, all_bytes, train

from betafold_mlx.data.sampling import SamplerConfig
from betafold_mlx.data.template_library import build_template_library
from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.confidence import confidence_features
from betafold_mlx.fold.ensemble import NOTHING, refine
from betafold_mlx.fold.pipeline import find_templates
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.fold.registry import CANDIDATES
from betafold_mlx.geometry.metrics import lddt
from betafold_mlx.model.config import EmbedderConfig, ModelConfig
from betafold_mlx.model.directory import load_model, save_arrays
from betafold_mlx.model.heads import Calibration
from betafold_mlx.peptide.sequence import ALPHABET, Peptide
from betafold_mlx.templates.chains import MAX_ENTRY_LENGTH
from betafold_mlx.templates.library import LIBRARY_FILE, TemplateLibrary
from betafold_mlx.train import loop
from betafold_mlx.train.checkpoint import read_run, start_run
from betafold_mlx.train.loop import Trainer
from betafold_mlx.train.training_config import LossWeights


def changed(**values):
    return dataclasses.replace(TINY, **values)


@pytest.fixture(scope="module")
def dataset():
    return make_dataset(held_out=4)


def test_a_run_leaves_a_model_metrics_and_a_checkpoint(tmp_path, dataset):
    trainer, finished = train(tmp_path / "run", dataset)
    assert finished and trainer.progress.step == 8
    loaded = load_model(tmp_path / "run" / "best")
    assert loaded.model.config == TINY.network and loaded.trained_on == "d" * 64
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 9))
    assert [line["step"] for line in lines if "validation" in line] == [4, 8]
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == [".lock", "best", "last", "metrics.jsonl", "run.json"]


@pytest.mark.parametrize("stop_after", [4, 7])
def test_a_stopped_and_resumed_run_ends_in_the_same_bytes(tmp_path, dataset, stop_after):
    train(tmp_path / "whole", dataset)
    start_run(tmp_path / "parts", TINY, "d" * 64)
    trainer = Trainer(tmp_path / "parts", dataset, TINY, "d" * 64)

    def interrupt(figures):
        if figures["step"] == stop_after and "loss" in figures:
            os.kill(os.getpid(), signal.SIGINT)

    assert trainer.run(interrupt) is False
    assert stop_after <= trainer.progress.step <= stop_after + 1
    mx.random.seed(99)  # whatever the process did in between
    config = read_run(tmp_path / "parts", "d" * 64)
    assert Trainer(tmp_path / "parts", dataset, config, "d" * 64, resume=True).run() is True
    assert all_bytes(tmp_path / "whole") == all_bytes(tmp_path / "parts")


def test_a_run_with_muon_and_a_mean_resumes_in_the_same_bytes(tmp_path, dataset):
    config = changed(block_learning_rate=0.01, average=0.9)
    train(tmp_path / "whole", dataset, config)
    start_run(tmp_path / "parts", config, "d" * 64)
    trainer = Trainer(tmp_path / "parts", dataset, config, "d" * 64)
    trainer.run(lambda figures: figures["step"] == 3 and trainer._interrupt(signal.SIGINT, None))
    assert Trainer(tmp_path / "parts", dataset, config, "d" * 64, resume=True).run() is True
    assert all_bytes(tmp_path / "whole") == all_bytes(tmp_path / "parts")


def test_the_running_mean_of_the_weights_is_kept_at_the_last_step(tmp_path, dataset):
    config = changed(average=0.5, steps=3, evaluate_every=1)
    trainer = Trainer(tmp_path / "run", dataset, config, "d" * 64)
    name = "torsion_head.linear.weight"
    mean = np.array(trainer.average[name], np.float64)

    def follow(figures):
        nonlocal mean
        if "loss" in figures:
            step = figures["step"] - 1
            decay = min(0.5, (1 + step) / (10 + step))
            weights = np.array(dict(tree_flatten(trainer.model.parameters()))[name], np.float64)
            mean = decay * mean + (1 - decay) * weights

    start_run(tmp_path / "run", config, "d" * 64)
    trainer.run(follow)
    assert trainer.progress.best_step == 3
    kept = mx.load(str(tmp_path / "run" / "best" / "model.safetensors"))[name]
    np.testing.assert_allclose(np.array(kept, np.float64), mean, atol=2e-3 * np.abs(mean).max())
    # training goes on from the weights, not the mean
    weights = dict(tree_flatten(trainer.model.parameters()))[name]
    assert np.abs(np.array(weights) - mean).max() > 1e-4


def test_a_mean_that_is_missing_is_no_resume(tmp_path, dataset):
    config = changed(average=0.9)
    train(tmp_path / "run", dataset, config)
    (tmp_path / "run" / "last" / "average.safetensors").unlink()
    with pytest.raises(BetafoldError, match="average"):
        Trainer(tmp_path / "run", dataset, config, "d" * 64, resume=True)


def test_a_kill_between_checkpoints_repeats_the_lost_steps(tmp_path, dataset):
    train(tmp_path / "whole", dataset)
    start_run(tmp_path / "parts", TINY, "d" * 64)

    def die(figures):
        if figures["step"] == 6:
            raise SystemExit  # stands in for kill -9: nothing is saved after step 4

    with pytest.raises(SystemExit):
        Trainer(tmp_path / "parts", dataset, TINY, "d" * 64).run(die)
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')  # a line cut short
    trainer = Trainer(tmp_path / "parts", dataset, TINY, "d" * 64, resume=True)
    assert trainer.progress.step == 4
    trainer.run()
    assert all_bytes(tmp_path / "whole") == all_bytes(tmp_path / "parts")


def test_the_interrupt_handler_is_given_back(tmp_path, dataset):
    before = signal.getsignal(signal.SIGINT)
    train(tmp_path / "run", dataset, changed(steps=1))
    assert signal.getsignal(signal.SIGINT) is before


def test_seeds_differ(tmp_path, dataset):
    weights = []
    for seed in (0, 1, 1):
        trainer, _ = train(tmp_path / f"{seed}{len(weights)}", dataset, changed(seed=seed, steps=2))
        weights.append(dict(tree_flatten(trainer.model.parameters()))["torsion_head.linear.weight"])
    assert not mx.array_equal(weights[0], weights[1]).item()
    assert mx.array_equal(weights[1], weights[2]).item()


@pytest.mark.slow
def test_it_learns_the_rule_of_the_data(tmp_path, dataset):
    config = changed(steps=40, warmup=10, evaluate_every=40, sampler=SamplerConfig(tokens=480))
    train(tmp_path / "run", dataset, config)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    torsion = [line["torsion_loss"] for line in lines if "torsion_loss" in line]
    assert np.mean(torsion[-10:]) < 0.5 * np.mean(torsion[:10])
    assert lines[-1]["validation"]["psi_mae"] < 40  # 86 where nothing is learned: helix against strand


def test_early_stop(tmp_path, dataset):
    config = changed(steps=50, evaluate_every=1, patience=2, learning_rate=1e-12, final_learning_rate=0.0)
    trainer, finished = train(tmp_path / "run", dataset, config)
    assert finished and trainer.progress.step < 50
    assert trainer.progress.step == trainer.progress.best_step + 2
    resumed = Trainer(tmp_path / "run", dataset, config, "d" * 64, resume=True)
    assert resumed.run() and resumed.progress.step == trainer.progress.step


def test_it_trains_on_features_of_a_frozen_embedder(tmp_path, dataset):
    embedder = EmbedderConfig(kind="esm2", width=20, size="toy", sha256="0" * 64)
    config = changed(
        network=ModelConfig(width=32, layers=1, heads=4, ffn_width=64, embedder=embedder), steps=2
    )
    table = mx.random.normal((20, 20), key=mx.random.key(4))
    calls = []

    def featurizer(sequences, padded):
        from betafold_mlx.model.inputs import collate
        from betafold_mlx.peptide.sequence import Peptide

        calls.append(len(sequences))
        return table[collate([Peptide.of(s) for s in sequences], padded).residues]

    _, finished = train(tmp_path / "run", dataset, config, featurizer=featurizer)
    assert finished and calls
    assert load_model(tmp_path / "run" / "best").model.config.embedder == embedder
    with pytest.raises(BetafoldError, match="features"):
        Trainer(tmp_path / "other", dataset, config, "d" * 64)


def test_learning_rate_schedule():
    config = changed(steps=100, warmup=10, learning_rate=1e-3, final_learning_rate=1e-5)
    rates = [config.learning_rate_at(step) for step in range(101)]
    assert rates[0] == pytest.approx(1e-4) and rates[10] == pytest.approx(1e-3)
    assert rates[100] == pytest.approx(1e-5) and rates[55] == pytest.approx((1e-3 + 1e-5) / 2)
    assert rates[10:] == sorted(rates[10:], reverse=True)


# What goes wrong


def test_a_folder_in_use_is_not_overwritten(tmp_path, dataset):
    train(tmp_path / "run", dataset, changed(steps=1))
    with pytest.raises(BetafoldError, match="--resume"):
        start_run(tmp_path / "run", TINY, "d" * 64)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("")
    with pytest.raises(BetafoldError, match="not an empty folder"):
        start_run(tmp_path / "letters", TINY, "d" * 64)
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / ".run.4194304999-0123abcd.json").write_text("{")  # before its first file was there
    start_run(tmp_path / "killed", TINY, "d" * 64)


def test_resume_needs_a_run_and_its_data(tmp_path, dataset):
    with pytest.raises(BetafoldError, match="no run to resume"):
        read_run(tmp_path / "nowhere", "d" * 64)
    start_run(tmp_path / "run", TINY, "d" * 64)
    assert read_run(tmp_path / "run", "d" * 64) == TINY
    with pytest.raises(BetafoldError, match="another data set"):
        read_run(tmp_path / "run", "e" * 64)
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(BetafoldError, match="damaged"):
        read_run(tmp_path / "run", "d" * 64)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "progress.json"])
def test_a_damaged_checkpoint_is_named(tmp_path, dataset, name):
    train(tmp_path / "run", dataset, changed(steps=1))
    path = tmp_path / "run" / "last" / name
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(BetafoldError, match=name.replace(".", r"\.")):
        Trainer(tmp_path / "run", dataset, TINY, "d" * 64, resume=True)


@pytest.mark.parametrize(
    "values", ['"step": "x"', '"step": -5', '"step": 1.5', '"step": null', '"finished": true']
)
def test_a_checkpoint_with_impossible_counters_is_named(tmp_path, dataset, values):
    train(tmp_path / "run", dataset, changed(steps=1))
    (tmp_path / "run" / "last" / "progress.json").write_text(f"{{{values}}}")
    with pytest.raises(BetafoldError, match=r"progress\.json is damaged"):
        Trainer(tmp_path / "run", dataset, TINY, "d" * 64, resume=True)


def test_the_optimizer_state_of_another_run_is_refused(tmp_path, dataset):
    train(tmp_path / "run", dataset, changed(steps=1))
    last = tmp_path / "run" / "last"
    (last / "optimizer.safetensors").write_bytes((last / "model.safetensors").read_bytes())
    with pytest.raises(BetafoldError, match=r"optimizer\.safetensors does not belong"):
        Trainer(tmp_path / "run", dataset, TINY, "d" * 64, resume=True)


def test_damaged_metrics_do_not_stop_a_run(tmp_path, dataset):
    train(tmp_path / "run", dataset, changed(steps=2))
    path = tmp_path / "run" / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b"\xff\xfe{" + b"[" * 100_000)
    assert Trainer(tmp_path / "run", dataset, TINY, "d" * 64, resume=True).run()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 2]
    path.unlink()
    path.mkdir()
    with pytest.raises(BetafoldError, match=r"cannot write .*metrics\.jsonl"):
        Trainer(tmp_path / "run", dataset, TINY, "d" * 64, resume=True).run()


def test_two_trainers_do_not_share_a_folder(tmp_path, dataset):
    start_run(tmp_path / "run", TINY, "d" * 64)
    other = Trainer(tmp_path / "run", dataset, TINY, "d" * 64)

    def meanwhile(figures):
        with pytest.raises(BetafoldError, match="another process is training"):
            other.run()

    assert Trainer(tmp_path / "run", dataset, changed(steps=1), "d" * 64).run(meanwhile)
    assert other.run()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_of_the_file_system(tmp_path):
    path = tmp_path / "full.safetensors"
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="disk may be full"):
        save_arrays(path, {"x": mx.zeros((1000,))})


def test_no_validation_data(tmp_path):
    import dataclasses

    full = make_dataset()
    records = [dataclasses.replace(r, split="train") for r in full.records]
    with pytest.raises(BetafoldError, match="no validation"):
        Trainer(tmp_path / "run", dataclasses.replace(full, records=records, fragments=[]), TINY, "d" * 64)


def test_a_loss_that_explodes_stops_with_one_line(tmp_path, dataset):
    with pytest.raises(BetafoldError, match="learning rate"):
        train(tmp_path / "run", dataset, changed(learning_rate=1e30, warmup=0, clip=1e30, steps=30))


@pytest.mark.parametrize("values", [{"steps": 0}, {"clip": float("nan")}, {"warmup": -1}])
def test_impossible_settings(values):
    with pytest.raises(BetafoldError):
        changed(**values)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), "1"])
def test_impossible_loss_weights(weight):
    with pytest.raises(BetafoldError, match="drmsd must be a number"):
        LossWeights(drmsd=weight)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A complete run with a calibration, its data set and its trainer."""
    small = make_dataset(held_out=2)
    path = tmp_path_factory.mktemp("calibrated") / "run"
    trainer, _ = train(path, small, CALIBRATED)
    return path, small, trainer


CALIBRATED = changed(steps=4, calibrate=True)


def test_a_complete_run_is_calibrated_on_its_validation_split(calibrated):
    run, small, trainer = calibrated
    best = load_model(run / "best")
    library = build_template_library(small)
    assert best.trained_on == "d" * 64
    started = Calibration()
    assert not mx.allclose(best.model.calibration.weight, started.weight).item()
    predicted, reached = [], []
    for batch, _ in trainer.validation:
        folded = best.model(batch.inputs)
        hits = find_templates(peptides_of(batch.inputs), library)
        ensemble = refine(folded, batch.inputs, 0, range(CANDIDATES), templates=hits)
        features = confidence_features(folded, ensemble)
        mask = np.array(batch.inputs.mask)
        target = batch.targets.coordinates[:, None, :, 1]
        achieved = lddt(ensemble.coordinates[:, :, :, 1], target, batch.inputs.mask[:, None])
        plddt = best.model.calibration(features) / 100
        for values, found in ((plddt, predicted), (achieved, reached)):
            rows = np.array(values)
            found += [rows[b, s, mask[b]].mean() for b, s in np.argwhere(ensemble.source != NOTHING)]
    assert abs(np.mean(predicted) - np.mean(reached)) < 0.03  # in the mean it is what was reached


def peptides_of(inputs):
    """The peptides of a batch, none of which has a disulfide."""
    assert not np.array(inputs.bonded).any()
    rows = zip(np.array(inputs.residues), np.array(inputs.mask), np.array(inputs.cyclic), strict=True)
    return [
        Peptide.of("".join(ALPHABET[n] for n in residues[mask]), bool(ring)) for residues, mask, ring in rows
    ]


def test_a_complete_run_has_the_templates_of_its_training_split(calibrated, tmp_path):
    run, small, _ = calibrated
    build_template_library(small).save(tmp_path / "own.safetensors")
    kept = run / "best" / LIBRARY_FILE
    assert kept.read_bytes() == (tmp_path / "own.safetensors").read_bytes()
    library = TemplateLibrary.load(kept)
    assert library.names and all(name.startswith("train") for name in library.names)
    assert Predictor.load(run / "best").templates.names == library.names


def test_where_nothing_can_be_a_template_there_is_no_library(tmp_path, calibrated):
    _, small, _ = calibrated
    records = [r for r in small.records if r.split != "train" or r.length > MAX_ENTRY_LENGTH]
    assert any(r.split == "train" for r in records)
    places = {r.id: n for n, r in enumerate(records)}
    fragments = [dataclasses.replace(f, record=places[small.records[f.record].id]) for f in small.fragments]
    long = dataclasses.replace(small, records=records, fragments=fragments)
    train(tmp_path / "run", long, changed(steps=1, warmup=1, calibrate=True))
    best = tmp_path / "run" / "best"
    assert sorted(path.name for path in best.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert not mx.allclose(load_model(best).model.calibration.weight, Calibration().weight).item()


def test_a_complete_run_is_left_alone(calibrated):
    run, small, _ = calibrated
    before = {path: path.stat().st_mtime_ns for path in (run / "best").iterdir()}
    assert Trainer(run, small, CALIBRATED, "d" * 64, resume=True).run()
    assert {path: path.stat().st_mtime_ns for path in (run / "best").iterdir()} == before


def test_a_run_that_ends_while_it_calibrates_is_not_complete(tmp_path, calibrated, monkeypatch):
    whole, small, _ = calibrated

    def killed(directory, batches, templates):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "calibrate_directory", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run", small, CALIBRATED)
    assert Trainer(tmp_path / "run", small, CALIBRATED, "d" * 64, resume=True).run()
    assert all_bytes(tmp_path / "run" / "best") == all_bytes(whole / "best")


def test_checkpoints_of_older_versions_are_read(tmp_path, dataset):
    train(tmp_path / "run", dataset, changed(steps=4))
    path = tmp_path / "run" / "last" / "progress.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"evaluated": 4}))
    assert Trainer(tmp_path / "run", dataset, TINY, "d" * 64, resume=True).progress.step == 4
