"""Generated backbones as files: PDB and mmCIF that say that they carry no sequence, and tables of them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from betafold_mlx import __version__
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import to_json, write_text
from betafold_mlx.fold.gradient import C, N
from betafold_mlx.fold.prediction import versions
from betafold_mlx.generate.backbones import BackboneRequest, GeneratedBackbone
from betafold_mlx.generate.trace_states import PLACEHOLDERS
from betafold_mlx.structure.components import Link, Monomer, WrittenAtom, monomers, written_atoms
from betafold_mlx.structure.mmcif import mmcif_text
from betafold_mlx.structure.pdb import pdb_text
from betafold_mlx.structure.writer import block_name, clean_text

SCHEMA_VERSION = 1
KIND = "generated backbones"
_SAMPLE = re.compile(r"sample_[0-9]{5,}\.(cif|pdb)")
SUMMARY_FILE, DOCUMENT_FILE = "summary.csv", "generation.json"
SUMMARY_COLUMNS = (
    "id",
    "length",
    "status",
    "problems",
    "fit_rmsd",
    "overlap",
    "radius_of_gyration",
    "secondary_structure",
    "shape_rmsd",
    "motif_rmsd",
    "secondary_kept",
    "files",
)


class BackboneWriter:
    """Writes backbones, and remembers what it wrote.

    Parameters
    ----------
    directory : Path
        Where they go.
    suffixes : sequence of str
        ``.cif``, ``.pdb``.
    request : BackboneRequest
        What was asked for.
    model_name, model_sha256 : str
        The generator.
    keep_failed : bool
        Whether to write the structures of failed samples too.
    """

    def __init__(
        self,
        directory: Path,
        suffixes: Sequence[str],
        request: BackboneRequest,
        model_name: str,
        model_sha256: str,
        keep_failed: bool = False,
    ) -> None:
        self.directory, self.request = directory, request
        self._suffixes, self._keep_failed = suffixes, keep_failed
        self._model = {"name": model_name, "sha256": model_sha256}
        self._samples: list[dict[str, Any]] = []

    def begin(self) -> None:
        """Remove what an earlier run left in the folder, and write what there is to say before the first sample.

        A folder holds one run. That there was one its `DOCUMENT_FILE` says; in any other folder nothing is removed.

        Raises
        ------
        BetafoldError
            Where the file system refuses.
        """
        document = self.directory / DOCUMENT_FILE
        try:
            if _is_ours(document):
                for path in sorted(self.directory.iterdir()):
                    if _SAMPLE.fullmatch(path.name) or path.name == SUMMARY_FILE:
                        path.unlink()
        except OSError as error:
            raise BetafoldError(f"cannot clear {self.directory}: {error.strerror or error}") from error
        write_text(document, to_json(self.document()))

    def write(self, backbone: GeneratedBackbone) -> list[Path]:
        """Write the structure of a sample, unless it failed; return its files.

        What has no backbone, or a bond that is broken, is not written even where failed samples are kept.

        Raises
        ------
        BetafoldError
            Where the file system refuses.
        """
        paths: list[Path] = []
        if not backbone.problems or (self._keep_failed and backbone.fit.whole):
            forms = {".cif": to_mmcif, ".pdb": to_pdb}
            for suffix in self._suffixes:
                path = self.directory / f"{backbone.id}{suffix}"
                write_text(path, forms[suffix](backbone, self.request, self._model["name"]))
                paths.append(path)
        self._samples.append(backbone.to_dict() | {"files": [path.name for path in paths]})
        return paths

    def document(self) -> dict[str, Any]:
        """Return all that is known of the samples so far, as plain JSON values."""
        failed = sum(sample["status"] == "failed" for sample in self._samples)
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": KIND,
            "about": _about(self.request.residue),
            "model": self._model,
            "settings": settings(self.request),
            "made": len(self._samples),
            "failed": failed,
            "samples": self._samples,
            "versions": dict(versions()),
        }

    def finish(self) -> str:
        """Write the table of the samples so far, and the document beside them; return the document as JSON text.

        Raises
        ------
        BetafoldError
            Where the file system refuses.
        """
        text = to_json(self.document())
        write_text(self.directory / SUMMARY_FILE, summary_text(self._samples))
        write_text(self.directory / DOCUMENT_FILE, text)
        return text


def _is_ours(document: Path) -> bool:
    try:
        found = json.loads(document.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("kind") == KIND


def settings(request: BackboneRequest) -> dict[str, Any]:
    """Return a request as plain JSON values: what makes the same samples again."""
    sampling = request.sampling
    return {
        "length": list(request.lengths),
        "num": request.count,
        "seed": request.seed,
        "steps": sampling.steps,
        "ode_steps": sampling.ode_steps,
        "gamma": sampling.gamma,
        "cyclic": request.cyclic,
        "residue": request.residue,
        "prompt": request.shape and {"source": request.shape.source, "points": request.shape.points.tolist()},
        "motif": request.motif
        and {
            "source": request.motif.source,
            "at": request.motif.start + 1,
            "residues": len(request.motif),
        },
        "secondary": request.secondary,
    }


def summary_text(samples: Iterable[dict[str, Any]]) -> str:
    """Return samples (`GeneratedBackbone.to_dict` with ``files``) as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(SUMMARY_COLUMNS)
    for sample in samples:
        row = sample | {"problems": "; ".join(sample["problems"]), "files": " ".join(sample["files"])}
        writer.writerow([row.get(column, "") for column in SUMMARY_COLUMNS])
    return text.getvalue()


