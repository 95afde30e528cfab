import dataclasses
import json

import numpy as np
import pytest
from lab_helpers import tiny_lab

from betafold_mlx.errors import BetafoldError
from betafold_mlx.lab import series as module
from betafold_mlx.lab.series import RESULT_FILE, Variant, base_config, changed, train_series
from betafold_mlx.model.inputs import PADDED_LENGTHS

pytestmark = pytest.mark.usefixtures("quick_folds")


def results(lab):
    return {path.parent.name: path.read_bytes() for path in (lab.directory / "runs").glob(f"*/{RESULT_FILE}")}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    lab = tiny_lab(tmp_path_factory.mktemp("lab"), repeats=2)
    base = base_config(lab.budget)
    variants = [
        Variant("base", base),
        Variant("inverted", changed(base, "network", norm="post"), mask_change="inverted"),
    ]
    return lab, variants, train_series(lab, variants)


def test_every_variant_and_seed_is_trained_and_measured(done):
    lab, _, series = done
    assert {name: [run.seed for run in runs] for name, runs in series.items()} == {
        name: [0, 1] for name in ("base", "inverted")
    }
    for runs in series.values():
        for run in runs:
            assert [step["step"] for step in run.steps] == [1, 2, 3, 4]
            assert [point["step"] for point in run.gradients] == [0, 1, 2, 3, 4]
            assert [point["step"] for point in run.curve] == [1, 2, 3, 4]
            assert set(run.gradients[0]["norms"]) == {"embedding", "block 1", "block 2", "heads"}
            assert len(run.items) == sum(f.split == "validation" for f in lab.small_dataset.fragments) + len(
                lab.dataset.peptides("validation")
            )
            assert list(run.by_padding) == [str(padded) for padded in PADDED_LENGTHS]
    rmsd = {name: [run.mean("rmsd") for run in runs] for name, runs in series.items()}
    assert len({value for values in rmsd.values() for value in values}) == 4  # nothing is mixed up


def test_the_validation_figures_agree_with_the_rows(done):
    _, _, series = done
    run = series["base"][0]
    fragments = [row["rmsd"] for row in run.items if row["kind"] == "fragment"]
    assert np.mean(fragments) == pytest.approx(run.curve[-1]["validation"]["fragment_rmsd"], abs=1e-3)


def test_padding_matters_with_a_wrong_mask_alone(done):
    _, _, series = done
    for name, same in (("base", True), ("inverted", False)):
        by_padding = [run.by_padding for run in series[name]]
        shortest, longest = (str(PADDED_LENGTHS[end]) for end in (0, -1))
        alike = [np.allclose(one[shortest], one[longest], atol=1e-3) for one in by_padding]
        assert alike == [same, same]


def test_what_is_finished_is_not_trained_again(done, monkeypatch):
    lab, variants, series = done
    said = []
    again = dataclasses.replace(lab, say=said.append)
    monkeypatch.setattr(module, "Trainer", None)
    assert train_series(again, variants) == series
    assert len(said) == 4 and all(line.endswith("done before") for line in said)


@pytest.mark.slow
def test_a_stopped_series_ends_in_the_same_bytes(done, tmp_path, monkeypatch):
    lab, variants, _ = done
    parts = dataclasses.replace(lab, directory=tmp_path / "lab")
    real = module.validate
    calls = []

    def interrupt(*arguments):
        calls.append(None)
        if len(calls) == 3:  # in the first run, at its third evaluation
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, "validate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_series(parts, variants)
    assert not results(parts)
    before = next((parts.directory / "runs").iterdir())
    assert json.loads((before / "last" / "progress.json").read_text())["step"] == 2
    train_series(parts, variants)
    assert results(parts) == results(lab)


def test_a_damaged_result_is_named(done, tmp_path):
    lab, variants, _ = done
    path = next((lab.directory / "runs").glob(f"*/{RESULT_FILE}"))
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    try:
        with pytest.raises(BetafoldError, match="is damaged: remove"):
            train_series(lab, variants)
    finally:
        path.write_bytes(whole)


def test_a_lab_without_data_says_how_to_make_some(tmp_path):
    lab = dataclasses.replace(tiny_lab(tmp_path), data=None)
    with pytest.raises(BetafoldError, match="dataset build"):
        train_series(lab, [Variant("base", base_config(lab.budget))])
