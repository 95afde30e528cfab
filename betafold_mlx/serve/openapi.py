"""The description of the HTTP interface, as OpenAPI 3.1 and by hand: few paths, and words for who reads them."""

from __future__ import annotations

from betafold_mlx import __version__
from betafold_mlx.peptide.sequence import ALPHABET, MAX_LENGTH, MIN_LENGTH
from betafold_mlx.serve.atlas import MEDIA_TYPES
from betafold_mlx.serve.limits import Limits
from betafold_mlx.serve.schemas import EXAMPLE, Document, reference, schemas, sequence_pattern

_REFUSALS = {
    400: "The body is empty or no JSON.",
    403: "Another site asked for it.",
    404: "It is not kept, or no longer.",
    405: "There is no such method.",
    408: "The body did not come in time.",
    409: "It is not done.",
    413: "The body is too large.",
    415: "The body is not said to be JSON.",
    421: "The server is not known under the name in `Host`.",
    422: "Something in it is wrong; `fields` says what, field by field.",
    500: "The model could not do it, or a fault of the program.",
    503: "The queue is full: ask again after as many seconds as `Retry-After` says.",
}


def openapi(limits: Limits) -> Document:
    """Return the OpenAPI document of a server with these limits."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "betafold-mlx",
            "version": __version__,
            "summary": "Small-peptide structure prediction, on this machine.",
            "description": "Positions count from 1, angles are degrees, confidence is the predicted lDDT, 0 to 100. "
            "The same request gives the same answer. Nothing is sent anywhere.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": {
            "/api/v1/fold": {"post": _fold_operation()},
            "/api/v1/predictions/{key}/{kind}": {"get": _download_operation()},
            "/api/v1/batches": {"post": _start_operation(limits)},
            "/api/v1/batches/{key}": {"get": _batch_operation(), "delete": _stop_operation()},
            "/api/v1/batches/{key}/results.zip": {"get": _archive_operation()},
            "/api/v1/info": {
                "get": {
                    "operationId": "info",
                    "summary": "Model, version and limits of this server",
                    "responses": {"200": _answer("What this server is.", {"type": "object"}), **_refused()},
                }
            },
            "/foldSequence/v1/pdb/": {"post": _atlas_operation("pdb", "0 to 1")},
            "/foldSequence/v1/cif/": {"post": _atlas_operation("cif", "0 to 100")},
        },
        "components": {"schemas": schemas(limits)},
    }


def _fold_operation() -> Document:
    return {
        "operationId": "fold",
        "summary": "Fold a peptide",
        "description": "Waits in the queue and answers when it is folded.",
        "requestBody": _body("FoldRequest"),
        "responses": {
            "200": _answer("The prediction.", reference("FoldAnswer")),
            **_refused(400, 403, 408, 413, 415, 422, 500),
        },
    }


def _download_operation() -> Document:
    kind = {
        "name": "kind",
        "in": "path",
        "required": True,
        "description": "Structure file, prediction or report.",
        "schema": {"enum": ["cif", "pdb", "json", "html"]},
    }
    download = {
        "name": "download",
        "in": "query",
        "description": "1: the report is saved, not shown.",
        "schema": {"enum": ["0", "1"]},
    }
    text = {"type": "string"}
    content = {
        **{media: {"schema": text} for media in (*MEDIA_TYPES.values(), "text/html")},
        "application/json": {"schema": reference("Prediction")},
    }
    return {
        "operationId": "download",
        "summary": "Get a file of a kept prediction",
        "description": "Of a fold with `keep`. The latest predictions are kept, as long as the server runs.",
        "parameters": [_key("prediction"), kind, download],
        "responses": {"200": {"description": "The file.", "content": content}, **_refused(404, 500)},
    }


def _start_operation(limits: Limits) -> Document:
    return {
        "operationId": "startBatch",
        "summary": "Fold a FASTA file",
        "description": f"Starts it and answers at once; {limits.batches_running} run at the same time, and the latest "
        f"{limits.batches} are kept as long as the server runs.",
        "requestBody": _body("BatchRequest"),
        "responses": {
            "202": _answer("It has begun.", reference("Batch")),
            **_refused(400, 403, 408, 413, 415, 422, 500),
        },
    }


def _batch_operation() -> Document:
    after = {
        "name": "after",
        "in": "query",
        "description": "Rows to leave out: those that are known already.",
        "schema": {"type": "integer", "minimum": 0, "maximum": 999_999_999, "default": 0},
    }
    return {
        "operationId": "batch",
        "summary": "How a batch is going",
        "parameters": [_key("batch"), after],
        "responses": {
            "200": _answer("Its state, and what became of the records.", reference("Batch")),
            **_refused(404, 422),
        },
    }


def _stop_operation() -> Document:
    return {
        "operationId": "stopBatch",
        "summary": "Stop a batch",
        "parameters": [_key("batch")],
        "responses": {"200": _answer("It folds no more.", reference("Batch")), **_refused(403, 404)},
    }


def _archive_operation() -> Document:
    return {
        "operationId": "archive",
        "summary": "Get the results of a batch",
        "description": "The files that `betafold-mlx fold` writes: a structure and a JSON file for each peptide, "
        "summary.csv, and errors.csv where something failed.",
        "parameters": [_key("batch")],
        "responses": {
            "200": {
                "description": "A zip archive.",
                "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
            },
            **_refused(404, 409),
        },
    }


def _atlas_operation(kind: str, scale: str) -> Document:
    plain = {"text/plain": {"schema": {"type": "string"}}}
    refused = {
        str(status): {"description": description, "content": plain}
        for status, description in {
            400: "The sequence is empty.",
            408: _REFUSALS[408],
            413: f"It is longer than {MAX_LENGTH}, or the body too large.",
            422: f"It has other letters than {ALPHABET}, or fewer than {MIN_LENGTH}.",
            500: _REFUSALS[500],
        }.items()
    }
    sequence = {"schema": {"type": "string", "pattern": sequence_pattern()}, "example": EXAMPLE}
    return {
        "operationId": f"foldSequence{kind.capitalize()}",
        "summary": f"Fold a sequence, as the ESM Atlas does: {kind}",
        "description": "The body is the sequence alone, whatever its media type. The answer is one model, with the "
        f"predicted lDDT from {scale} as B-factor.",
        "requestBody": {
            "required": True,
            "content": {"text/plain": sequence, "application/x-www-form-urlencoded": sequence},
        },
        "responses": {
            "200": {
                "description": "The structure file.",
                "content": {MEDIA_TYPES[kind]: {"schema": {"type": "string"}}},
            },
            **_refused(403),
            **refused,
        },
    }


def _key(what: str) -> Document:
    return {
        "name": "key",
        "in": "path",
        "required": True,
        "description": f"Of the {what}: it cannot be guessed.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"},
    }


def _body(name: str) -> Document:
    return {"required": True, "content": {"application/json": {"schema": reference(name)}}}


def _answer(description: str, schema: Document) -> Document:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _refused(*statuses: int) -> Document:
    every = sorted({*statuses, 421, 503})  # the last two can come from any path
    answers = {str(status): _answer(_REFUSALS[status], reference("Error")) for status in every}
    seconds = {"schema": {"type": "integer", "minimum": 1}, "description": "Seconds."}
    answers["503"]["headers"] = {"Retry-After": seconds}
    return answers
