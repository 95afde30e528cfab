"""One model, a bounded queue, and what waits in it."""

import contextlib
import http.client
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("fastapi", reason="serve needs fastapi and uvicorn: the extra serve")

from library_helpers import toy_predictor
from serve_helpers import PEPTIDE, running, wait_until

from betafold_mlx.errors import BetafoldError
from betafold_mlx.serve.server import ServerLimits
from betafold_mlx.serve.worker import Worker


def test_a_full_queue_says_when_to_come_back_and_what_waits_is_answered():
    with running(ServerLimits(queue=2)) as server, ThreadPoolExecutor() as clients:
        with server.model_held():
            waiting = [clients.submit(server.fold, seed=seed) for seed in range(2)]
            wait_until(lambda: server.worker.folds == 2)
            full = server.fold()
            assert full.status == 503 and int(full.headers["retry-after"]) >= 1
            assert "2 folds are waiting" in full.json["error"]["message"]
            atlas = server.ask("POST", "/foldSequence/v1/pdb/", PEPTIDE)
            assert atlas.status == 503 and int(atlas.headers["retry-after"]) >= 1
            assert server.ask("GET", "/api/v1/info").status == 200  # the page still loads
        assert [each.result().json["result"]["seed"] for each in waiting] == [0, 1]
        assert server.fold().status == 200


def test_what_nobody_waits_for_is_not_folded():
    with running(ServerLimits(queue=1)) as server, server.model_held():
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        with contextlib.closing(connection):
            connection.request(
                "POST",
                "/api/v1/fold",
                json.dumps({"sequence": PEPTIDE}),
                {"Content-Type": "application/json"},
            )
            wait_until(lambda: server.worker.folds == 1)
        wait_until(lambda: server.worker.folds == 0)  # though the model is still held


def test_the_end_waits_for_what_is_under_way():
    with ThreadPoolExecutor() as clients:
        with running() as server, server.model_held():
            waiting = clients.submit(server.fold, seed=9)
            wait_until(lambda: server.worker.folds == 1)
            clients.submit(lambda: None).result()
        assert waiting.result().json["result"]["seed"] == 9  # the server was told to end before it was folded


class Broken:
    """A model whose weights are damaged."""

    def __init__(self):
        self._good = toy_predictor()
        self.loaded, self.describe_embedder = self._good.loaded, self._good.describe_embedder

    def fold(self, peptide, *, seed, **options):
        if seed:
            raise RuntimeError("a secret of the program")
        raise BetafoldError("model toy gives no finite numbers: its weights are damaged")


def test_a_model_that_fails_is_told_and_not_the_end():
    with running(load=Broken) as server:
        answer = server.fold()
        assert answer.status == 500 and "damaged" in answer.json["error"]["message"]
        fault = server.fold(seed=1)
        assert (
            fault.status == 500
            and b"secret" not in fault.body
            and "error in betafold-mlx" in fault.json["error"]["message"]
        )
        assert (
            fault.headers["x-content-type-options"] == "nosniff"
            and "access-control-allow-origin" not in fault.headers
        )
        assert server.worker.folds == 0 and server.ask("GET", "/").status == 200


def test_a_model_that_cannot_be_loaded_leaves_no_thread():
    def load():
        raise BetafoldError("no model directory")

    with pytest.raises(BetafoldError, match="no model directory"):
        Worker(load, 1)
