import csv
import dataclasses
import io
import math

import pytest

pytest.importorskip("matplotlib", reason="needs matplotlib")

import mlx.core as mx
import numpy as np
from lab_helpers import TINY, tiny_lab

from betafold_mlx.errors import BetafoldError
from betafold_mlx.geometry.metrics import lddt
from betafold_mlx.lab import stability, width
from betafold_mlx.lab.budget import PRESETS
from betafold_mlx.lab.runner import EXPERIMENTS, run_experiment, write_report
from betafold_mlx.lab.series import TrainedRun, base_config
from betafold_mlx.lab.width import PER_NUMBER, PER_RESIDUE, cost, multiply_adds
from betafold_mlx.model.config import TRIANGLES, ModelConfig
from betafold_mlx.model.heads import BINS
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.model.pairformer import PairDistogramHead, Pairformer
from betafold_mlx.train.losses import distogram_loss

pytestmark = pytest.mark.usefixtures("quick_folds")


@pytest.fixture
def products(monkeypatch):
    """Counts the multiply-adds of all matrix products that MLX is asked for."""
    counted = [0]
    matmul, addmm = mx.array.__matmul__, mx.addmm

    def tally(a, b):
        batch = mx.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        counted[0] += math.prod(batch) * a.shape[-2] * a.shape[-1] * b.shape[-1]

    def counting_matmul(a, b):
        tally(a, b)
        return matmul(a, b)

    def counting_addmm(c, a, b, *rest, **named):
        tally(a, b)
        return addmm(c, a, b, *rest, **named)

    monkeypatch.setattr(mx.array, "__matmul__", counting_matmul)
    monkeypatch.setattr(mx, "addmm", counting_addmm)
    return counted


@pytest.mark.parametrize("form", TRIANGLES)
@pytest.mark.parametrize(("pair_width", "blocks", "heads"), [(32, 1, 1), (64, 3, 4)])
def test_the_formula_counts_what_is_multiplied(products, form, pair_width, blocks, heads):
    n, sizes = 11, {"width": 24, "layers": 2, "heads": 3, "ffn_width": 40}
    config = ModelConfig(
        **sizes,
        **{"trunk": "pairformer", "triangle": form, "pair_width": pair_width},
        **{"pair_blocks": blocks, "triangle_heads": heads},
    )
    trunk, head = Pairformer(config), PairDistogramHead(pair_width)
    relative, bonded = mx.zeros((1, n, n), dtype=mx.int32), mx.zeros((1, n, n), dtype=mx.bool_)
    _, pairs, _ = trunk(mx.zeros((1, n, 24)), mx.ones((1, n), dtype=mx.bool_), relative, bonded)
    head(pairs)
    assert products[0] == multiply_adds(config, n)
    assert cost(config, n) == products[0] + PER_NUMBER * blocks * n * n * pair_width + PER_RESIDUE * n


@pytest.mark.parametrize("budget", PRESETS.values(), ids=PRESETS)
def test_all_shapes_get_the_same_compute(budget):
    base = base_config(budget)
    configs = {shape: width.shape_config(base, shape) for shape in width.SHAPES}
    assert configs[width.BASELINE].steps == width.STEPS * budget.steps
    spent = {
        shape: config.steps * cost(config.network, PADDED_LENGTHS[-1]) for shape, config in configs.items()
    }
    for shape, value in spent.items():
        assert value == pytest.approx(spent[width.BASELINE], rel=0.6 / configs[shape].steps)
    steps = {shape: config.steps for shape, config in configs.items()}
    assert steps[32, 2] > steps[64, 2] > steps[128, 2] > steps[256, 2] and steps[64, 1] > steps[64, 8]
    assert steps[width.WIDE] == pytest.approx(steps[width.DEEP], rel=0.05)  # the same cost of a step
    alike = [
        dataclasses.replace(config, network=base.network, steps=1, warmup=1, evaluate_every=1)
        for config in configs.values()
    ]
    assert all(config == alike[0] for config in alike)  # nothing else differs
    assert all(0 < config.warmup < config.steps for config in configs.values())


