"""How good side chains on native backbones are: the network and its packing beside a backbone-dependent library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from betafold_mlx.data.store import Dataset
from betafold_mlx.data.windows import Window
from betafold_mlx.fold.packing import pack
from betafold_mlx.geometry.ideal import PRO
from betafold_mlx.model.rotamers import ROTAMERS, Rotamers, correct_angles
from betafold_mlx.model.side_chains import SideChainNetwork, surroundings
from betafold_mlx.structure.bonds import virtual_cb
from betafold_mlx.train.side_chain_trainer import SideChainExamples, observed_side_chains

BIN = 30
"""Degrees of phi and psi that share their counts."""

PSEUDOCOUNT = 20.0
"""Residues of a bin that the counts whatever the backbone stand for."""

Measured = tuple[Sequence[Window], SideChainExamples]
"""B windows, and the same as a batch."""

Method = Callable[[Sequence[Window], SideChainExamples], np.ndarray]
"""Such a batch -> (B, L, 4) chi angles, radians."""


@dataclass(frozen=True)
class RotamerLibrary:
    """A backbone-dependent rotamer library: counts of training residues by phi and psi, as Dunbrack & Karplus 1993."""

    # (20, 13, 13, K) probability of each rotamer. The last bin of phi and of psi is for an undefined one
    weight: np.ndarray

    @classmethod
    def counted(cls, dataset: Dataset, rotamers: Rotamers) -> RotamerLibrary:
        """Count the rotamers of the training residues, and smooth bins with the counts whatever the backbone."""
        residues, chi = observed_side_chains(dataset)
        known = np.isfinite(chi[:, 0])
        residues, chi, rows = residues[known], chi[known], dataset.rows("train")[known]
        phi, psi = _bins(dataset.torsions[rows, :2], dataset.torsion_mask[rows, :2])
        bins = 360 // BIN + 1
        counts = np.zeros((20, bins, bins, ROTAMERS))
        np.add.at(counts, (residues, phi, psi, _assigned(rotamers, residues, chi)), 1)
        overall = counts.sum(axis=(1, 2)) + 1e-3 * np.array(rotamers.weight)
        overall /= np.maximum(overall.sum(axis=-1, keepdims=True), 1e-9)
        counts += PSEUDOCOUNT * overall[:, None, None]
        return cls(counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1e-9))

    def best(self, residues: np.ndarray, torsions: np.ndarray, defined: np.ndarray) -> np.ndarray:
        """Return the most likely rotamer (...) by phi and psi (..., 2) in radians, and whether they are defined."""
        phi, psi = _bins(torsions, defined)
        return self.weight[residues, phi, psi].argmax(axis=-1)


def _bins(torsions: np.ndarray, defined: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    place = np.floor(np.degrees(torsions) / BIN).astype(int) % (360 // BIN)
    place = np.where(defined, place, 360 // BIN)
    return place[..., 0], place[..., 1]


def _assigned(rotamers: Rotamers, residues: np.ndarray, chi: np.ndarray) -> np.ndarray:
    """Return the rotamer (N,) that each residue is most likely in."""
    found = []
    prior = mx.log(mx.maximum(rotamers.weight, 1e-9))
    for first in range(0, len(residues), 1 << 16):
        part = slice(first, first + (1 << 16))
        ids, angles = mx.array(residues[part]), chi[part]
        density = rotamers.log_densities(ids, mx.array(np.nan_to_num(angles)), mx.array(np.isfinite(angles)))
        found.append(np.array((density + prior[ids]).argmax(axis=-1)))
    return np.concatenate(found)


def accuracy(method: Method, measured: Sequence[Measured]) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares of residues with chi1, and with chi1 and chi2, correct: (2,), and (2,) of how many.

    Pro is left out: its ring has two puckers, which packers do not count.
    """
    correct = []
    for windows, examples in measured:
        residues = np.array(examples.inputs.residues)
        counted = np.array(examples.inputs.mask) & (residues != PRO)
        native = np.where(np.array(examples.defined), np.array(examples.chi), np.nan)
        correct.append(correct_angles(method(windows, examples), native, residues)[counted])
    all_correct = np.concatenate(correct)
    return np.nanmean(all_correct, axis=0), np.isfinite(all_correct).sum(axis=0)


def methods(network: SideChainNetwork, dataset: Dataset) -> dict[str, Method]:
    """Return what is compared: the most frequent rotamer, a library counted of `dataset`, the network, its packing."""
    centre = np.array(network.rotamers.centre)
    frequent = np.array(network.rotamers.weight).argmax(axis=-1)
    library = RotamerLibrary.counted(dataset, network.rotamers)

    def by_frequency(windows: Sequence[Window], examples: SideChainExamples) -> np.ndarray:
        residues = np.array(examples.inputs.residues)
        return centre[residues, frequent[residues]]

    def by_backbone(windows: Sequence[Window], examples: SideChainExamples) -> np.ndarray:
        inputs = examples.inputs
        residues = np.array(inputs.residues)
        # cosine and sine of phi and psi; both zero where undefined
        seen = surroundings(inputs, 1).torsions[..., :4]
        cosine, sine = np.array(seen[..., ::2]), np.array(seen[..., 1::2])
        return centre[residues, library.best(residues, np.arctan2(sine, cosine), cosine**2 + sine**2 > 0)]

    def by_network(windows: Sequence[Window], examples: SideChainExamples) -> np.ndarray:
        residues = np.array(examples.inputs.residues)
        return centre[residues, np.array(network(examples.inputs)[:, 0].argmax(axis=-1))]

    def by_packing(windows: Sequence[Window], examples: SideChainExamples) -> np.ndarray:
        backbone = np.array(examples.inputs.coordinates[:, 0])
        cb = np.stack([virtual_cb(each) for each in backbone])[:, :, None].astype(np.float32)
        packed = pack(
            [window.peptide for window in windows],
            np.arange(len(windows)),
            np.concatenate([backbone, cb], axis=2),
            np.array(network(examples.inputs)[:, 0]),
            network.rotamers,
            closed=False,
        )
        chi = np.full((*backbone.shape[:2], 4), np.nan)
        chi[..., : packed.chi.shape[-1]] = packed.chi[..., :4]
        return chi

    return {
        "most frequent rotamer": by_frequency,
        "library by phi and psi": by_backbone,
        "network": by_network,
        "network, packed": by_packing,
    }
