"""The two paths of the ESM Atlas: ``POST /foldSequence/v1/pdb/`` and ``/cif/``, the sequence as the body.

Status codes, media types and the scale of the B-factors (0 to 1 in PDB, 0 to 100 in mmCIF) are those of that service,
so that its clients work here; the files say what made them.
"""

from __future__ import annotations

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.peptide.sequence import ALPHABET, MAX_LENGTH, MIN_LENGTH, Peptide
from betafold_mlx.serve.problems import RequestError

MEDIA_TYPES = {"pdb": "chemical/x-pdb", "cif": "chemical/x-cif"}

_B_FACTOR = slice(60, 66)
"""Columns 61 to 66 of ATOM and HETATM records (PDB format 3.3)."""


def atlas_peptide(body: bytes) -> Peptide:
    """Return the peptide of a request: a raw sequence; a FASTA header before it is passed over, as the Atlas does.

    Raises
    ------
    RequestError
        400 where it is empty, 413 where it is too long, 422 for other letters or fewer than 4 residues.
    """
    text = body.decode("utf-8", "replace").strip()
    if text.startswith(">"):
        text = text.partition("\n")[2]
    length = sum(not letter.isspace() for letter in text)
    if length == 0:
        raise RequestError(400, "Sequence is empty.")
    if length > MAX_LENGTH:
        raise RequestError(413, f"Sequence is longer than {MAX_LENGTH}.")
    if length < MIN_LENGTH:
        raise RequestError(422, f"Sequence is shorter than {MIN_LENGTH}.")
    try:
        return Peptide.parse(text)
    except BetafoldError as error:
        raise RequestError(422, f"Sequence can only contain {ALPHABET}: {error}.") from error


def atlas_text(prediction: Prediction, kind: str) -> str:
    """Return a prediction as a structure file, ``pdb`` or ``cif``, with the B-factors of the Atlas."""
    return prediction.text("cif") if kind == "cif" else fractions(prediction.text("pdb"))


def fractions(pdb: str) -> str:
    """Return PDB text of ours with B-factors from 0 to 1 in place of 0 to 100, and the remark that says so."""
    lines = pdb.splitlines(keepends=True)
    for index, line in enumerate(lines):
        if line.startswith(("ATOM", "HETATM")):
            b_factor = float(line[_B_FACTOR]) / 100
            lines[index] = f"{line[: _B_FACTOR.start]}{b_factor:6.2f}{line[_B_FACTOR.stop :]}"
        elif line.startswith("REMARK") and "0 to 100." in line:
            lines[index] = f"{line.rstrip().replace('0 to 100.', '0 to 1.'):<80}\n"
    return "".join(lines)
