"""The FastAPI application: its paths and their handlers."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shlex
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from betafold_mlx._version import __version__
from betafold_mlx.fold.output import safe_name
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.peptide.chemistry import C_CAPS, N_CAPS
from betafold_mlx.peptide.sequence import ALPHABET, MAX_LENGTH, MIN_LENGTH, TRAINED_LENGTHS, Peptide
from betafold_mlx.serve.atlas import MEDIA_TYPES, atlas_router
from betafold_mlx.serve.documents import AUTO, BatchRequest, BatchStatus, FoldAnswer, FoldRequest
from betafold_mlx.serve.error_responses import (
    HANDLERS,
    INTERNAL_ERROR,
    ErrorDocument,
    error_response,
    invalid_field,
)
from betafold_mlx.serve.fasta_batches import BatchStore, read_records
from betafold_mlx.serve.reading import reading_router
from betafold_mlx.serve.security import HEADERS, REPORT_POLICY, SecurityMiddleware
from betafold_mlx.serve.server import MAX_BATCH_BODY, MAX_BODY, ServerLimits
from betafold_mlx.serve.worker import FoldSettings, Worker

_STATIC = Path(__file__).parent / "static"
_MEDIA_TYPES = {**MEDIA_TYPES, "json": "application/json", "html": "text/html"}

_DESCRIPTION = """\
Positions count from 1, angles are degrees, confidence is the predicted lDDT, 0 to 100. The same request gives the same
answer, but for the rounding where it is folded together with others. Nothing is sent anywhere."""

_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorDocument, "description": "What is wrong with the request; 422 lists the fields."},
    "5XX": {
        "model": ErrorDocument,
        "description": "500: the model failed. 503: the queue is full; ask again after `Retry-After` seconds.",
    },
}


def make_app(worker: Worker, limits: ServerLimits, names: Iterable[str] = ()) -> FastAPI:
    """Return the application; at its end ``state.unfinished`` is the number of FASTA batches that were stopped.

    The worker is closed with it. `names` are host names under which it may be asked, other than ``localhost``.
    """
    batches = BatchStore(worker, limits)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            app.state.unfinished = await batches.close()
            await asyncio.to_thread(worker.close)

    app = FastAPI(
        title="betafold-mlx",
        summary="Small-peptide structure prediction, on this machine.",
        description=_DESCRIPTION,
        version=__version__,
        docs_url=None,  # these pages of FastAPI load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        exception_handlers={**HANDLERS, Exception: _internal_error},
        responses=_ERRORS,
        generate_unique_id_function=lambda route: route.name,
    )
    app.add_middleware(SecurityMiddleware, names=tuple(names))
    app.include_router(_fold_router(worker, limits))
    app.include_router(reading_router())
    app.include_router(_batch_router(batches, limits))
    app.include_router(atlas_router(worker))
    app.mount("/static", StaticFiles(directory=_STATIC))

    @app.get("/api/v1/info")
    async def info() -> dict[str, Any]:
        """Return the model, version and limits of this server."""
        return server_info(worker.predictor, limits)

    @app.get("/", include_in_schema=False)
    async def index() -> FileResponse:
        return FileResponse(_STATIC / "index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(_STATIC / "docs.html")

    return app


async def _internal_error(request: Request, error: Exception) -> Response:
    # This response is made outside of the security middleware.
    return error_response(500, INTERNAL_ERROR, headers=HEADERS)


def _check_samples(samples: int, limits: ServerLimits) -> None:
    if samples > limits.samples:
        raise invalid_field("samples", f"this must be a whole number from 1 to {limits.samples}")


def _fold_router(worker: Worker, limits: ServerLimits) -> APIRouter:
    """Return the paths of single peptides."""
    router = APIRouter(prefix="/api/v1")
    kept: dict[str, tuple[FoldRequest, Prediction]] = {}

    @router.post("/fold", max_body_size=MAX_BODY)
    async def fold(asked: FoldRequest, request: Request) -> FoldAnswer:
        """Fold a peptide. It waits in the queue, and is answered when it is folded."""
        _check_samples(asked.samples, limits)

        def finish(prediction: Prediction) -> tuple[Prediction, FoldAnswer]:
            structures = {kind: prediction.text(kind) for kind in asked.include}
            return prediction, FoldAnswer(result=prediction.to_dict(), structures=structures, files=None)

        prediction, answer = await worker.fold(
            request,
            asked.peptide(),
            finish,
            id=asked.id.strip() or None,
            settings=FoldSettings(asked.samples, asked.seed, asked.disulfides == AUTO),
            details=asked.keep,  # for its report
        )
        if asked.keep:
            while len(kept) >= limits.predictions:
                del kept[next(iter(kept))]
            key = secrets.token_urlsafe(16)
            kept[key] = asked, prediction
            answer.files = {kind: f"/api/v1/predictions/{key}/{kind}" for kind in _MEDIA_TYPES}
        return answer

    @router.get(
        "/predictions/{key}/{kind}",
        response_class=Response,
        responses={
            200: {
                "description": "The file.",
                "content": {media: {"schema": {"type": "string"}} for media in _MEDIA_TYPES.values()},
            }
        },
    )
    async def prediction_file(
        key: str, kind: Literal["cif", "pdb", "json", "html"], download: bool = False
    ) -> Response:
        """Return a file of a prediction that was folded with `keep`.

        The report (`html`) is shown, and saved with `download=1`.
        """
        if key not in kept:
            raise HTTPException(404, "this prediction is no longer kept: fold the peptide again")
        asked, prediction = kept[key]
        command = fold_command(asked, worker.predictor.loaded.name)
        text = await worker.run(lambda _: prediction.text(kind, command))
        headers: dict[str, str] = {}
        if kind == "html":
            headers = {"content-security-policy": REPORT_POLICY, "x-frame-options": "SAMEORIGIN"}
        if download or kind != "html":
            headers["content-disposition"] = f'attachment; filename="{safe_name(prediction.id)}.{kind}"'
        return Response(text, media_type=_MEDIA_TYPES[kind], headers=headers)

    return router


def _batch_router(batches: BatchStore, limits: ServerLimits) -> APIRouter:
    """Return the paths of FASTA batches."""
    router = APIRouter(prefix="/api/v1/batches")

    @router.post("", status_code=202, max_body_size=MAX_BATCH_BODY)
    async def start_batch(asked: BatchRequest, response: Response) -> BatchStatus:
        """Fold a FASTA file. It starts in the background, and is answered at once; the latest batches are kept."""
        _check_samples(asked.samples, limits)
        records = await asyncio.to_thread(read_records, asked.fasta, limits.records)
        status = batches.start(asked, records)
        response.headers["location"] = f"{router.prefix}/{status.batch}"
        return status

    @router.get("/{key}")
    async def batch_status(key: str, after: Annotated[int, Query(ge=0, lt=10**9)] = 0) -> BatchStatus:
        """Return how a batch is going, with the rows after the first `after`."""
        return batches.get(key).status(key, after)

    @router.delete("/{key}")
    async def stop_batch(key: str) -> BatchStatus:
        """Stop a batch."""
        batch = batches.get(key)
        batch.stop()
        return batch.status(key)

    @router.get(
        "/{key}/results.zip",
        response_class=FileResponse,
        responses={
            200: {
                "description": "A zip archive.",
                "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
            }
        },
    )
    async def batch_results(key: str) -> FileResponse:
        """Return the results of a batch: the files that `betafold-mlx fold` writes."""
        batch = batches.get(key)
        if batch.state != "done":
            raise HTTPException(409, f"the batch is not done: it is {batch.state}")
        return FileResponse(batch.path, media_type="application/zip", filename="betafold-mlx.zip")

    return router


def fold_command(asked: FoldRequest, model: str) -> str:
    """Return the command that makes the same prediction."""
    peptide = asked.peptide()
    if peptide.modified or peptide.other_bonds or (peptide.d_residues.any() and not peptide.d_amino_acids):
        words = ["betafold-mlx", "fold", peptide.one_letter()]  # which says it all
        peptide = Peptide.of(peptide.sequence)
    else:
        words = ["betafold-mlx", "fold", peptide.sequence]
    words += ["--cyclic"] if peptide.cyclic else []
    for i, j in peptide.disulfides:
        words += ["--disulfide", f"{i}-{j}"]
    words += ["--disulfide", "auto"] if asked.disulfides == AUTO else []
    words += ["--d-amino-acids"] if peptide.d_amino_acids else []
    words += ["--n-cap", peptide.n_cap] if peptide.n_cap else []
    words += ["--c-cap", peptide.c_cap] if peptide.c_cap else []
    words += ["--samples", str(asked.samples)] if asked.samples != 1 else []
    words += ["--seed", str(asked.seed)] if asked.seed != 0 else []
    return shlex.join([*words, "--model", model])


def server_info(predictor: Predictor, limits: ServerLimits) -> dict[str, Any]:
    """Return what a client needs to know of the server."""
    loaded = predictor.loaded
    return {
        "version": __version__,
        "model": {
            "name": loaded.name,
            "sha256": loaded.sha256,
            "embedder": predictor.describe_embedder()["label"],
        },
        "alphabet": ALPHABET,
        "lengths": [MIN_LENGTH, MAX_LENGTH],
        "trained_lengths": list(TRAINED_LENGTHS),
        "n_caps": list(N_CAPS),
        "c_caps": list(C_CAPS),
        "limits": {
            "samples": limits.samples,
            "records": limits.records,
            "queue": limits.queue,
            "batch_bytes": MAX_BATCH_BODY,
        },
    }
