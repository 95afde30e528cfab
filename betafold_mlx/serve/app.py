"""The ASGI application: which path does what."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from betafold_mlx import __version__
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import to_json
from betafold_mlx.fold.output import safe_name
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.serve.atlas import MEDIA_TYPES, atlas_peptide, atlas_text
from betafold_mlx.serve.batches import Batches
from betafold_mlx.serve.guard import HEADERS, REPORT_POLICY, Guard
from betafold_mlx.serve.kept import Kept, KeptPrediction
from betafold_mlx.serve.limits import Limits
from betafold_mlx.serve.openapi import openapi
from betafold_mlx.serve.problems import FAULT, RequestError
from betafold_mlx.serve.requests import FoldRequest, batch_request, fold_request, read_body, read_json
from betafold_mlx.serve.worker import Worker

T = TypeVar("T")

STATIC = Path(__file__).resolve().parent / "static"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_DOWNLOADS = {**MEDIA_TYPES, "json": "application/json", "html": "text/html"}


def make_app(worker: Worker, limits: Limits, names: Iterable[str] = ()) -> Starlette:
    """Return the application.

    Parameters
    ----------
    worker : Worker
        Owns the model; closed with the application.
    limits : Limits
        What it puts up with.
    names : iterable of str
        Host names under which it may be asked, other than addresses and ``localhost``.

    Returns
    -------
    Starlette
        At its end ``state.stopped`` says how many FASTA batches were not finished.
    """
    server = _Server(worker, limits)
    return Starlette(
        routes=server.routes(),
        middleware=[Middleware(Guard, names=tuple(names), requests=limits.requests)],
        exception_handlers={
            RequestError: _request_error,
            BetafoldError: _fold_error,
            HTTPException: _http_error,
            Exception: _own_error,
        },
        lifespan=server.lifespan,
    )


class _Server:
    """The handlers, and what they share. All run on the event loop; what computes is passed to the worker."""

    def __init__(self, worker: Worker, limits: Limits) -> None:
        self._worker, self._limits = worker, limits
        self._kept = Kept(limits.kept, limits.kept_bytes)
        self._batches = Batches(worker, limits)
        self._description = to_json(openapi(limits))
        self._info = to_json(_info(worker.predictor, limits))

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Close the worker at the end, when the requests under way are answered."""
        try:
            yield
        finally:
            app.state.stopped = await self._batches.close()
            await asyncio.get_running_loop().run_in_executor(None, self._worker.close)

    def routes(self) -> list[Route]:
        """Return all paths."""
        api = "/api/v1"
        routes = [
            Route(f"{api}/info", self._json_text(self._info), methods=["GET"]),
            Route(f"{api}/fold", self.fold, methods=["POST"]),
            Route(f"{api}/predictions/{{key}}/{{kind}}", self.download, methods=["GET"]),
            Route(f"{api}/batches", self.start_batch, methods=["POST"]),
            Route(f"{api}/batches/{{key}}", self.batch, methods=["GET", "DELETE"]),
            Route(f"{api}/batches/{{key}}/results.zip", self.archive, methods=["GET"]),
            Route("/openapi.json", self._json_text(self._description), methods=["GET"]),
        ]
        for kind in MEDIA_TYPES:
            for end in ("", "/"):  # clients of the Atlas write the slash; a redirect would cost them the body
                routes.append(Route(f"/foldSequence/v1/{kind}{end}", self._atlas(kind), methods=["POST"]))
        pages = {"/": "index.html", "/docs": "docs.html"}
        pages |= {f"/static/{path.name}": path.name for path in STATIC.iterdir() if path.suffix != ".html"}
        return routes + [Route(path, _static(STATIC / name), methods=["GET"]) for path, name in pages.items()]

    async def fold(self, request: Request) -> Response:
        """Fold one peptide: ``POST /api/v1/fold``."""
        document = await read_json(request, self._limits.body, self._limits.body_seconds)
        asked = fold_request(document, self._limits)

        def work(predictor: Predictor) -> tuple[Prediction, dict[str, Any], dict[str, str]]:
            prediction = _fold(predictor, asked)
            structures = {kind: prediction.text(kind) for kind in asked.include}
            return prediction, prediction.to_dict(), structures

        prediction, result, structures = await _unless_gone(request, self._worker.fold(work))
        files = None
        if asked.keep:
            key = self._kept.add(KeptPrediction(asked, prediction))
            files = {kind: f"/api/v1/predictions/{key}/{kind}" for kind in _DOWNLOADS}
        return _json({"result": result, "structures": structures, "files": files})

    async def download(self, request: Request) -> Response:
        """Send a file of a kept prediction; the report is shown, and saved where the query says ``download=1``."""
        kind = request.path_params["kind"]
        if kind not in _DOWNLOADS:
            raise RequestError(404, f"there is no {kind[:20]!r} here: there are {', '.join(_DOWNLOADS)}")
        entry = self._kept.get(request.path_params["key"])
        text = await self._worker.run(lambda predictor: _file(predictor, entry, kind))
        headers: dict[str, str] = {}
        if kind == "html":
            headers |= {"content-security-policy": REPORT_POLICY, "x-frame-options": "SAMEORIGIN"}
        if kind != "html" or request.query_params.get("download") == "1":
            headers["content-disposition"] = f'attachment; filename="{safe_name(entry.prediction.id)}.{kind}"'
        return Response(text, media_type=_DOWNLOADS[kind], headers=headers)

    async def start_batch(self, request: Request) -> Response:
        """Fold a FASTA file in the background: ``POST /api/v1/batches``."""
        document = await read_json(request, self._limits.batch_body, self._limits.body_seconds)
        # A megabyte of FASTA takes a while to read: not on the event loop.
        asked = await asyncio.to_thread(batch_request, document, self._limits)
        key, batch = self._batches.add(asked)
        return _json(batch.document(key, 0), 202, {"location": f"/api/v1/batches/{key}"})

    async def batch(self, request: Request) -> Response:
        """Tell how a batch is going, or stop it."""
        key = request.path_params["key"]
        batch = self._batches.get(key)
        if request.method == "DELETE":
            batch.stop()
        after = request.query_params.get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) < 10):
            raise RequestError(422, "after: this must be a whole number from 0")
        return _json(batch.document(key, int(after)))

    async def archive(self, request: Request) -> Response:
        """Send the archive of a batch that is done."""
        batch = self._batches.get(request.path_params["key"])
        if batch.state != "done":
            raise RequestError(409, f"the batch is not done, but {batch.state}")
        headers = {
            "content-length": str(batch.size),
            "content-disposition": 'attachment; filename="betafold-mlx.zip"',
        }
        return StreamingResponse(batch.archive(), media_type="application/zip", headers=headers)

    def _atlas(self, kind: str) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            try:
                body = await read_body(request, self._limits.body, self._limits.body_seconds)
                peptide = atlas_peptide(body)
                text = await _unless_gone(
                    request,
                    self._worker.fold(lambda predictor: atlas_text(predictor.fold(peptide), kind)),
                )
            except RequestError as error:
                return PlainTextResponse(error.message, error.status, error.headers)
            return Response(text, media_type=MEDIA_TYPES[kind])

        return answer

    def _json_text(self, text: str) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            return Response(text, media_type="application/json")

        return answer


