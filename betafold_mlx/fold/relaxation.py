"""A prediction relaxed: its models with hydrogens (`betafold_mlx.fold.relax`), and all else read off them again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.packing import clashing_atoms
from betafold_mlx.fold.relax import DEFAULT_PH, Atoms, CannotRelaxError, Relaxed, relax
from betafold_mlx.fold.side_chains import NO_ROOM, crowded
from betafold_mlx.geometry.checks import Bond
from betafold_mlx.geometry.torsions import torsions_around
from betafold_mlx.structure.writer import written_prediction

if TYPE_CHECKING:
    from betafold_mlx.fold.prediction import Prediction


@dataclass(frozen=True)
class Relaxation:
    """The relaxed models of a prediction, M of them with n atoms.

    Attributes
    ----------
    ph : float
        For which the hydrogens are.
    openmm : str
        Version.
    names : tuple of tuple of str
        Atoms of each position of the chain, caps and hydrogens too.
    coordinates : numpy.ndarray
        (M, n, 3) Angstrom.
    models : tuple of Relaxed
        Energies, and how far the heavy atoms have moved.
    """

    ph: float
    openmm: str
    names: tuple[tuple[str, ...], ...]
    coordinates: np.ndarray
    models: tuple[Relaxed, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what all models have in common as plain JSON values."""
        return {"ph": self.ph, "force_field": "AMBER ff14SB, GBn2", "openmm": self.openmm}

    def model_dict(self, rank: int) -> dict[str, float]:
        """Return the figures of a model, from 0: kJ/mol and Angstrom."""
        model = self.models[rank]
        return {
            "energy_before": round(model.energy_before, 1),
            "energy_after": round(model.energy_after, 1),
            "rmsd": round(model.rmsd, 3),
            "largest_move": round(model.moved, 3),
        }


def relax_prediction(prediction: Prediction, ph: float = DEFAULT_PH) -> Prediction:
    """Return a prediction with relaxed models, as `Prediction.relax` says."""
    if not prediction.all_atoms:
        raise BetafoldError("only a prediction with side chains can be relaxed, and this one has none")
    if not 0 <= ph <= 14:
        raise BetafoldError(f"the pH must lie between 0 and 14, not {ph}")
    written = written_prediction(prediction)
    models = []
    for xyz in written.coordinates:
        rows = iter(xyz)
        models.append([dict(zip(names, islice(rows, len(names)), strict=True)) for names in written.names])
    links = [
        (*bond.first, *bond.second)
        for bond in written.bonds
        if bond.second.position - bond.first.position != 1
        or (bond.first.atom, bond.second.atom) != ("C", "N")
    ]
    try:
        relaxed = relax([monomer.name for monomer in written.chain], models, links, ph)
    except CannotRelaxError as error:
        return dataclasses.replace(prediction, warnings=(*prediction.warnings, str(error)))
    from openmm import version

    residues = [position for position, monomer in enumerate(written.chain) if not monomer.cap]
    atoms = np.full_like(prediction.atoms, np.nan)
    for model, result in enumerate(relaxed):
        for place, position in enumerate(residues):
            for slot, name in enumerate(prediction.atom_names[place]):
                if name in result.atoms[position]:
                    atoms[model, place, slot] = result.atoms[position][name]
    coordinates = atoms[:, :, :5]
    torsions = torsions_around(coordinates)
    clashes = clashing_atoms(prediction.peptide, atoms)
    still = [warning for warning in prediction.warnings if not warning.startswith(NO_ROOM)]
    return dataclasses.replace(
        prediction,
        side_chain_clashes=tuple(map(len, clashes)),
        warnings=(*still, *crowded(clashes[0])),
        coordinates=coordinates,
        atoms=atoms,
        torsions=np.where(np.isfinite(prediction.torsions), torsions, np.nan),
        bonds=tuple(
            tuple(_measured(bond, [each.atoms[position] for position in residues]) for bond in bonds)
            for bonds, each in zip(prediction.bonds, relaxed, strict=True)
        ),
        relaxation=Relaxation(
            ph,
            version.short_version,
            tuple(tuple(of_position) for of_position in relaxed[0].atoms),
            np.stack([np.stack(list(chain(*(one.values() for one in each.atoms)))) for each in relaxed]),
            tuple(relaxed),
        ),
    )


def _measured(bond: Bond, atoms: Sequence[Atoms]) -> Bond:
    """Return a stated bond with its length in relaxed residues; the force field keeps those that were formed."""
    (i, j), (first, second) = bond.residues, ("N", "C") if bond.kind == "ring" else ("SG", "SG")
    distance = float(np.linalg.norm(atoms[i - 1][first] - atoms[j - 1][second]))
    return dataclasses.replace(bond, distance=round(distance, 3))
