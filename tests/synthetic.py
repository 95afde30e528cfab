"""Small data sets made of ideal geometry, for tests that must run without ../shared."""

import dataclasses

import mlx.core as mx
import numpy as np

from betafold_mlx.data.store import Dataset, Fragment, Record
from betafold_mlx.geometry import backbone_torsions, build_backbone
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.rotamers import CHI_COUNT
from betafold_mlx.peptide.sequence import ALPHABET, residue_ids

HELIX, STRAND = np.radians([-63.0, -42.0, 180.0]), np.radians([-120.0, 130.0, 180.0])
HELIX_FORMERS = "AELKMQR"


def torsions_of(sequence, rng, noise=5.0):
    """Torsions with a rule that a network can learn: helix formers are helical, the others extended."""
    base = np.stack([HELIX if letter in HELIX_FORMERS else STRAND for letter in sequence])
    return (base + np.radians(noise) * rng.normal(size=base.shape)).astype(np.float32)


def backbone_of(sequence, rng, noise=5.0):
    """(L, 4, 3) coordinates of `torsions_of`."""
    torsions = torsions_of(sequence, rng, noise)
    return np.array(build_backbone(mx.array(torsions)[None], mx.array(residue_ids(sequence))[None])[0, :, :4])


def random_sequence(rng, length):
    """Stretches of helix formers and of others."""
    letters = []
    while len(letters) < length:
        pool = HELIX_FORMERS if rng.random() < 0.5 else "".join(set(ALPHABET) - set(HELIX_FORMERS))
        letters += list(rng.choice(sorted(pool), size=rng.integers(4, 12)))
    return "".join(letters[:length])


def make_dataset(seed=0, chains=12, peptides=6, held_out=None):
    """A data set of `chains` chains and `peptides` peptides in each split, or of `held_out` each in all but train."""
    rng = np.random.default_rng(seed)
    records, coordinates, fragments, row = [], [], [], 0
    for split in ("train", "validation", "test"):
        if split == "validation" and held_out is not None:
            chains = peptides = held_out
        for number in range(chains + peptides):
            whole = number >= chains
            length = int(rng.integers(10, 31) if whole else rng.integers(40, 80))
            sequence = random_sequence(rng, length)
            kind = ("free", "bound", "mhc_bound")[number % 3] if whole else "chain"
            index = len(records)
            records.append(
                Record(
                    id=f"{split}{number}", sequence=sequence, kind=kind, cyclic=whole and number % 2 == 0,
                    disulfides=(), disulfides_inferred=False, pdb=None, chain=None, method=None,
                    resolution=None, source_cluster=None, cluster=index, split=split, start=row, length=length,
                )
            )  # fmt: skip
            coordinates.append(backbone_of(sequence, rng))
            row += length
            if split != "train" and not whole:
                size = int(rng.integers(10, 31))
                fragments.append(Fragment(index, int(rng.integers(0, length - size + 1)), size, split, index))
    torsions, defined = [], []
    for chain in coordinates:
        t, d = backbone_torsions(mx.array(chain))
        torsions.append(np.array(t))
        defined.append(np.array(d))
    return Dataset(
        records,
        np.concatenate([np.zeros((0, 4, 3), np.float32), *coordinates]),
        np.concatenate([np.zeros((0, 3), np.float32), *torsions]),
        np.concatenate([np.zeros((0, 3), bool), *defined]),
        fragments,
    )


def with_side_chains(dataset):
    """The data set with chi angles of rotamers."""
    ids = np.concatenate([residue_ids(record.sequence) for record in dataset.records])
    chi = np.random.default_rng(0).choice(np.radians([-65.0, 65, 180]), (len(ids), 4)).astype(np.float32)
    chi[np.arange(4) >= CHI_COUNT[ids][:, None]] = np.nan
    return dataclasses.replace(dataset, chi=chi)


TOY = ModelConfig(width=32, layers=1, heads=4, ffn_width=64)


def toy_model(config=TOY):
    """Random weights from the state of `mx.random`."""
    model = FoldingModel(config)
    model.calibration.bias = mx.array(3.0)
    return model