def _fold(predictor: Predictor, asked: FoldRequest) -> Prediction:
    return predictor.fold(
        asked.peptide,
        samples=asked.samples,
        seed=asked.seed,
        auto_disulfides=asked.auto_disulfides,
        id=asked.id,
        details=asked.keep,  # for its report
    )


def _file(predictor: Predictor, entry: KeptPrediction, kind: str) -> str:
    """Return a file of a kept prediction."""
    return entry.prediction.text(kind, command_line(entry.request, predictor.loaded.name))


def command_line(asked: FoldRequest, model: str) -> str:
    """Return the command that makes the same prediction."""
    peptide = asked.peptide
    words = ["betafold-mlx", "fold", peptide.sequence]
    words += ["--cyclic"] if peptide.cyclic else []
    for i, j in peptide.disulfides:
        words += ["--disulfide", f"{i}-{j}"]
    words += ["--disulfide", "auto"] if asked.auto_disulfides else []
    words += ["--d-amino-acids"] if peptide.d_amino_acids else []
    words += ["--n-cap", peptide.n_cap] if peptide.n_cap else []
    words += ["--c-cap", peptide.c_cap] if peptide.c_cap else []
    words += ["--samples", str(asked.samples)] if asked.samples != 1 else []
    words += ["--seed", str(asked.seed)] if asked.seed != 0 else []
    return shlex.join([*words, "--model", model])


def _info(predictor: Predictor, limits: Limits) -> dict[str, Any]:
    """Return what the page says of the server."""
    from betafold_mlx.peptide.chemistry import C_CAPS, N_CAPS
    from betafold_mlx.peptide.sequence import ALPHABET, MAX_LENGTH, MIN_LENGTH, TRAINED_LENGTHS

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
            "batch_bytes": limits.batch_body,
        },
    }


def _static(path: Path) -> Callable[[Request], Any]:
    body = path.read_bytes()

    async def answer(request: Request) -> Response:
        return Response(body, media_type=_TYPES[path.suffix])

    return answer


def _json(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    # Not JSONResponse: it fails at half a surrogate pair, which a JSON text may hold.
    return Response(to_json(document), status, headers, "application/json")


async def _unless_gone(request: Request, work: Awaitable[T]) -> T:
    """Wait for work, but not for a client that has gone: what is not begun then is not done."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise RequestError(499, "the client has gone")
        return working.result()
    finally:
        working.cancel()
        watching.cancel()


async def _request_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return _json(error.document(), error.status, error.headers)


async def _fold_error(request: Request, error: Exception) -> Response:
    return await _request_error(request, RequestError(500, str(error)))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json(RequestError(error.status_code, error.detail).document(), error.status_code, error.headers)


async def _own_error(request: Request, error: Exception) -> Response:
    answer = await _request_error(request, RequestError(500, FAULT))
    answer.headers.update(HEADERS)  # this answer is made outside of the guard
    return answer