def filled(lab, name):
    """Run an experiment, write what it found, and return the report and its tables as they stand in the files."""
    report = run_experiment(name, lab)
    write_report(lab.directory / name, EXPERIMENTS[name].title, f"lab {name}", report)
    tables = {
        table: list(csv.DictReader(io.StringIO((lab.directory / name / f"{table}.csv").read_text())))
        for table in report.tables
    }
    assert all((lab.directory / name / f"{picture}.svg").stat().st_size for picture in report.pictures)
    return report, tables


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return tiny_lab(tmp_path_factory.mktemp("lab"), repeats=2)


@pytest.mark.slow
def test_width_against_depth(lab, monkeypatch):
    monkeypatch.setattr(width, "SHAPES", ((32, 2), (64, 1)))
    for name in ("STEPS", "EVALUATIONS", "TIMED_STEPS"):
        monkeypatch.setattr(width, name, 1)
    monkeypatch.setattr(width, "BASELINE", (32, 2))
    monkeypatch.setattr(width, "WIDE", (64, 1))
    monkeypatch.setattr(width, "DEEP", (32, 2))
    report, tables = filled(lab, "width")
    names = ["width 32 × 2 blocks", "width 64 × 1 block"]
    assert [row["variant"] for row in tables["shapes"]] == names
    assert len(tables["runs"]) == 4 and [row["variant"] for row in tables["steps"]] == names
    assert all(float(row["processor time of a step (s)"]) > 0 for row in tables["steps"])
    parameters = [int(row["parameters"]) for row in tables["steps"]]
    assert len(set(parameters)) == 2 and min(parameters) > 10_000
    means = {row["variant"]: float(row["CA-lDDT after folding (points)"]) for row in tables["shapes"]}
    assert all(0 < mean < 100 for mean in means.values()) and len(set(means.values())) == 2
    (first, *_) = report.findings
    assert first.measure == "CA-lDDT after folding, wide less deep" and first.repeats == 2
    assert first.value == pytest.approx(means[names[1]] - means[names[0]], abs=1e-3)
    measures = {finding.measure for finding in report.findings}
    assert f"backbone RMSD after folding, {names[1]} - {names[0]}" in measures
    assert f"processor time of a step, {names[0]}" in measures


def test_lddt_of_a_structure_is_that_of_the_metric():
    from synthetic import backbone_of

    from betafold_mlx.evaluate.items import Item
    from betafold_mlx.lab.answers import structure_rows
    from betafold_mlx.peptide.sequence import Peptide

    rng = np.random.default_rng(5)
    sequence = "AEKLAEKLVGAEKL"
    native, found, folded = (
        backbone_of(sequence, rng, noise=noise).astype(np.float32) for noise in (0.0, 10.0, 20.0)
    )
    item = Item("x", "free", Peptide.of(sequence), native[:, :4], 0)
    (row,) = structure_rows([item], [found], np.zeros(1), [folded])
    for name, structure in (("lddt", found), ("folded_lddt", folded)):
        ca = [mx.array(points[:, 1]) for points in (structure, native)]
        assert row[name] == pytest.approx(lddt(*ca).mean().item(), abs=1e-4)
    assert row["lddt"] != row["folded_lddt"]


@pytest.mark.slow
def test_stability(lab, monkeypatch):
    monkeypatch.setattr(stability, "WIDE", 64)
    monkeypatch.setattr(stability, "NARROW", 32)
    monkeypatch.setattr(stability, "RATES", (1e-3,))
    monkeypatch.setattr(stability, "WARMUPS", {"short": 0.3})
    monkeypatch.setattr(stability, "WINDOWS", 20)
    lab = dataclasses.replace(lab, budget=TINY)
    report, tables = filled(lab, "stability")
    configs = stability.trunk_configs(base_config(lab.budget))
    assert list(configs) == [f.measure.partition(", ")[2] for f in report.findings[: len(configs)]]
    assert len(tables["stability"]) == len(configs) == 2
    assert len(tables["gradients"]) == 2 * TINY.steps
    norms = [float(row["gradient_norm"]) for row in tables["gradients"]]
    largest = [float(row["largest gradient norm"]) for row in tables["stability"]]
    assert max(norms) == max(largest) and min(norms) > 0


