"""Training that starts from the weights of another model, whose positions may be fewer."""

import dataclasses

import mlx.core as mx
import numpy as np
import pytest
from cli_helpers import run
from synthetic import make_dataset
from train_helpers import OPTIONS, TINY, train

from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.directory import load_model, named_arrays, save_model
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.inputs import collate
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.train.checkpoint import start_run
from betafold_mlx.train.loop import Trainer
from betafold_mlx.train.warm_start import POSITION_NOISE, start_from

SMALL, LARGE = 32, TINY.network.max_length
PAIRS = {"trunk": "pairformer", "pair_width": 32, "pair_blocks": 1}
PEPTIDES = [
    Peptide.of("GIGKFLHSAKKFGKAFVGEIMNS"),
    Peptide.of("GRCTKSIPPICFPD", True, ((3, 11),)),
    Peptide.of("AEKLAEKLVGAEKLAEKLVGAEKLAEKLVGAE"),
]


def saved(directory, seed=3, **changes):
    """Save a model of random weights, none of them zero, and load it."""
    mx.random.seed(seed)
    model = FoldingModel(dataclasses.replace(TINY.network, **{"max_length": SMALL, **changes}))
    arrays = named_arrays(model.parameters())
    model.load_weights([(name, a + 0.1 * mx.random.normal(a.shape)) for name, a in arrays.items()])
    save_model(directory, model, "a card", {})
    return load_model(directory)


def started(other, **changes):
    """A model of other random weights that was started from another."""
    mx.random.seed(4)
    model = FoldingModel(dataclasses.replace(TINY.network, **changes))
    start_from(model, other)
    return model


@pytest.mark.parametrize("changes", [{}, PAIRS], ids=["transformer", "pairformer"])
def test_positions_and_separations_are_extended_and_all_else_is_taken_over(tmp_path, changes):
    other = saved(tmp_path / "small", **changes)
    found = named_arrays(started(other, **changes).parameters())
    expected = named_arrays(other.model.parameters())
    longer = set()
    for name, array in expected.items():
        old, new = np.array(array), np.array(found[name])
        if name == "positions":
            assert new.shape == (LARGE, TINY.network.width)
            np.testing.assert_array_equal(new[:SMALL], old)
            noise = new[SMALL:] - old[-1]
            assert abs(noise.mean()) < 0.1 * POSITION_NOISE
            assert noise.std() == pytest.approx(POSITION_NOISE, rel=0.1)
        elif name.endswith("separation.weight"):
            side = LARGE - SMALL  # separations -(max_length - 1) to max_length - 1
            assert len(old) == 2 * SMALL - 1 and len(new) == 2 * LARGE - 1
            np.testing.assert_array_equal(new[side:-side], old)
            np.testing.assert_array_equal(new[:side], np.broadcast_to(old[0], new[:side].shape))
            np.testing.assert_array_equal(new[-side:], np.broadcast_to(old[-1], new[-side:].shape))
        else:
            np.testing.assert_array_equal(new, old, err_msg=name)
            continue
        longer.add(name)
    assert found.keys() == expected.keys() and "positions" in longer and len(longer) >= 2


@pytest.mark.parametrize("changes", [{}, PAIRS], ids=["transformer", "pairformer"])
def test_short_peptides_get_the_same_answers(tmp_path, changes):
    other = saved(tmp_path / "small", **changes)
    inputs = collate(PEPTIDES)
    assert inputs.mask.shape[1] == SMALL == max(map(len, PEPTIDES))
    one, two = other.model(inputs), started(other, **changes)(inputs)
    for name in ("torsions", "coordinates", "distogram", "plddt_logits"):
        np.testing.assert_array_equal(np.array(getattr(one, name)), np.array(getattr(two, name)), name)
    long = collate([Peptide.of("AEKLAEKLVG" * 5)])
    assert mx.isfinite(started(other, **changes)(long).coordinates).all().item()


def test_a_model_of_as_many_positions_is_taken_over_as_it_is(tmp_path):
    other = saved(tmp_path / "same", max_length=LARGE)
    found = named_arrays(started(other).parameters())
    for name, array in named_arrays(other.model.parameters()).items():
        assert mx.array_equal(found[name], array).item(), name


@pytest.mark.parametrize(
    "changes", [{"width": 64}, {"layers": 2}, {"ffn_width": 32}, PAIRS, {"max_length": LARGE + 1}]
)
def test_another_network_is_refused(tmp_path, changes):
    other = saved(tmp_path / "other", **changes)
    mx.random.seed(4)
    model = FoldingModel(TINY.network)
    before = named_arrays(model.parameters())
    with pytest.raises(
        BetafoldError, match="the weights of other do not fit this network: give its settings"
    ):
        start_from(model, other)
    for name, array in named_arrays(model.parameters()).items():
        assert mx.array_equal(array, before[name]).item(), name  # nothing is half taken over


def test_a_run_starts_from_the_weights_and_a_resumed_one_from_its_checkpoint(tmp_path):
    dataset, other = make_dataset(held_out=1), saved(tmp_path / "small")
    config = dataclasses.replace(TINY, steps=2, warmup=1, evaluate_every=1)
    start_run(tmp_path / "begun", config, "d" * 64)
    new = Trainer(tmp_path / "begun", dataset, config, "d" * 64, start=other)
    weights = named_arrays(new.model.parameters())
    for name, array in named_arrays(other.model.parameters()).items():
        if array.shape == weights[name].shape:
            assert mx.array_equal(weights[name], array).item(), name
    trainer, finished = train(tmp_path / "run", dataset, config, start=other)
    assert finished
    ended = named_arrays(trainer.model.parameters())
    resumed = Trainer(tmp_path / "run", dataset, config, "d" * 64, resume=True, start=other)
    assert resumed.progress.step == 2
    for name, array in named_arrays(resumed.model.parameters()).items():
        assert mx.array_equal(array, ended[name]).item(), name


# The command


def test_train_starts_from_a_model(tmp_path):
    make_dataset(held_out=1).save(tmp_path / "set")
    saved(tmp_path / "small")
    steps = [*OPTIONS, "--steps", "1", "--learning-rate", "1e-12"]  # it stays where it starts
    start = ["--start", tmp_path / "small"]
    code, _, err = run("train", tmp_path / "set", "-o", tmp_path / "run", *steps, *start)
    assert code == 0, err
    found = load_model(tmp_path / "run" / "best").model.positions
    expected = load_model(tmp_path / "small").model.positions
    np.testing.assert_allclose(np.array(found[:SMALL]), np.array(expected), atol=1e-3)  # kept as float16


def test_what_start_does_not_go_with(tmp_path):
    make_dataset(held_out=1).save(tmp_path / "set")
    saved(tmp_path / "small", width=64)
    place = ["train", tmp_path / "set", "-o", tmp_path / "run"]
    start = ["--start", tmp_path / "small"]
    code, _, err = run(*place, "--resume", *start)
    assert code == 2 and "--start is for a new run: leave it out with --resume" in err
    code, _, err = run(*place, *OPTIONS, *start)
    assert code == 1 and "the weights of small do not fit this network" in err and len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()
