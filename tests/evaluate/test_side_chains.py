"""The comparison of the side-chain network with a rotamer library."""

import dataclasses

import numpy as np
import pytest
from data_helpers import random_letters
from synthetic import make_dataset

from betafold_mlx.data.windows import whole_window
from betafold_mlx.evaluate.side_chains import BIN, PSEUDOCOUNT, RotamerLibrary, accuracy, methods
from betafold_mlx.model.config import SideChainConfig
from betafold_mlx.model.rotamers import CHI_COUNT, ROTAMERS, Rotamers
from betafold_mlx.model.side_chains import SideChainNetwork
from betafold_mlx.peptide.sequence import ALPHABET, residue_ids
from betafold_mlx.train.batches import make_batch
from betafold_mlx.train.side_chain_trainer import make_examples


@pytest.fixture(scope="module")
def dataset():
    """Serines, leucines and alanines whose chi angles are gauche in helices and trans in strands."""
    dataset = make_dataset()
    rng = np.random.default_rng(0)
    records = [
        dataclasses.replace(record, sequence=random_letters(rng, record.length, list("SLA")))
        for record in dataset.records
    ]
    ids = np.concatenate([residue_ids(record.sequence) for record in records])
    middle = np.where(dataset.torsions[:, 1:2] < 0, -65, 178)
    chi = np.radians(middle + 9 * rng.normal(size=(len(ids), 4))).astype(np.float32)
    chi[np.arange(4) >= CHI_COUNT[ids][:, None]] = np.nan
    return dataclasses.replace(dataset, records=records, chi=chi)


@pytest.fixture(scope="module")
def rotamers():
    """Three rotamers of each residue, the first the most frequent."""
    centre = np.radians([-65.0, 178, 65])[:, None] * np.ones(4)
    weight = np.pad(np.tile([0.4, 0.3, 0.3], (20, 1)), ((0, 0), (0, ROTAMERS - 3)))
    full = np.pad(np.tile(centre, (20, 1, 1)), ((0, 0), (0, ROTAMERS - 3), (0, 0)))
    rotamers = Rotamers()
    rotamers.start_from(full, np.full(full.shape, 40.0), weight)
    return rotamers


def test_the_library_counts_residues_by_phi_and_psi(dataset, rotamers):
    library = RotamerLibrary.counted(dataset, rotamers)
    serine = ALPHABET.index("S")
    counts, total = {}, np.zeros(3)
    centres = np.array(rotamers.centre)[serine, :3, 0]
    for record in dataset.records:
        for place, letter in enumerate(record.sequence):
            row = record.start + place
            if record.split != "train" or letter != "S" or np.isnan(dataset.chi[row, 0]):
                continue
            angles = np.degrees(dataset.torsions[row, :2])
            known = dataset.torsion_mask[row, :2]
            key = tuple(int(a // BIN) % 12 if k else 12 for a, k in zip(angles, known, strict=True))
            nearest = np.cos(dataset.chi[row, 0] - centres).argmax()
            counts.setdefault(key, np.zeros(3))[nearest] += 1
            total[nearest] += 1
    assert len(counts) > 5
    for key, count in counts.items():
        expected = (count + PSEUDOCOUNT * total / total.sum()) / (count.sum() + PSEUDOCOUNT)
        assert np.allclose(library.weight[(serine, *key)][:3], expected, atol=2e-3)
    assert np.allclose(library.weight.sum(axis=-1)[ALPHABET.index("L")], 1)


def test_the_methods_are_compared_on_the_same_residues(dataset, rotamers):
    windows = [whole_window(dataset, record) for record in dataset.peptides("validation")]
    measured = [(windows, make_examples(None, make_batch(windows, 32), windows))]
    network = SideChainNetwork(SideChainConfig(width=16, edge_width=8, layers=1, neighbours=4))
    network.rotamers = rotamers
    found = {name: accuracy(method, measured) for name, method in methods(network, dataset).items()}
    letters = "".join(window.peptide.sequence for window in windows)
    counts = [letters.count("S") + letters.count("L"), letters.count("L")]
    assert all(count.tolist() == counts for _, count in found.values())
    chi = np.concatenate([window.chi[:, 0] for window in windows])
    gauche = [np.cos(angle + np.radians(65)) > np.cos(np.radians(40)) for angle in chi[np.isfinite(chi)]]
    frequent, library, untrained, packed = (share for share, _ in found.values())
    assert frequent[0] == untrained[0] == pytest.approx(np.mean(gauche))
    assert library.min() > 0.9 > 0.8 > frequent.max()
    assert 0 < packed[0] < library[0]  # an untrained network packs, too
