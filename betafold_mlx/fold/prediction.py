"""`Prediction`: the structures of one peptide with confidence and torsions, as text, JSON and other tools' objects."""

from __future__ import annotations

import dataclasses
import functools
import io
import itertools
import math
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gemmi
import numpy as np

from betafold_mlx._version import __version__
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import to_json, write_text
from betafold_mlx.fold.foreign import is_mirrored
from betafold_mlx.geometry.checks import Bond
from betafold_mlx.geometry.spread import Spread, measure_spread, mirror_image, superpose_models
from betafold_mlx.peptide.leaving import leaving_atoms
from betafold_mlx.peptide.residue_table import BACKBONE, RESIDUES
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.structure.writer import to_mmcif, to_pdb

if TYPE_CHECKING:
    from biotite.structure import AtomArray

    from betafold_mlx.fold.details import Details
    from betafold_mlx.fold.disulfides import DisulfidePattern
    from betafold_mlx.fold.relaxation import Relaxation
    from betafold_mlx.templates.search import Hit

SCHEMA_VERSION = 1


@functools.cache
def versions() -> dict[str, str]:
    """Return what has a part in the numbers: the package, MLX and Python."""
    return {"betafold-mlx": __version__, "mlx": version("mlx"), "python": platform.python_version()}


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
    secondary_structure : tuple of str
        For each model a string of H (helix), E (strand) and C (coil), by P-SEA. P-SEA knows L peptides: of a peptide
        that is D for the most part it read the mirror image, so that H there is a left-handed helix.
    bonds : tuple of tuple of Bond
        For each model, the stated ring closure and disulfides as the coordinates have them.
    clashes : tuple of int
        For each model, pairs of atoms that are too close (`betafold_mlx.geometry.checks`).
    through : tuple of bool
        For each model, whether its chain runs through itself.
    templates : tuple of Hit
        Known structures that the peptide was looked up in, the most trusted first; `threaded` counts them.
    threaded : tuple of int or None
        For each model, the template that it was threaded through; None for one of the network alone.
    seed : int
        Random seed.
    model_name, model_sha256 : str
        The folding model.
    embedder : dict
        Its embedder: ``kind`` (``residue`` or ``esm2``) and ``label``, and of a frozen one more that identifies it.
    disulfide_patterns : tuple of DisulfidePattern
        Where no disulfide is stated: the ways to bond the cysteines that are preferred, best first, and what
        each rests on.
    warnings : tuple of str
        What a user should know of this prediction.
    details : Details or None
        Attention, expected distances and torsion density, where they were asked for; in no file but the report.
    atoms : numpy.ndarray or None
        (M, L, 5 + A, 3) float32 Angstrom: all heavy atoms, those of `coordinates` first; NaN where there is none. None
        where there are no side chains.
    atom_names : tuple of tuple of str
        Names of the atoms of each residue in that order; empty for a CB that is not there.
    side_chain_clashes : tuple of int
        For each model, pairs of atoms that overlap by 0.4 A or more, one or both of a side chain.
    relaxation : Relaxation or None
        Of a relaxed prediction: its hydrogens, energies and movements.
    """

    id: str
    peptide: Peptide
    coordinates: np.ndarray
    plddt: np.ndarray
    torsions: np.ndarray
    secondary_structure: tuple[str, ...]
    bonds: tuple[tuple[Bond, ...], ...]
    clashes: tuple[int, ...]
    through: tuple[bool, ...]
    templates: tuple[Hit, ...]
    threaded: tuple[int | None, ...]
    seed: int
    model_name: str
    model_sha256: str
    embedder: dict[str, Any]
    disulfide_patterns: tuple[DisulfidePattern, ...] = ()
    warnings: tuple[str, ...] = ()
    details: Details | None = None
    atoms: np.ndarray | None = None
    atom_names: tuple[tuple[str, ...], ...] = ()
    side_chain_clashes: tuple[int, ...] = ()
    relaxation: Relaxation | None = None

    def __post_init__(self) -> None:
        backbone, confidence = self.coordinates[..., :4, :], self.plddt
        finite = np.isfinite(backbone).all() and np.isfinite(confidence).all()
        if self.atoms is not None:  # an atom that is not there is NaN, all of it
            absent = np.isnan(self.atoms)
            finite &= not np.isinf(self.atoms).any() and bool((absent.any(-1) == absent.all(-1)).all())
        if not finite or np.isinf(self.torsions).any():  # else files would lack atoms
            raise BetafoldError(f"{self.id}: a coordinate, a torsion or a confidence is not finite")

    def __repr__(self) -> str:
        count = len(self.coordinates)
        models = "1 model" if count == 1 else f"{count} models"
        chemistry = f" {self.peptide.chemistry}" if self.peptide.chemistry else ""
        plddt = float(self.plddt[0].mean())
        return f"<Prediction {self.id!r}: {self.sequence}{chemistry}, {models} of {self.made_by}, pLDDT {plddt:.1f}>"

    def _repr_html_(self) -> str:
        """Return a picture of the first model for Jupyter: no scripts, and no 3D viewer (see `betafold_mlx.report`)."""
        from betafold_mlx.report.html import notebook_html  # only a notebook needs it

        return notebook_html(self)

    @property
    def sequence(self) -> str:
        """The one-letter sequence."""
        return self.peptide.sequence

    @functools.cached_property
    def spread(self) -> Spread:
        """How the models differ: clusters, RMSD to the first, and the spread of each residue."""
        return measure_spread(self.coordinates)

    def mirrored(self) -> Prediction:
        """Return the prediction with the mirror image of its coordinates and torsions, and all else as it is.

        That is how a D peptide, or one that is D for the most part, comes from its mirror image, which the network
        folds: exact, by symmetry.
        """
        return dataclasses.replace(
            self,
            coordinates=mirror_image(self.coordinates),
            torsions=-self.torsions,
            details=self.details and self.details.mirrored(),
            atoms=None if self.atoms is None else mirror_image(self.atoms),
            relaxation=None,
        )

    def relax(self, ph: float = 7.0) -> Prediction:
        """Return the prediction with hydrogens, minimised in implicit solvent with the backbone restrained.

        By OpenMM: AMBER ff14SB with GBn2; side chains carry their protons for the pH. Files then have the hydrogens;
        confidence, clusters and secondary structure stay those of the prediction. Where the force field does not know a
        residue or a bond, the models stay as they are and a warning says so. BetafoldError where OpenMM is not
        installed, or the prediction has backbone atoms alone.
        """
        from betafold_mlx.fold.relaxation import relax_prediction

        return relax_prediction(self, ph)

    @functools.cached_property
    def _written(self) -> tuple[tuple[tuple[str, ...], ...], np.ndarray]:
        """What files have of each residue: the names of the atoms, and their slots, (L, 5 + A) bool.

        They are there in every model, and do not leave when a stated bond is made (`betafold_mlx.peptide.leaving`).
        """
        atoms, names = self._slots
        there = np.isfinite(atoms).all(axis=(0, 3))
        gone = leaving_atoms(self.peptide)
        for place, of_residue in enumerate(names):
            there[place, len(of_residue) :] = False
            absent = {"", *(atom for where, atom in gone if where == place + 1)}
            there[place, : len(of_residue)] &= [name not in absent for name in of_residue]
        rows = zip(names, there.tolist(), strict=True)
        return tuple(tuple(itertools.compress(*row)) for row in rows), there

    @property
    def _slots(self) -> tuple[np.ndarray, tuple[tuple[str, ...], ...]]:
        """All atoms and the names of their slots; N, CA, C, O and CB where there are no side chains."""
        if self.atoms is not None:
            return self.atoms, self.atom_names
        return self.coordinates, tuple((*BACKBONE, RESIDUES[code].cb) for code in self.peptide.residues)

    @property
    def names(self) -> tuple[tuple[str, ...], ...]:
        """For each residue the names of the atoms that files have: N, CA, C, O, CB, then others."""
        return self._written[0]

    def heavy_atoms(self, superposed: bool = False) -> np.ndarray:
        """Return the n atoms of `names`, one residue after another: (M, n, 3) float32 Angstrom.

        With `superposed` each model is laid on the first.
        """
        atoms = self._slots[0]
        return (superpose_models(atoms) if superposed else atoms)[:, self._written[1]]

    @property
    def all_atoms(self) -> bool:
        """Whether there are side chains."""
        return self.atoms is not None

    def backbone_only(self) -> Prediction:
        """Return the prediction without side chains: N, CA, C, O and CB alone, in files too."""
        return dataclasses.replace(self, atoms=None, atom_names=(), relaxation=None)

    def template_name(self, model: int) -> str | None:
        """Return the entry that a model (from 0) was threaded through; None for one of the network alone."""
        number = self.threaded[model]
        return None if number is None else self.templates[number].name

    @property
    def made_by(self) -> str:
        """The model in words, with its frozen embedder: weights that are not the published ones show."""
        frozen = self.embedder["kind"] != "residue"
        return f"{self.model_name} on {self.embedder['label']}" if frozen else self.model_name

    @property
    def constraints_met(self) -> bool:
        """True when the first model has all stated bonds, and its chain does not run through itself."""
        return all(bond.formed for bond in self.bonds[0]) and not self.through[0]

    def text(self, kind: str, command: str | None = None) -> str:
        """Return the prediction as the text of a file.

        ``cif``: mmCIF with the ModelCIF confidence categories; ``pdb``: PDB with pLDDT as B-factor; ``json``: `to_dict`
        as JSON; ``html``: the report, which shows the command line that made it. BetafoldError for another kind.
        """
        if kind == "cif":
            return to_mmcif(self)
        if kind == "pdb":
            return to_pdb(self)
        if kind == "json":
            return to_json(self.to_dict())
        if kind == "html":
            from betafold_mlx.report.html import report_html  # only a report needs it

            return report_html(self, command)
        raise BetafoldError(f"no file kind {kind!r}: use cif, pdb, json or html")

    def to_gemmi(self) -> gemmi.Structure:
        """Return the models as a gemmi structure, as the mmCIF file has them: caps, bonds, pLDDT as B-factor."""
        return gemmi.make_structure_from_block(gemmi.cif.read_string(to_mmcif(self)).sole_block())

    def to_biotite(self, model: int = 1) -> AtomArray:
        """Return a model as a biotite atom array, as the mmCIF file has it: caps, bonds, pLDDT as ``b_factor``.

        One model, by its rank from 1, not a stack: the annotations of a stack, the B-factor among them, are the same
        for all its models. BetafoldError where there is no such model, or biotite is not installed.
        """
        if not 1 <= model <= len(self.coordinates):
            raise BetafoldError(f"there is no model {model}: the prediction has 1 to {len(self.coordinates)}")
        try:
            from biotite.structure.io import pdbx
        except ImportError as error:
            raise BetafoldError("biotite is not installed: get it with `pip install biotite`") from error
        file = pdbx.CIFFile.read(io.StringIO(to_mmcif(self)))
        return pdbx.get_structure(file, model=model, extra_fields=["b_factor"], include_bonds=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the prediction without coordinates as plain JSON values; torsions in degrees."""
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
                    "secondary_structure": self.secondary_structure[rank],
                    "torsions": {
                        name: [None if math.isnan(v) else round(v, 2) for v in column]
                        for name, column in zip(("phi", "psi", "omega"), columns, strict=True)
                    },
                    "stated_bonds": [dataclasses.asdict(bond) for bond in self.bonds[rank]],
                    "clashes": self.clashes[rank],
                    "side_chain_clashes": self.side_chain_clashes[rank] if self.side_chain_clashes else None,
                    "runs_through_itself": self.through[rank],
                    "template": self.template_name(rank),
                    "relaxation": self.relaxation and self.relaxation.model_dict(rank),
                }
            )
        return {
            "schema_version": SCHEMA_VERSION,
            "id": self.id,
            "sequence": self.sequence,
            "length": len(self.peptide),
            "residues": list(self.peptide.residues),
            "cyclic": self.peptide.cyclic,
            "disulfides": [list(pair) for pair in self.peptide.disulfides],
            "bonds": [str(bond) for bond in self.peptide.other_bonds],
            "d_amino_acids": self.peptide.d_amino_acids,
            "atoms": "all" if self.all_atoms else "backbone",
            "relaxation": self.relaxation and self.relaxation.to_dict(),
            "caps": {"n": self.peptide.n_cap, "c": self.peptide.c_cap, "modelled": False},
            **{name: models[0][name] for name in ("mean_plddt", "plddt", "secondary_structure")},
            "secondary_structure_of": "mirror image" if is_mirrored(self.peptide) else "model",
            "torsions": models[0]["torsions"],
            "models": models,
            "clusters": max(self.spread.clusters),
            "spread": [round(value, 3) for value in self.spread.per_residue],
            "disulfide_pairings": [
                {
                    "disulfides": [list(pair) for pair in pattern.disulfides],
                    "probability": round(pattern.probability, 4),
                    "frameworks": [{"name": each.name, "source": each.source} for each in pattern.frameworks],
                    "templates": list(pattern.templates),
                }
                for pattern in self.disulfide_patterns
            ],
            "templates": [
                {"entry": hit.name}
                | {name: round(getattr(hit, name), 3) for name in ("identity", "coverage", "trust")}
                for hit in self.templates
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

    def save(self, path: str | Path, command: str | None = None) -> Path:
        """Write the prediction to a file and return its path; `command` is as in `text`.

        Its suffix says what: ``.cif``, ``.pdb``, ``.json`` or ``.html``. BetafoldError for another suffix, or where the
        file system refuses.
        """
        path = Path(path)
        if path.suffix not in (".cif", ".pdb", ".json", ".html"):
            raise BetafoldError(f"cannot save {path.name}: the name must end in .cif, .pdb, .json or .html")
        write_text(path, self.text(path.suffix[1:], command))
        return path
