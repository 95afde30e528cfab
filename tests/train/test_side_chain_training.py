"""The training of the side-chain network."""

import dataclasses
import math

import mlx.core as mx
import numpy as np
import pytest
from data_helpers import random_letters
from synthetic import make_dataset
from train_helpers import TINY, all_bytes

from betafold_mlx.data.windows import whole_window
from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.companions import SIDE_CHAINS
from betafold_mlx.model.config import SideChainConfig
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.rotamers import CHI_COUNT
from betafold_mlx.peptide.sequence import residue_ids
from betafold_mlx.train.batches import make_batch
from betafold_mlx.train.checkpoint import start_run
from betafold_mlx.train.side_chain_settings import SideChainTrainConfig
from betafold_mlx.train.side_chain_trainer import (
    SideChainTrainer,
    make_examples,
    observed_side_chains,
    side_chain_figures,
    side_chain_losses,
)

SMALL = SideChainTrainConfig(
    network=SideChainConfig(states=TINY.network.width, width=24, edge_width=16, layers=1, neighbours=6),
    model_sha256="m" * 64,
    tokens=192,
    steps=6,
    evaluate_every=3,
    warmup=1,
    learning_rate=5e-3,
)


@pytest.fixture(scope="module")
def folding():
    mx.random.seed(1)
    return FoldingModel(TINY.network)


@pytest.fixture(scope="module")
def dataset():
    """Side chains with a rule: gauche in helices, trans in strands; the sequences say nothing of these."""
    dataset = make_dataset()
    rng = np.random.default_rng(0)
    records = [
        dataclasses.replace(record, sequence=random_letters(rng, record.length)) for record in dataset.records
    ]
    ids = np.concatenate([residue_ids(record.sequence) for record in records])
    helix = dataset.torsions[:, 1] < 0
    chi = np.radians(np.where(helix[:, None], -65.0, 180.0) + 8.0 * rng.normal(size=(len(ids), 4)))
    chi[np.arange(4) >= CHI_COUNT[ids][:, None]] = np.nan
    chi[rng.random(len(ids)) < 0.05] = np.nan
    return dataclasses.replace(dataset, records=records, chi=chi.astype(np.float32))


def trainer(directory, dataset, folding, config=SMALL, resume=False):
    if not resume:
        start_run(directory, config, "d" * 64)
    return SideChainTrainer(directory, dataset, folding, config, resume=resume)


def test_the_loss_is_minus_the_log_density_of_what_is_known(dataset, folding, tmp_path):
    network = trainer(tmp_path / "run", dataset, folding).model
    windows = [whole_window(dataset, record) for record in dataset.peptides("train")[:3]]
    examples = make_examples(folding, make_batch(windows, 32), windows)
    losses, known = (np.array(each) for each in side_chain_losses(network, examples))
    weights = np.exp(np.array(network(examples.inputs), np.float64))[:, 0]
    centre, concentration = (
        np.array(a, np.float64) for a in (network.rotamers.centre, network.rotamers.concentration)
    )
    checked = 0
    for row, window in enumerate(windows):
        for place, letter in enumerate(window.peptide.sequence):
            chi = window.chi[place]
            assert known[row, place] == np.isfinite(chi).any()
            if letter in "CSTV" and np.isfinite(chi[0]):
                residue = residue_ids(letter)[0]
                k, c = concentration[residue, :3, 0], centre[residue, :3, 0]
                density = weights[row, place, :3] @ (np.exp(k * np.cos(chi[0] - c)) / (2 * np.pi * np.i0(k)))
                assert losses[row, place] == pytest.approx(
                    -math.log(0.98 * density + 0.02 / (2 * np.pi)), abs=1e-3
                )
                checked += 1
        assert not known[row, len(window.peptide) :].any()
    assert checked > 3


def test_it_learns_what_the_backbone_says(dataset, folding, tmp_path):
    network = dataclasses.replace(SMALL.network, states=0)
    config = dataclasses.replace(SMALL, network=network, steps=60, evaluate_every=60, warmup=5)
    run = trainer(tmp_path / "run", dataset, folding, config)
    before = side_chain_figures(run.model, run.validation)
    assert run.run()
    network = SIDE_CHAINS.load(tmp_path / "run" / "best", "m" * 64)
    after = side_chain_figures(network, run.validation)
    assert before["chi1"] < 0.7 and after["chi1"] > 0.9
    assert after["score"] < before["score"] - 0.3


def test_a_stopped_and_resumed_training_ends_in_the_same_bytes(dataset, folding, tmp_path):
    assert trainer(tmp_path / "whole", dataset, folding).run()
    parts = trainer(tmp_path / "parts", dataset, folding)
    parts.run(lambda figures: figures["step"] == 2 and parts._interrupt(2, None))
    assert parts.progress.step < 6
    assert trainer(tmp_path / "parts", dataset, folding, resume=True).run()
    assert all_bytes(tmp_path / "whole") == all_bytes(tmp_path / "parts")


def test_side_chains_of_the_train_split_alone_are_counted(dataset):
    residues, chi = observed_side_chains(dataset)
    train = [record for record in dataset.records if record.split == "train"]
    assert len(residues) == len(chi) == sum(record.length for record in train)


def test_a_data_set_without_side_chains_is_refused(folding, tmp_path):
    with pytest.raises(BetafoldError, match="no side chains"):
        trainer(tmp_path / "run", make_dataset(), folding)