def test_a_run_whose_loss_is_no_number_is_a_finding(lab, monkeypatch):
    for name, value in {"WIDE": 64, "NARROW": 32, "WARMUPS": {"short": 0.3}, "WINDOWS": 20}.items():
        monkeypatch.setattr(stability, name, value)
    said = []
    lab = dataclasses.replace(lab, budget=TINY, say=said.append)
    monkeypatch.setattr(stability, "RATES", (1e-3, 1e30))
    report = run_experiment("stability", lab)
    lost = [f for f in report.findings if "collapsed: the loss is not a number at step" in f.verdict]
    assert [f.measure for f in lost] == [
        f"runs that collapsed, width {w} at 1e+30 with short warm-up" for w in (64, 32)
    ]
    assert (
        len(report.tables["stability"]) == 2 and sum("lower the learning rate" in line for line in said) == 2
    )
    monkeypatch.setattr(stability, "RATES", (1e30,))
    with pytest.raises(BetafoldError, match="no run finished: the loss is not a number"):
        run_experiment("stability", lab)


def test_rates_and_warm_ups():
    base = base_config(PRESETS["normal"])
    configs = stability.trunk_configs(base)
    wide = [config for config in configs.values() if config.network.pair_width == stability.WIDE]
    assert {(c.learning_rate, c.warmup) for c in wide} == {
        (rate, round(share * base.steps)) for rate in stability.RATES for share in (0.0, 0.1, 0.3)
    }
    assert len({c.steps for c in configs.values()}) == 1 and len(configs) == len(wide) + len(stability.RATES)
    narrow = [c for c in configs.values() if c not in wide]
    assert {c.network.pair_width for c in narrow} == {stability.NARROW}


def made_run(distances, norms, losses):
    steps = [
        {"step": i + 1, "gradient_norm": norm, "loss": loss}
        for i, (norm, loss) in enumerate(zip(norms, losses, strict=True))
    ]
    return TrainedRun(3, [], [], steps, [{"distogram_loss": value} for value in distances], {})


def test_what_is_called_a_collapse():
    run = made_run([3.4, 3.5], [4.0, 2.0, 0.5, 0.5], [9.0, 5.0, 3.0, 2.0])
    row = stability.stability_row(run, clip=1.0, known=3.5)
    assert row["collapsed"] == 0 and row["steps clipped (%)"] == 50 and row["largest gradient norm"] == 4
    assert row["loss of the first tenth"] == 9 and row["loss of the last tenth"] == 2
    assert stability.stability_row(run, clip=1.0, known=3.4)["collapsed"] == 1
    broken = made_run([float("nan")], [1.0], [1.0])
    assert stability.stability_row(broken, clip=1.0, known=3.5)["collapsed"] == 1


def test_the_loss_of_one_distribution_for_all_pairs(lab, monkeypatch):
    """It is what `distogram_loss` gives to logits that are the same for every pair."""
    monkeypatch.setattr(stability, "WINDOWS", 20)
    known = stability.constant_loss(lab)
    from betafold_mlx.data.windows import WindowSampler
    from betafold_mlx.evaluate.items import split_items

    sampler = WindowSampler(lab.dataset, PADDED_LENGTHS, lab.seed)
    windows = [window for step in range(stability.WINDOWS) for window in sampler.batch(step)[0]]
    counts = np.ones(BINS)
    for window in windows[: stability.WINDOWS]:
        counts += stability._histogram(window.coordinates)
    logits = mx.array(np.log(counts / counts.sum()).astype(np.float32))
    losses = []
    for item in split_items(lab.small_dataset, "validation", lab.budget.items):
        n = len(item)
        given = (mx.broadcast_to(logits, (1, n, n, BINS)), mx.array(item.coordinates[None]))
        losses.append(distogram_loss(*given, mx.ones((1, n), dtype=mx.bool_)).item())
    assert known == pytest.approx(np.mean(losses), abs=1e-3)
    assert 1 < known < np.log(BINS) + 1
