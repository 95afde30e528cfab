"""Scores of predicted coordinates against experimental ones: every metric, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import mlx.core as mx
import numpy as np

from betafold_mlx.evaluate.batching import length_batches, length_mask, pad_stack
from betafold_mlx.evaluate.items import Item
from betafold_mlx.geometry import backbone_torsions, rmsd, superpose
from betafold_mlx.geometry.metrics import ca_distance_error, gdt_ts, lddt, torsion_error
from betafold_mlx.structure.secondary import assign_secondary_structure, q3

CA = 1
"""Place of CA among the atoms N, CA, C."""


@dataclass(frozen=True)
class Scores:
    """Scores of n structures, in the order of the items they were scored against."""

    # (n,) Angstrom: N, CA, C after optimal superposition by a proper rotation. NaN where the structure has only CA
    # atoms
    rmsd: np.ndarray
    ca_rmsd: np.ndarray  # (n,) Angstrom: the same over CA alone
    # n times (L,) Angstrom: root mean square over a residue's N, CA, C (or CA, where there is no more) after the
    # superposition of the whole peptide
    deviation: list[np.ndarray]
    # n times (L, 3) degrees: absolute circular error of phi, psi, omega; NaN where undefined
    torsion_error: list[np.ndarray]
    secondary_structure: list[str]  # P-SEA states of the structures
    q3: np.ndarray  # (n,) share of residues in the state that P-SEA gives the experimental CA atoms
    ca_distance_error: np.ndarray  # (n,) Angstrom
    lddt: list[np.ndarray]  # n times (L,) CA-lDDT of each residue, 0 to 1
    gdt_ts: np.ndarray  # (n,) 0 to 1

    def __len__(self) -> int:
        return len(self.q3)

    def select(self, indices: np.ndarray) -> Scores:
        """Return the scores of some structures."""
        chosen: dict[str, np.ndarray | list] = {}
        for name, values in vars(self).items():
            chosen[name] = values[indices] if isinstance(values, np.ndarray) else [values[i] for i in indices]
        return Scores(**chosen)  # type: ignore[arg-type]

    @property
    def mean_lddt(self) -> np.ndarray:
        """(n,) mean CA-lDDT over the residues of each structure."""
        return np.array([values.mean() for values in self.lddt])

    @property
    def torsion_sums(self) -> tuple[np.ndarray, np.ndarray]:
        """(n, 3) sum of the defined errors of phi, psi, omega in degrees, and (n, 3) their number."""
        sums = np.array([np.nansum(error, axis=0) for error in self.torsion_error]).reshape(-1, 3)
        counts = np.array([np.isfinite(error).sum(axis=0) for error in self.torsion_error]).reshape(-1, 3)
        return sums, counts

    @property
    def thirds(self) -> np.ndarray:
        """(n, 3) Angstrom: mean deviation of the residues in the first, middle and last third."""
        return np.array([_thirds(values) for values in self.deviation]).reshape(-1, 3)


def _thirds(deviation: np.ndarray) -> list[float]:
    place = 3 * np.arange(len(deviation)) // len(deviation)
    return [
        float(deviation[place == third].mean()) if (place == third).any() else np.nan for third in range(3)
    ]


def score_structures(items: Sequence[Item], structures: Sequence[np.ndarray]) -> Scores:
    """Score n structures, n times (L, A, 3) with A >= 3, Angstrom, N, CA, C first, against the experimental ones.

    Where any N or C is NaN, only the CA atoms count: backbone RMSD and torsion errors are then NaN.
    """
    rows: dict[str, list] = {entry.name: [None] * len(items) for entry in fields(Scores)}
    for members, length in length_batches([len(item) for item in items]):
        batch = [items[index] for index in members]
        whole = np.array([bool(np.isfinite(structures[index][:, :3]).all()) for index in members])
        predicted = pad_stack([_centred(structures[index]) for index in members], length)
        native = pad_stack([_centred(item.coordinates) for item in batch], length)
        mask = length_mask([len(item) for item in batch], length)
        figures = _score_batch(predicted, native, mask, mx.array(whole))
        for row, index in enumerate(members):
            item, count = batch[row], len(batch[row])
            states = assign_secondary_structure(structures[index][:, CA])
            rows["secondary_structure"][index] = states
            rows["q3"][index] = q3(states, assign_secondary_structure(item.coordinates[:, CA]))
            for name, values in figures.items():
                per_residue = name in ("deviation", "torsion_error", "lddt")
                rows[name][index] = values[row][:count] if per_residue else values[row]
    lists = ("deviation", "torsion_error", "lddt", "secondary_structure")
    return Scores(**{name: values if name in lists else np.array(values) for name, values in rows.items()})  # type: ignore[arg-type]


def _centred(structure: np.ndarray) -> np.ndarray:
    """Return N, CA, C (L, 3, 3) float32 about the centre of the CA atoms, zeros for what is absent.

    float32 resolves less, the further a structure lies from the origin.
    """
    points = np.asarray(structure[:, :3], dtype=np.float64)
    return np.nan_to_num(points - points[:, CA].mean(axis=0)).astype(np.float32)


def _score_batch(
    predicted: mx.array, native: mx.array, mask: mx.array, whole: mx.array
) -> dict[str, np.ndarray]:
    """Score (B, L, 3, 3) structures; `whole` (B,) bool says which have more than CA atoms."""
    batch, length = mask.shape
    counts = mask[..., None] & (whole[:, None, None] | (mx.arange(3) == CA))  # (B, L, 3) atoms that count
    flat = [x.reshape(batch, 3 * length, 3) for x in (predicted, native)]
    moved = superpose(flat[0], flat[1], counts.reshape(batch, -1)).reshape(batch, length, 3, 3)
    squares = ((moved - native) ** 2).sum(axis=-1) * counts  # (B, L, 3)
    torsions, _ = backbone_torsions(predicted, mask)
    targets, defined = backbone_torsions(native, mask)
    error = mx.where(
        defined & whole[:, None, None], mx.degrees(torsion_error(torsions, targets)), float("nan")
    )
    ca, native_ca = predicted[:, :, CA], native[:, :, CA]
    figures = {
        "rmsd": mx.where(whole, mx.sqrt(squares.sum(axis=(1, 2)) / counts.sum(axis=(1, 2))), float("nan")),
        "ca_rmsd": rmsd(ca, native_ca, mask),
        "deviation": mx.sqrt(squares.sum(axis=2) / mx.maximum(counts.sum(axis=2), 1)),
        "torsion_error": error,
        "ca_distance_error": ca_distance_error(ca, native_ca, mask),
        "lddt": lddt(ca, native_ca, mask),
        "gdt_ts": gdt_ts(ca, native_ca, mask),
    }
    mx.eval(figures)
    return {name: np.array(values).astype(np.float64) for name, values in figures.items()}
