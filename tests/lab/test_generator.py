import csv
import dataclasses
import io
import math

import pytest

pytest.importorskip("matplotlib", reason="needs matplotlib")

from lab_helpers import tiny_lab

from betafold_mlx.generate.scales import scale_sizes
from betafold_mlx.lab import generator
from betafold_mlx.lab.budget import PRESETS
from betafold_mlx.lab.runner import EXPERIMENTS, read_findings, run_experiment, write_report

BASE = generator.base_settings(PRESETS["normal"])


def flat(settings):
    values = settings.to_dict()
    return {**values.pop("network"), **values.pop("flow"), **values}


def test_variants_differ_in_one_thing():
    baseline, *others = generator.variants(BASE).values()
    assert baseline == BASE
    changed = []
    for config in others:
        before, after = flat(baseline), flat(config)
        changed.append({name for name in before if before[name] != after[name]})
    length = {"steps", "evaluate_every"}
    parts = ["noisy_context", "scheduled_sampling", "self_conditioning", "local_distances"]
    assert changed == [{"scales"} | length] * 2 + [{part} for part in parts] + [
        {"further_draws"} | length,
        {"block_learning_rate"},
    ]


def test_fewer_scales_get_as_many_points():
    points = []
    for config in generator.variants(BASE).values():
        first, *later = scale_sizes(32, scales=config.network.scales)
        drawn = 32 if config.flow.further_draws else first  # as many as of the finest
        points.append(config.steps * (drawn + sum(later)))
    assert all(abs(number / points[0] - 1) < 1e-3 for number in points)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return tiny_lab(tmp_path_factory.mktemp("lab"), repeats=2)


@pytest.fixture
def two(monkeypatch):
    every = generator.variants
    names = (generator.BASELINE, "one scale: one-shot flow")
    monkeypatch.setattr(generator, "variants", lambda base: {name: every(base)[name] for name in names})
    monkeypatch.setattr(generator, "STEPS", 1)
    return names


@pytest.mark.slow
def test_the_experiment(lab, two, monkeypatch):
    report = run_experiment("generator", lab)
    write_report(lab.directory / "generator", EXPERIMENTS["generator"].title, "lab generator", report)
    assert [f.verdict for f in read_findings(lab.directory / "generator")] == [
        f.verdict for f in report.findings
    ]
    rows = list(csv.DictReader(io.StringIO((lab.directory / "generator" / "runs.csv").read_text())))
    assert [(row["variant"], row["seed"]) for row in rows] == [(name, str(s)) for name in two for s in (0, 1)]
    divergences = [float(row["divergence of CA distances as drawn (bits)"]) for row in rows]
    assert len(set(divergences)) == 4 and all(0 < value <= 1 for value in divergences)
    (first, *_) = report.findings
    assert first.value == pytest.approx(sum(divergences[2:]) / 2 - sum(divergences[:2]) / 2, abs=1e-6)
    sampling = generator.SAMPLING
    three = sampling.steps / 4 + sampling.ode_steps * (1 / 2 + 1)  # of as many points
    assert f"{sampling.steps / three:.1f} times" in report.notes[0]

    # Again: nothing is trained, and the same is found.
    monkeypatch.setattr(generator, "GeneratorTrainer", None)
    said = []
    assert run_experiment("generator", dataclasses.replace(lab, say=said.append)).findings == report.findings
    assert len(said) == 4 and all(line.endswith("done before") for line in said)


def test_what_cannot_be_had_is_not_a_number():
    run = generator.GeneratorRun(0, {"a": {"value": None}, "b": 0.5, "c": {"d": {"value": 1.0}}})
    assert math.isnan(run.at("a")) and run.at("b") == 0.5 and run.at("c.d") == 1.0
