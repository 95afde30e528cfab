"""Side chains of predictions: the network's rotamers, packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.packing import Packed, clashing_atoms, pack
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.fold.ranking import faults
from betafold_mlx.fold.relief import Relieved, relieve
from betafold_mlx.geometry.checks import count_clashes_of, measure_stated
from betafold_mlx.geometry.side_chains import slot_names
from betafold_mlx.geometry.spread import mirror_image
from betafold_mlx.geometry.torsions import torsions_around
from betafold_mlx.model.attention import relative_positions
from betafold_mlx.model.inputs import ModelInputs, collate
from betafold_mlx.model.side_chains import SideChainInputs, SideChainNetwork
from betafold_mlx.peptide.cap_bonds import has_cap_bond, with_cap_atoms
from betafold_mlx.peptide.leaving import open_end

NO_ROOM = "the backbone leaves no room for side chains"

_NAMED = 3
"""Pairs of atoms that a warning names."""


def add_side_chains(
    predictions: Sequence[Prediction],
    network: SideChainNetwork,
    states: mx.array | None = None,
    given: Sequence[np.ndarray | None] = (),
    apart: bool = False,
) -> list[Prediction]:
    """Return predictions with all heavy atoms.

    The network knows L residues. It is shown the mirror image where there are D residues, and these take its answer
    for that.

    Parameters
    ----------
    predictions : sequence of Prediction
        B predictions of one padded length, with as many models as each has.
    network : SideChainNetwork
        Gives the rotamers.
    states : mx.array, optional
        (B, L, D) of the folding network, where the side-chain network reads them.
    given : sequence of numpy.ndarray or None
        Of each prediction the chi angles that its stated bonds leave no choice, (M, L, K) radians, NaN of the others.
    apart : bool
        Whether the network is asked for one prediction after another.
    """
    counts = [len(prediction.coordinates) for prediction in predictions] if apart else None
    peptides = [prediction.peptide for prediction in predictions]
    inputs = collate(peptides)
    length = inputs.mask.shape[1]
    most = max(len(prediction.coordinates) for prediction in predictions)
    backbone = np.zeros((len(peptides), most, length, 5, 3), dtype=np.float32)
    for row, prediction in enumerate(predictions):
        models = np.nan_to_num(prediction.coordinates)
        backbone[row, :, : len(prediction.peptide)] = models[np.minimum(np.arange(most), len(models) - 1)]
    log_weights = _rotamer_weights(network, inputs, states, backbone, counts)
    hands = np.zeros((len(peptides), length), dtype=bool)
    for row, peptide in enumerate(peptides):
        hands[row, : len(peptide)] = peptide.d_residues
    if hands.any():
        of_mirror = _rotamer_weights(network, inputs, states, mirror_image(backbone), counts)
        log_weights = np.where(hands[:, None, :, None], of_mirror, log_weights)
    rows, models = np.array(
        [(row, model) for row, each in enumerate(predictions) for model in range(len(each.coordinates))]
    ).T
    fixed = None
    if any(chi is not None for chi in given):
        columns = max(chi.shape[-1] for chi in given if chi is not None)
        fixed = np.full((len(peptides), most, length, columns), np.nan, dtype=np.float32)
        for row, chi in enumerate(given):
            if chi is not None:
                fixed[row, : len(chi), : chi.shape[1], : chi.shape[2]] = chi
        fixed = fixed[rows, models]
    whole = list(map(with_cap_atoms, peptides))
    packed = pack(
        whole, rows, backbone[rows, models], log_weights[rows, models], network.rotamers, given=fixed
    )
    found = []
    for row, prediction in enumerate(predictions):
        peptide, mine = prediction.peptide, packed.atoms[rows == row, : len(prediction.peptide)]
        names = slot_names(peptide.residues, open_end(peptide))
        mine = mine[:, :, : max(map(len, names))]
        mine[:, 0, len(names[0]) :] = np.nan  # a cap is no part of the residue in the files
        mine[:, :, :5] = prediction.coordinates
        overlaps = [packed.clashes[index] for index in np.flatnonzero(rows == row)]
        found.append(
            replace(
                prediction,
                atoms=mine,
                atom_names=tuple(names),
                side_chain_clashes=tuple(map(len, overlaps)),
                warnings=(*prediction.warnings, *crowded(overlaps[0])),
            )
        )
    _make_room(found, rows, models, packed)
    return found


def _make_room(found: list[Prediction], rows: np.ndarray, models: np.ndarray, packed: Packed) -> None:
    """Let models give way that are crowded or lack a bond; `rows` and `models` say which ones were packed."""
    peptides = [prediction.peptide for prediction in found]
    wanting = packed.crowded | [
        not all(bond.formed for bond in found[row].bonds[k]) for row, k in zip(rows, models, strict=True)
    ]
    for row in np.unique(rows[wanting]).tolist():
        peptide, prediction = peptides[row], found[row]
        if has_cap_bond(peptide):  # the cap's atoms are no part of the chain
            continue
        chosen = np.flatnonzero(wanting & (rows == row))
        assert prediction.atoms is not None
        free = relieve(peptide, prediction.atoms[models[chosen]], packed.chi[chosen, : len(peptide)])
        if free.better.any():
            found[row] = _moved(prediction, models[chosen[free.better]], free.take(free.better))


def _moved(prediction: Prediction, models: np.ndarray, free: Relieved) -> Prediction:
    """Return a prediction with some of its models as they gave way."""
    peptide = prediction.peptide
    assert prediction.atoms is not None
    atoms, bonds, counts = (
        prediction.atoms.copy(),
        list(prediction.bonds),
        list(prediction.side_chain_clashes),
    )
    atoms[models] = free.atoms
    coordinates = atoms[:, :, :5]
    torsions = np.where(np.isnan(prediction.torsions), np.nan, torsions_around(coordinates))
    of_backbone, through = count_clashes_of(peptide, coordinates)
    named = clashing_atoms(peptide, atoms[models])
    measured = measure_stated(peptide, coordinates[models], free.chi)
    for model, pairs, each in zip(models.tolist(), named, measured, strict=True):
        counts[model], bonds[model] = len(pairs), each
    warnings = prediction.warnings
    if 0 in models:
        before = faults(prediction.bonds[0], prediction.through[0])
        still = (line for line in warnings if line not in before and not line.startswith(NO_ROOM))
        after = faults(bonds[0], bool(through[0]))
        warnings = (*still, *after, *crowded(named[models.tolist().index(0)]))
    return replace(
        prediction,
        atoms=atoms,
        coordinates=coordinates,
        torsions=torsions,
        bonds=tuple(bonds),
        clashes=tuple(of_backbone.tolist()),
        through=tuple(through.tolist()),
        side_chain_clashes=tuple(counts),
        warnings=warnings,
    )


def crowded(clashes: Sequence[tuple[str, str]]) -> list[str]:
    """Say which atoms of side chains the backbone leaves no room for."""
    if not clashes:
        return []
    named = ", ".join(f"{a} and {b}" for a, b in clashes[:_NAMED])
    more = f" and {len(clashes) - _NAMED} more" if len(clashes) > _NAMED else ""
    return [f"{NO_ROOM}: {named}{more}"]


def _rotamer_weights(
    network: SideChainNetwork,
    inputs: ModelInputs,
    states: mx.array | None,
    backbone: np.ndarray,
    counts: Sequence[int] | None = None,
) -> np.ndarray:
    """Return log weights (B, S, L, K) of rotamers for backbones (B, S, L, 5, 3).

    Where there are `counts`, of the models of each peptide, one peptide after another is shown with just these.
    """
    if counts is not None:
        found = []
        for row, count in enumerate(counts):
            this = slice(row, row + 1)
            mine = ModelInputs(*(None if array is None else array[this] for array in inputs))  # type: ignore[arg-type]
            own = None if states is None else states[this]
            weights = _rotamer_weights(network, mine, own, backbone[this, :count])
            found.append(weights[:, np.minimum(np.arange(backbone.shape[1]), count - 1)])
        return np.concatenate(found)
    length = inputs.mask.shape[1]
    seen = SideChainInputs(
        states=states,
        residues=inputs.residues,
        mask=inputs.mask,
        relative=relative_positions(inputs.mask.sum(axis=1), inputs.cyclic, length),
        bonded=inputs.bonded,
        coordinates=mx.array(backbone[..., :4, :]),
    )
    return np.array(network(seen))
