"""What comes out of a fold: structures, confidence, torsions, and how they are told and written."""

from __future__ import annotations

import dataclasses
import functools
import io
import math
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gemmi
import numpy as np

from betafold_mlx import __version__
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import to_json, write_text
from betafold_mlx.fold.disulfides import Pairing
from betafold_mlx.fold.spread import Spread, laid_on_first, measure_spread
from betafold_mlx.geometry.closure import Bond
from betafold_mlx.geometry.mirror import mirror_image
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.structure.secondary import assign_secondary_structures
from betafold_mlx.structure.writer import PredictedModels, to_mmcif, to_pdb

if TYPE_CHECKING:
    from biotite.structure import AtomArray

    from betafold_mlx.fold.details import Details

SCHEMA_VERSION = 1


@functools.cache
def versions() -> dict[str, str]:
    """Return what has a part in the numbers: the package, MLX and Python."""
    return {"betafold-mlx": __version__, "mlx": version("mlx"), "python": platform.python_version()}


def assign_together(predictions: Iterable[Prediction]) -> None:
    """Work out the secondary structures of many predictions in one go: one by one takes ten times as long."""
    waiting = [prediction for prediction in predictions if "secondary_structure" not in vars(prediction)]
    traces = [trace for prediction in waiting for trace in prediction._l_traces()]
    letters = iter(assign_secondary_structures(traces))
    for prediction in waiting:  # as the cached property would
        vars(prediction)["secondary_structure"] = tuple(islice(letters, len(prediction.coordinates)))


