"""Generated backbones as files: PDB and mmCIF that say that they carry no sequence, a table and a JSON document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from betafold_mlx._version import __version__
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import os_errors, read_json, sweep_temporary, to_json, write_text
from betafold_mlx.fold.output import csv_text
from betafold_mlx.fold.prediction import versions
from betafold_mlx.generate.backbones import BackboneRequest, GeneratedBackbone
from betafold_mlx.generate.trace_states import PLACEHOLDERS
from betafold_mlx.peptide.residue_table import BACKBONE
from betafold_mlx.peptide.sequence import THREE_LETTER
from betafold_mlx.structure.components import End, monomers, written_chain
from betafold_mlx.structure.mmcif import mmcif_text
from betafold_mlx.structure.pdb import pdb_text
from betafold_mlx.structure.writer import block_name, clean_text

SCHEMA_VERSION = 1
KIND = "generated backbones"
SUMMARY_FILE, DOCUMENT_FILE = "summary.csv", "generation.json"
SUMMARY_COLUMNS = (
    *("id", "length", "status", "problems", "fit_rmsd", "overlap", "radius_of_gyration"),
    *("secondary_structure", "shape_rmsd", "motif_rmsd", "secondary_kept", "files"),
)
_SAMPLE = re.compile(r"sample_[0-9]{5,}\.(cif|pdb)")


@dataclass
class BackboneWriter:
    """Writes the backbones of one run to a folder, with a table and a document of all samples.

    Its methods raise BetafoldError where the file system refuses.
    """

    directory: Path
    suffixes: Sequence[str]  # ``.cif``, ``.pdb``
    request: BackboneRequest
    model_name: str
    model_sha256: str
    keep_failed: bool = False  # whether to write the structures of failed samples too
    samples: list[dict[str, Any]] = field(default_factory=list, init=False)

    def begin(self) -> None:
        """Remove the files of an earlier run from the folder, and write a document without samples.

        A folder holds one run. Files are removed only where `DOCUMENT_FILE` says that there was a run.
        """
        document = self.directory / DOCUMENT_FILE
        if _is_ours(document):
            with os_errors(f"cannot clear {self.directory}"):
                for path in sorted(self.directory.iterdir()):
                    if _SAMPLE.fullmatch(path.name) or path.name == SUMMARY_FILE:
                        path.unlink()
        write_text(document, to_json(self.document()))
        sweep_temporary(self.directory)

    def write(self, backbone: GeneratedBackbone) -> list[Path]:
        """Write the structure of a sample, unless it failed; return its files.

        A sample without a backbone, or with a broken bond, is not written even where failed samples are kept.
        """
        paths: list[Path] = []
        if not backbone.problems or (self.keep_failed and backbone.fit.whole):
            paths = [self.directory / f"{backbone.id}{suffix}" for suffix in self.suffixes]
            for path in paths:
                write_text(path, backbone_text(backbone, self.request, self.model_name, path.suffix[1:]))
        self.samples.append(backbone.to_dict() | {"files": [path.name for path in paths]})
        return paths

    def document(self) -> dict[str, Any]:
        """Return all about the samples so far as plain JSON values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": KIND,
            "about": _about(self.request.residue),
            "model": {"name": self.model_name, "sha256": self.model_sha256},
            "settings": _settings(self.request),
            "made": len(self.samples),
            "failed": sum(sample["status"] == "failed" for sample in self.samples),
            "samples": self.samples,
            "versions": dict(versions()),
        }

    def finish(self) -> str:
        """Write the table and the document of the samples so far; return the document as JSON text."""
        table: list[Sequence[object]] = [SUMMARY_COLUMNS]
        for sample in self.samples:
            row = sample | {"problems": "; ".join(sample["problems"]), "files": " ".join(sample["files"])}
            table.append([row.get(column, "") for column in SUMMARY_COLUMNS])
        text = to_json(self.document())
        write_text(self.directory / SUMMARY_FILE, csv_text(table))
        write_text(self.directory / DOCUMENT_FILE, text)
        return text


def _is_ours(document: Path) -> bool:
    try:
        found = read_json(document)
    except BetafoldError:
        return False
    return isinstance(found, dict) and found.get("kind") == KIND


def _settings(request: BackboneRequest) -> dict[str, Any]:
    """Return a request as plain JSON values: what makes the same samples again."""
    shape, motif = request.shape, request.motif
    return {
        "length": list(request.lengths),
        "num": request.count,
        "seed": request.seed,
        **asdict(request.sampling),
        "cyclic": request.cyclic,
        "residue": request.residue,
        "prompt": shape and {"source": shape.source, "points": shape.points.tolist()},
        "motif": motif and {"source": motif.source, "at": motif.start + 1, "residues": len(motif)},
        "secondary": request.secondary,
    }


def backbone_text(backbone: GeneratedBackbone, request: BackboneRequest, model_name: str, kind: str) -> str:
    """Return a sample as the text of a ``cif`` or ``pdb`` file, its middle at the origin, without confidence."""
    made_by = f"betafold-mlx {__version__}, model {model_name}"
    placeholder = f"poly-{request.residue} is a placeholder"
    title = clean_text(f"{backbone.id}: backbone generated by {made_by}; {placeholder}")
    length = len(backbone)
    chain = monomers([THREE_LETTER[PLACEHOLDERS[request.residue]]] * length)
    coordinates = backbone.fit.coordinates
    middle = np.nanmean(coordinates.astype(np.float64), axis=(0, 1))
    atoms = BACKBONE if np.isnan(coordinates[:, 4]).any() else (*BACKBONE, "CB")
    centred = (coordinates - middle)[:, : len(atoms)].reshape(1, -1, 3)
    ring = [(End(length - 1, "C"), End(0, "N"))] if request.cyclic else []
    written = written_chain(title, chain, [atoms] * length, centred, np.zeros((1, length)), ring)
    remarks = _remarks(backbone, request, made_by)
    if kind == "pdb":
        return pdb_text(written, remarks)
    shape = "cyclic backbone" if request.cyclic else "backbone"
    return mmcif_text(
        written,
        name=block_name(backbone.id),
        description=f"generated {shape} of {len(backbone)} residues, no sequence",
        polymer_type="polypeptide(L)",
        model_names=[backbone.id],
        model_type="Other",
        plddt=None,
        made_by=clean_text(model_name),
        details=" ".join(remarks),
    )


def _about(residue: str) -> str:
    return (
        "Generated by a model, not observed and not predicted from a sequence. "
        f"Every residue is written as {residue}, a placeholder: no sequence was designed."
    )


def _remarks(backbone: GeneratedBackbone, request: BackboneRequest, made_by: str) -> list[str]:
    said = [
        _about(request.residue),
        clean_text(f"Sample {backbone.number + 1} of seed {request.seed}, {made_by}."),
        "Ideal bond lengths and angles, torsions fitted to the C-alpha trace that the model drew: "
        f"{backbone.fit.rmsd:.2f} A RMSD. B-factor 0: there is no confidence.",
    ]
    if request.cyclic:
        said.append("Cyclic: the last residue is bonded to the first.")
    if backbone.motif_rmsd is not None and request.motif is not None:
        first, last = request.motif.start + 1, request.motif.start + len(request.motif)
        said.append(
            f"Residues {first} to {last} hold the motif {clean_text(request.motif.source)}: "
            f"{backbone.motif_rmsd:.2f} A backbone RMSD."
        )
    return said + [f"FAILED: {problem}." for problem in backbone.problems]
