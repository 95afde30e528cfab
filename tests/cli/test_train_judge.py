"""`betafold-mlx train-judge`: what it starts from."""

import mlx.core as mx
import numpy as np
import pytest
from cli_helpers import error_line, run
from synthetic import make_dataset, toy_model

from betafold_mlx.model.companions import JUDGE
from betafold_mlx.model.config import JudgeConfig
from betafold_mlx.model.directory import named_arrays, save_model
from betafold_mlx.model.judge import Judge
from betafold_mlx.train import decoys

OPTIONS = [
    "--batches",
    "1",
    "--steps",
    "1",
    "--warmup",
    "1",
    "--evaluate-every",
    "1",
    "--learning-rate",
    "1e-9",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set, a model, and judges of another model: one that fits, and one of narrower states."""
    root = tmp_path_factory.mktemp("judge")
    make_dataset(held_out=1).save(root / "set")
    save_model(root / "model", toy_model(), "card", {})
    for name, states in (("known", toy_model().config.width), ("narrow", 16)):
        mx.random.seed(3)
        JUDGE.save(root / name, Judge(JudgeConfig(states=states, width=16, layers=1, heads=2)), "o" * 64)
    return root


def test_a_run_that_was_stopped_while_it_folded_still_starts_from_its_judge(folder, tmp_path, monkeypatch):
    arguments = ["train-judge", folder / "set", "--model", folder / "model", "-o", tmp_path / "run"]

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(decoys, "all_decoys", stop)
        assert run(*arguments, "--start", folder / "known", *OPTIONS)[0] == 130
    code, _, err = run(*arguments, "--resume", "--start", folder / "known")
    assert code == 2 and "--start is for a new run" in error_line(err)
    assert run(*arguments, "--resume")[0] == 0
    made, known = (JUDGE.load(place, None) for place in (tmp_path / "run" / "best", folder / "known"))
    assert made.config == known.config
    weights = named_arrays(known.parameters())
    for name, array in named_arrays(made.parameters()).items():
        if name != "scale":  # fitted at the end
            np.testing.assert_allclose(np.array(array), np.array(weights[name]), atol=1e-3)


def test_a_judge_of_other_states_is_no_start(folder, tmp_path):
    arguments = ["--model", folder / "model", "-o", tmp_path / "run", "--start", folder / "narrow"]
    code, _, err = run("train-judge", folder / "set", *arguments, *OPTIONS)
    assert code == 2 and "states of 16" in error_line(err)
    assert not (tmp_path / "run").exists()