@dataclass(frozen=True, repr=False)
class Prediction:
    """The predicted structures of one peptide, best first.

    Attributes
    ----------
    id : str
        Name of the peptide.
    peptide : Peptide
        Sequence (length L) and stated chemistry.
    coordinates : numpy.ndarray
        (M, L, 5, 3) float32 Angstrom: N, CA, C, O, CB; NaN for the CB of glycine. Caps are in files only.
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
    embedder : dict
        Its embedder: ``kind`` (``residue`` or ``esm2``) and ``label``, and of a frozen one more that identifies it.
    pairings : tuple of Pairing
        Where no disulfide is stated: the ways to bond the cysteines that the model prefers, best first.
    warnings : tuple of str
        What a user should know of this prediction.
    details : Details or None
        What the network said on the way, where it was asked for; in no file but the report.
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
    embedder: dict[str, Any]
    pairings: tuple[Pairing, ...] = ()
    warnings: tuple[str, ...] = ()
    details: Details | None = None

    def __repr__(self) -> str:
        count = len(self.coordinates)
        models = "1 model" if count == 1 else f"{count} models"
        chemistry = f" {self.peptide.chemistry}" if self.peptide.chemistry else ""
        plddt = float(self.plddt[0].mean())
        return f"<Prediction {self.id!r}: {self.sequence}{chemistry}, {models} of {self.made_by}, pLDDT {plddt:.1f}>"

    def _repr_html_(self) -> str:
        """Return a picture of the first model for Jupyter: no scripts, and no 3D viewer (see `betafold_mlx.report`)."""
        from betafold_mlx.report.notebook import notebook_html  # only a notebook needs it

        return notebook_html(self)

    @property
    def sequence(self) -> str:
        """The one-letter sequence."""
        return self.peptide.sequence

    @functools.cached_property
    def secondary_structure(self) -> tuple[str, ...]:
        """A string of H (helix), E (strand) and C (coil) for each model (P-SEA).

        P-SEA knows L peptides: of a D peptide it reads the mirror image, so that H there is a left-handed helix.
        """
        return tuple(assign_secondary_structures(self._l_traces()))

    def _l_traces(self) -> list[np.ndarray]:
        """Return the CA trace (L, 3) of each model, of a D peptide that of its mirror image."""
        ca = self.coordinates[:, :, 1]
        return list(mirror_image(ca) if self.peptide.d_amino_acids else ca)

    @functools.cached_property
    def spread(self) -> Spread:
        """How the models differ: clusters, RMSD to the first, and the spread of each residue."""
        return measure_spread(self.coordinates)

    def mirrored(self) -> Prediction:
        """Return the prediction with the mirror image of its coordinates and torsions, and all else as it is.

        That is how a D peptide comes from its L peptide, which the network folds: exact, by symmetry.
        """
        image = mirror_image(self.coordinates)
        details = self.details and self.details.mirrored()
        return dataclasses.replace(self, coordinates=image, torsions=-self.torsions, details=details)

    @property
    def made_by(self) -> str:
        """The model in words, with its frozen embedder: weights that are not the published ones show."""
        frozen = self.embedder["kind"] != "residue"
        return f"{self.model_name} on {self.embedder['label']}" if frozen else self.model_name

    @property
    def constraints_met(self) -> bool:
        """True when the first model has all stated bonds."""
        return all(bond.formed for bond in self.bonds[0])

    def _models(self) -> PredictedModels:
        # A file states a bond for all its models: only what each of them has may stand there.
        formed = set.intersection(
            *({(b.kind, b.residues) for b in bonds if b.formed} for bonds in self.bonds)
        )
        return PredictedModels(
            id=self.id,
            sequence=self.sequence,
            coordinates=laid_on_first(self.coordinates),
            plddt=self.plddt,
            cyclic=any(kind == "ring" for kind, _ in formed),
            disulfides=tuple(sorted(residues for kind, residues in formed if kind == "disulfide")),
            model_name=self.made_by,
            software_version=__version__,
            d_amino_acids=self.peptide.d_amino_acids,
            n_cap=self.peptide.n_cap,
            c_cap=self.peptide.c_cap,
            title=f"{self.id}: predicted by betafold-mlx {__version__}, model {self.made_by}",
        )

    def to_mmcif(self) -> str:
        """Return the models as mmCIF with the ModelCIF confidence categories."""
        return to_mmcif(self._models())

    def to_pdb(self) -> str:
        """Return the models as PDB text, pLDDT as B-factor."""
        return to_pdb(self._models())

    def to_gemmi(self) -> gemmi.Structure:
        """Return the models as a gemmi structure, as the mmCIF file has them: caps, bonds, pLDDT as B-factor."""
        return gemmi.make_structure_from_block(gemmi.cif.read_string(self.to_mmcif()).sole_block())

    def to_biotite(self, model: int = 1) -> AtomArray:
        """Return a model as a biotite atom array, as the mmCIF file has it: caps, bonds, pLDDT as ``b_factor``.

        One model, not a stack: the annotations of a stack, the B-factor among them, are the same for all its models.

        Parameters
        ----------
        model : int
            Its rank, from 1.

        Raises
        ------
        BetafoldError
            Where there is no such model, or biotite is not installed.
        """
        if not 1 <= model <= len(self.coordinates):
            raise BetafoldError(f"there is no model {model}: the prediction has 1 to {len(self.coordinates)}")
        try:
            from biotite.structure.io import pdbx
        except ImportError as error:
            raise BetafoldError("biotite is not installed: get it with `pip install biotite`") from error
        file = pdbx.CIFFile.read(io.StringIO(self.to_mmcif()))
        return pdbx.get_structure(file, model=model, extra_fields=["b_factor"], include_bonds=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the prediction without coordinates as plain JSON values; torsions in degrees."""
        structures = self.secondary_structure
        models = []
        for rank in range(len(self.coordinates)):
            columns = np.degrees(self.torsions[rank].astype(float)).T.tolist()
            models.append(
                {
                    "rank": rank + 1,
                    "cluster": self.spread.clusters[rank],
                    "rmsd_to_first": round(self.spread.rmsd_to_first[rank], 3),
                    "mean_plddt": round(float(self.plddt[rank].mean()), 2),
                    "plddt": [round(value, 2) for value in self.plddt[rank].tolist()],
                    "secondary_structure": structures[rank],
                    "torsions": {
                        name: [None if math.isnan(v) else round(v, 2) for v in column]
                        for name, column in zip(("phi", "psi", "omega"), columns, strict=True)
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
            "d_amino_acids": self.peptide.d_amino_acids,
            "caps": {"n": self.peptide.n_cap, "c": self.peptide.c_cap, "modelled": False},
            "mean_plddt": models[0]["mean_plddt"],
            "plddt": models[0]["plddt"],
            "secondary_structure": models[0]["secondary_structure"],
            "secondary_structure_of": "mirror image" if self.peptide.d_amino_acids else "model",
            "torsions": models[0]["torsions"],
            "models": models,
            "clusters": max(self.spread.clusters),
            "spread": [round(value, 3) for value in self.spread.per_residue],
            "disulfide_pairings": [
                {
                    "disulfides": [list(pair) for pair in pairing.disulfides],
                    "probability": round(pairing.probability, 4),
                }
                for pairing in self.pairings
            ],
            "seed": self.seed,
            "model": {
                "name": self.model_name,
                "sha256": self.model_sha256,
                "embedder": self.embedder["kind"],
            },
            "embedder": self.embedder,
            "versions": dict(versions()),
            "warnings": list(self.warnings),
        }

    def save(self, path: str | Path) -> Path:
        """Write the prediction: ``.cif``, ``.pdb``, ``.json`` or ``.html``, the report, by the suffix.

        Returns
        -------
        Path
            `path`.

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
            ".html": self._report,
        }
        if path.suffix not in writers:
            raise BetafoldError(f"cannot save {path.name}: the name must end in .cif, .pdb, .json or .html")
        write_text(path, writers[path.suffix]())
        return path

    def _report(self) -> str:
        from betafold_mlx.report import report_html  # only a report needs it

        return report_html(self)
