"""`betafold-mlx train-side-chains`, and the data set that it needs."""

import pytest
from cli_helpers import error_line, run
from synthetic import make_dataset, toy_model, with_side_chains

from betafold_mlx.model.companions import SIDE_CHAINS
from betafold_mlx.model.directory import load_model, save_model

OPTIONS = ["--steps", "4", "--warmup", "1", "--evaluate-every", "2", "--tokens", "192"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("side_chains")
    dataset = make_dataset(held_out=1)
    dataset.save(root / "bare")
    with_side_chains(dataset).save(root / "set")
    save_model(root / "model", toy_model(), "card", {})
    save_model(root / "other", toy_model(), "card", {})
    return root


@pytest.mark.parametrize("more", [[], ["--read-states"]])
def test_it_trains_a_network_of_the_model_and_goes_on(folder, tmp_path, more):
    arguments = ["train-side-chains", folder / "set", "--model", folder / "model", "-o", tmp_path / "run"]
    code, out, err = run(*arguments, *OPTIONS, *more)
    assert code == 0 and "step 4: score" in err and "log density" in out
    loaded = load_model(folder / "model")
    network = SIDE_CHAINS.load(tmp_path / "run" / "best", loaded.sha256)
    assert network.config.states == (loaded.model.config.width if more else 0)
    assert run(*arguments, "--resume")[0] == 0
    code, _, err = run(*arguments, "--resume", "--steps", "9")
    assert code == 2 and "--steps" in error_line(err)
    arguments[3] = folder / "other"
    code, _, err = run(*arguments, "--resume")
    assert code == 2 and "another model" in error_line(err)


def test_a_data_set_without_side_chains_is_refused(folder, tmp_path):
    code, _, err = run(
        "train-side-chains", folder / "bare", "--model", folder / "model", "-o", tmp_path / "run", *OPTIONS
    )
    assert code == 1 and "dataset build" not in err and "--chi" in error_line(err)
    assert not (tmp_path / "run").exists()  # the same command runs when the data set has them
