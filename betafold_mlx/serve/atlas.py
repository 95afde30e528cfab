"""The two paths of the ESM Atlas: ``POST /foldSequence/v1/pdb/`` and ``/cif/``, the sequence as the body.

Status codes, media types and the scale of the B-factors (0 to 1 in PDB, 0 to 100 in mmCIF) are those of that service,
so that its clients work here; the files say what made them.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, HTTPException, Request, Response

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.foldable import check_foldable
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.peptide.sequence import ALPHABET, MAX_LENGTH, MIN_LENGTH, Peptide
from betafold_mlx.serve.documents import EXAMPLE, SEQUENCE_PATTERN
from betafold_mlx.serve.server import MAX_BODY
from betafold_mlx.serve.worker import Worker

MEDIA_TYPES = {"pdb": "chemical/x-pdb", "cif": "chemical/x-cif"}

_B_FACTOR = slice(60, 66)
"""Columns 61 to 66 of ATOM and HETATM records (PDB format 3.3)."""

_BODY = {"schema": {"type": "string", "pattern": SEQUENCE_PATTERN}, "example": EXAMPLE}


def atlas_router(worker: Worker) -> APIRouter:
    """Return the paths; clients write them with the closing slash."""
    router = APIRouter()

    def add(kind: str, text: Callable[[Prediction], str]) -> None:
        async def fold_sequence(request: Request) -> Response:
            peptide = atlas_peptide(await request.body())
            made = await worker.fold(request, peptide, text)
            return Response(made, media_type=MEDIA_TYPES[kind])

        path = f"/foldSequence/v1/{kind}"
        router.post(path, include_in_schema=False, max_body_size=MAX_BODY)(fold_sequence)
        router.post(
            f"{path}/",
            operation_id=f"fold_sequence_{kind}",
            description="Fold a sequence, as the ESM Atlas does. The body is the sequence alone, whatever its media "
            f"type. The answer is one model, with B-factors from 0 to {1 if kind == 'pdb' else 100}. Errors: 400 for "
            "an empty sequence, 413 for one that is too long, 422 for other letters.",
            response_class=Response,
            responses={
                200: {
                    "description": "The structure file.",
                    "content": {MEDIA_TYPES[kind]: {"schema": {"type": "string"}}},
                }
            },
            openapi_extra={
                "requestBody": {
                    "required": True,
                    "content": {"text/plain": _BODY, "application/x-www-form-urlencoded": _BODY},
                }
            },
            max_body_size=MAX_BODY,
        )(fold_sequence)

    add("pdb", lambda prediction: fractions(prediction.text("pdb")))
    add("cif", lambda prediction: prediction.text("cif"))
    return router


def atlas_peptide(body: bytes) -> Peptide:
    """Return the peptide of a request: a raw sequence; a FASTA header before it is ignored, as the Atlas does.

    Raises
    ------
    HTTPException
        400 where it is empty, 413 where it is too long, 422 for other letters or fewer than 4 residues.
    """
    text = body.decode("utf-8", "replace").strip()
    if text.startswith(">"):
        text = text.partition("\n")[2]
    length = sum(not letter.isspace() for letter in text)
    if length == 0:
        raise HTTPException(400, "Sequence is empty.")
    if length > MAX_LENGTH:
        raise HTTPException(413, f"Sequence is longer than {MAX_LENGTH}.")
    if length < MIN_LENGTH:
        raise HTTPException(422, f"Sequence is shorter than {MIN_LENGTH}.")
    try:
        return check_foldable(Peptide.parse("".join(text.split())))
    except BetafoldError as error:
        raise HTTPException(422, f"Sequence can only contain {ALPHABET}: {error}.") from error


def fractions(pdb: str) -> str:
    """Return PDB text of ours with B-factors from 0 to 1 instead of 0 to 100, and the remark that says so."""
    lines = pdb.splitlines(keepends=True)
    for index, line in enumerate(lines):
        if line.startswith(("ATOM", "HETATM")):
            b_factor = float(line[_B_FACTOR]) / 100
            lines[index] = f"{line[: _B_FACTOR.start]}{b_factor:6.2f}{line[_B_FACTOR.stop :]}"
        elif line.startswith("REMARK") and "0 to 100." in line:
            lines[index] = f"{line.rstrip().replace('0 to 100.', '0 to 1.'):<80}\n"
    return "".join(lines)
