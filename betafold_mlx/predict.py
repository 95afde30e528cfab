"""What a Python user imports: `Predictor` folds, `Prediction` is what comes out."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from betafold_mlx import __version__
from betafold_mlx.closure import Bond, measure_bonds
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import to_json, write_text
from betafold_mlx.model.directory import LoadedModel, load_model
from betafold_mlx.model.inputs import collate, padded_length
from betafold_mlx.sequence import TRAINED_LENGTHS, Peptide
from betafold_mlx.structure.secondary import assign_secondary_structure
from betafold_mlx.structure.writer import PredictedModels, to_mmcif, to_pdb
from betafold_mlx.zoo import find_model

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Prediction:
    """The predicted structures of one peptide, best first.

    Attributes
    ----------
    id : str
        Name of the peptide.
    peptide : Peptide
        Sequence (length L) and stated chemistry.
    coordinates : numpy.ndarray
        (M, L, 5, 3) float32 Angstrom: N, CA, C, O, CB; NaN for the CB of glycine.
    plddt : numpy.ndarray
        (M, L) float32, predicted C-alpha lDDT, 0 to 100.
    torsions : numpy.ndarray
        (M, L, 3) float32 radians, phi, psi, omega; NaN where undefined (phi of the first residue, psi and omega of
        the last).
    bonds : tuple of tuple of Bond
        For each model, the stated ring closure and disulfides as the coordinates have them.
    seed : int
        Random seed.
    model_name, model_sha256 : str
        The folding model.
    embedder : str
        Kind of its embedder.
    warnings : tuple of str
        What a user should know of this prediction.
    """

    id: str
    peptide: Peptide
    coordinates: np.ndarray
    plddt: np.ndarray
    torsions: np.ndarray
    bonds: tuple[tuple[Bond, ...], ...]
    seed: int
    model_name: str
    model_sha256: str
    embedder: str
    warnings: tuple[str, ...] = ()

    @property
    def sequence(self) -> str:
        """The one-letter sequence."""
        return self.peptide.sequence

    @property
    def secondary_structure(self) -> tuple[str, ...]:
        """A string of H (helix), E (strand) and C (coil) for each model (P-SEA)."""
        return tuple(assign_secondary_structure(model[:, 1]) for model in self.coordinates)

    @property
    def constraints_met(self) -> bool:
        """True when the first model has all stated bonds."""
        return all(bond.formed for bond in self.bonds[0])

    def _models(self) -> PredictedModels:
        title = f"{self.id}: predicted by betafold-mlx {__version__}, model {self.model_name}"
        return PredictedModels(
            id=self.id,
            sequence=self.sequence,
            coordinates=self.coordinates,
            plddt=self.plddt,
            cyclic=self.peptide.cyclic
            and all(b.formed for bonds in self.bonds for b in bonds if b.kind == "ring"),
            disulfides=tuple(
                pair
                for pair in self.peptide.disulfides
                if all(
                    b.formed
                    for bonds in self.bonds
                    for b in bonds
                    if b.residues == pair and b.kind == "disulfide"
                )
            ),
            model_name=self.model_name,
            software_version=__version__,
            title=title,
        )

    def to_mmcif(self) -> str:
        """Return the models as mmCIF with the ModelCIF confidence categories."""
        return to_mmcif(self._models())

    def to_pdb(self) -> str:
        """Return the models as PDB text, pLDDT as B-factor."""
        return to_pdb(self._models())

    def to_dict(self) -> dict[str, Any]:
        """Return the prediction without coordinates as plain JSON values; torsions in degrees."""
        structures = self.secondary_structure
        models = []
        for rank in range(len(self.coordinates)):
            degrees = np.degrees(self.torsions[rank].astype(float))
            models.append(
                {
                    "rank": rank + 1,
                    "mean_plddt": round(float(self.plddt[rank].mean()), 2),
                    "plddt": [round(float(value), 2) for value in self.plddt[rank]],
                    "secondary_structure": structures[rank],
                    "torsions": {
                        name: [None if np.isnan(v) else round(float(v), 2) for v in degrees[:, column]]
                        for column, name in enumerate(("phi", "psi", "omega"))
                    },
                    "stated_bonds": [dataclasses.asdict(bond) for bond in self.bonds[rank]],
                }
            )
        return {
            "schema_version": SCHEMA_VERSION,
            "id": self.id,
            "sequence": self.sequence,
            "length": len(self.peptide),
            "cyclic": self.peptide.cyclic,
            "disulfides": [list(pair) for pair in self.peptide.disulfides],
            "mean_plddt": models[0]["mean_plddt"],
            "plddt": models[0]["plddt"],
            "secondary_structure": models[0]["secondary_structure"],
            "torsions": models[0]["torsions"],
            "models": models,
            "seed": self.seed,
            "model": {"name": self.model_name, "sha256": self.model_sha256, "embedder": self.embedder},
            "versions": {
                "betafold-mlx": __version__,
                "mlx": version("mlx"),
                "python": platform.python_version(),
            },
            "warnings": list(self.warnings),
        }

    def save(self, path: str | Path) -> Path:
        """Write the prediction: ``.cif``, ``.pdb`` or ``.json``, by the suffix.

        Raises
        ------
        BetafoldError
            For another suffix, or where the file system refuses.
        """
        path = Path(path)
        writers = {
            ".cif": self.to_mmcif,
            ".pdb": self.to_pdb,
            ".json": lambda: to_json(self.to_dict()),
        }
        if path.suffix not in writers:
            raise BetafoldError(f"cannot save {path.name}: the name must end in .cif, .pdb or .json")
        write_text(path, writers[path.suffix]())
        return path


class Predictor:
    """A folding model, loaded and ready.

    Parameters
    ----------
    loaded : LoadedModel
        From `betafold_mlx.model.directory.load_model`; `Predictor.load` is the usual way.

    Examples
    --------
    >>> from betafold_mlx import Predictor
    >>> prediction = Predictor.load().fold("GIGKFLHSAKKFGKAFVGEIMNS")
    >>> prediction.coordinates.shape
    (1, 23, 5, 3)
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        if loaded.model.config.embedder.kind != "residue":
            raise BetafoldError(
                f"model {loaded.name} needs the embedder {loaded.model.config.embedder.kind!r}, "
                "which this version cannot run"
            )

    @classmethod
    def load(cls, model: str | Path | None = None) -> Predictor:
        """Load a model directory.

        Parameters
        ----------
        model : str or Path, optional
            A model directory or the name of a bundled one; by default the bundled ``betafold-mini``.

        Raises
        ------
        BetafoldError
            No such model, or a damaged one.
        """
        return cls(load_model(find_model(model)))

    def fold(
        self,
        sequence: str | Peptide,
        *,
        cyclic: bool = False,
        disulfides: Iterable[tuple[int, int]] = (),
        samples: int = 1,
        seed: int = 0,
        id: str | None = None,
    ) -> Prediction:
        """Fold one peptide.

        Parameters
        ----------
        sequence : str or Peptide
            4 to 32 standard residues in one-letter code.
        cyclic : bool
            Closed head to tail (where `sequence` is text).
        disulfides : iterable of (int, int)
            1-based pairs of bonded cysteines (where `sequence` is text).
        samples : int
            Models to make, ranked by mean pLDDT. The first drawn is the network's answer; the others are drawn
            with dropout on (Gal & Ghahramani 2016), each from its own key: sample i is the same whatever `samples`.
        seed : int
            0 to 2^31 - 1.
        id : str, optional
            Name; by default the sequence.

        Returns
        -------
        Prediction

        Raises
        ------
        BetafoldError
            For a sequence or chemistry that cannot be, or numbers out of range.
        """
        peptide = sequence if isinstance(sequence, Peptide) else Peptide.parse(sequence, cyclic, disulfides)
        return self.fold_many([peptide], samples=samples, seed=seed, ids=[id or peptide.sequence])[0]

    def fold_many(
        self,
        peptides: Sequence[Peptide],
        *,
        ids: Sequence[str] | None = None,
        samples: int = 1,
        seed: int = 0,
    ) -> list[Prediction]:
        """Fold peptides in batches of equal padded length.

        Parameters
        ----------
        peptides : sequence of Peptide
            Checked peptides.
        ids : sequence of str, optional
            Their names; by default the sequences.
        samples, seed : int
            As in `fold`.

        Returns
        -------
        list of Prediction
            In the order of `peptides`.
        """
        if samples < 1:
            raise BetafoldError(f"samples must be at least 1, not {samples}")
        if not 0 <= seed < 2**31:
            raise BetafoldError(f"seed must lie between 0 and {2**31 - 1}, not {seed}")
        names = [peptide.sequence for peptide in peptides] if ids is None else ids
        predictions: dict[int, Prediction] = {}
        by_length: dict[int, list[int]] = {}
        for index, peptide in enumerate(peptides):
            by_length.setdefault(padded_length(len(peptide)), []).append(index)
        for length, members in by_length.items():
            inputs = collate([peptides[index] for index in members], length)
            folded = self.loaded.model(inputs)
            arrays = [np.array(x) for x in (folded.coordinates, folded.plddt, folded.torsions)]
            for row, index in enumerate(members):
                drawn = [tuple(array[row] for array in arrays)]
                drawn += [self._draw(peptides[index], length, seed, number) for number in range(1, samples)]
                predictions[index] = self._prediction(names[index], peptides[index], drawn, seed)
        return [predictions[index] for index in range(len(peptides))]

    def _draw(self, peptide: Peptide, length: int, seed: int, number: int) -> tuple[np.ndarray, ...]:
        folded = self.loaded.model(collate([peptide], length), mx.random.key((seed << 32) + number))
        return tuple(np.array(x[0]) for x in (folded.coordinates, folded.plddt, folded.torsions))

    def _prediction(
        self, name: str, peptide: Peptide, drawn: list[tuple[np.ndarray, ...]], seed: int
    ) -> Prediction:
        length = len(peptide)
        order = sorted(range(len(drawn)), key=lambda number: -float(drawn[number][1][:length].mean()))
        coordinates, plddt, torsions = (
            np.stack([drawn[number][part][:length] for number in order]) for part in range(3)
        )
        glycine = np.array([letter == "G" for letter in peptide.sequence])
        coordinates[:, glycine, 4] = np.nan
        torsions[:, 0, 0] = np.nan
        torsions[:, -1, 1:] = np.nan
        bonds = tuple(measure_bonds(peptide, model) for model in coordinates)
        return Prediction(
            id=name,
            peptide=peptide,
            coordinates=coordinates,
            plddt=plddt,
            torsions=torsions,
            bonds=bonds,
            seed=seed,
            model_name=self.loaded.name,
            model_sha256=self.loaded.sha256,
            embedder=self.loaded.model.config.embedder.kind,
            warnings=_warnings(peptide, bonds[0]),
        )


def _warnings(peptide: Peptide, bonds: Sequence[Bond]) -> tuple[str, ...]:
    warnings = []
    shortest, longest = TRAINED_LENGTHS
    if not shortest <= len(peptide) <= longest:
        warnings.append(
            f"{len(peptide)} residues: the model was trained on {shortest} to {longest}, so expect less of it here"
        )
    warnings += [f"{bond.describe()}: not formed in this model" for bond in bonds if not bond.formed]
    return tuple(warnings)