def to_mmcif(backbone: GeneratedBackbone, request: BackboneRequest, model_name: str) -> str:
    """Return a sample as mmCIF text with the ModelCIF categories that say how it was made. It has no confidence."""
    chain = _chain(backbone, request)
    kind = "cyclic backbone" if request.cyclic else "backbone"
    return mmcif_text(
        name=block_name(backbone.id),
        description=f"generated {kind} of {len(backbone)} residues, no sequence",
        title=_title(backbone, request, model_name),
        chain=chain,
        polymer_type="polypeptide(L)",
        models=[_written(backbone, chain)],
        model_names=[backbone.id],
        model_type="Other",
        plddt=None,
        made_by=clean_text(model_name),
        details=" ".join(_remarks(backbone, request, model_name)),
        links=_links(backbone, request),
    )


def to_pdb(backbone: GeneratedBackbone, request: BackboneRequest, model_name: str) -> str:
    """Return a sample as PDB text, its numbers as in `to_mmcif`."""
    chain = _chain(backbone, request)
    return pdb_text(
        title=_title(backbone, request, model_name),
        remarks=_remarks(backbone, request, model_name),
        chain=chain,
        models=[_written(backbone, chain)],
        links=_links(backbone, request),
    )


def _chain(backbone: GeneratedBackbone, request: BackboneRequest) -> list[Monomer]:
    return monomers(len(backbone) * PLACEHOLDERS[request.residue], False, None, None)


def _links(backbone: GeneratedBackbone, request: BackboneRequest) -> list[Link]:
    """Return the bond that closes a ring."""
    if not request.cyclic:
        return []
    c, n = backbone.fit.coordinates[-1, C], backbone.fit.coordinates[0, N]
    return [Link(len(backbone) - 1, 0, float(np.linalg.norm(c.astype(np.float64) - n)))]


def _written(backbone: GeneratedBackbone, chain: Sequence[Monomer]) -> list[WrittenAtom]:
    middle = np.nanmean(backbone.fit.coordinates.astype(np.float64), axis=(0, 1))
    return written_atoms(chain, list(backbone.fit.coordinates - middle), [0.0] * len(chain))


def _title(backbone: GeneratedBackbone, request: BackboneRequest, model_name: str) -> str:
    made_by = f"betafold-mlx {__version__}, model {model_name}"
    return clean_text(
        f"{backbone.id}: backbone generated by {made_by}; poly-{request.residue} is a placeholder"
    )


def _about(residue: str) -> str:
    return (
        "Generated by a model, not observed and not predicted from a sequence. "
        f"Every residue is written as {residue}, a placeholder: no sequence was designed."
    )


def _remarks(backbone: GeneratedBackbone, request: BackboneRequest, model_name: str) -> list[str]:
    said = [
        _about(request.residue),
        clean_text(
            f"Sample {backbone.number + 1} of seed {request.seed}, betafold-mlx {__version__}, model {model_name}."
        ),
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
    said += [f"FAILED: {problem}." for problem in backbone.problems]
    return said
