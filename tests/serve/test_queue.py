"""One model, a bounded queue, and what waits in it."""

import contextlib
import http.client
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("starlette", reason="serve needs starlette and uvicorn: the extra serve")

from library_helpers import toy_predictor
from serve_helpers import PEPTIDE, running, wait_until

from betafold_mlx.errors import BetafoldError
from betafold_mlx.serve.kept import Kept, KeptPrediction
from betafold_mlx.serve.limits import Limits
from betafold_mlx.serve.problems import RequestError
from betafold_mlx.serve.requests import FoldRequest
from betafold_mlx.serve.worker import Worker


def test_a_full_queue_says_when_to_come_back_and_what_waits_is_answered():
    with running(Limits(queue=2)) as server, ThreadPoolExecutor() as clients:
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
    with running(Limits(queue=1)) as server, server.model_held():
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


def test_requests_at_the_same_time_are_counted():
    with running(Limits(requests=1)) as server, ThreadPoolExecutor() as clients:
        with server.model_held():
            waiting = clients.submit(server.fold)
            wait_until(lambda: server.worker.folds == 1)
            busy = server.ask("GET", "/")
            assert busy.status == 503 and busy.headers["retry-after"] == "1"
            assert busy.headers["x-content-type-options"] == "nosniff"
        assert waiting.result().status == 200
        assert server.ask("GET", "/").status == 200


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
            fault.status == 500 and b"secret" not in fault.body and "fault" in fault.json["error"]["message"]
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


def test_kept_predictions_are_bounded_in_bytes_and_the_used_ones_stay():
    prediction = toy_predictor().fold(PEPTIDE, details=True)
    entry = KeptPrediction(FoldRequest(prediction.peptide, "x"), prediction)
    least = sum(array.nbytes for array in (prediction.coordinates, prediction.plddt, prediction.torsions))
    kept = Kept(most=1000, most_bytes=100_000)
    first, second = kept.add(entry), kept.add(entry)
    for _ in range(300):
        kept.get(first)
        kept.add(entry)
    assert 1 < len(kept) <= 100_000 / least
    assert kept.get(first) is entry
    with pytest.raises(RequestError, match="no longer kept"):
        kept.get(second)
    one = Kept(most=5, most_bytes=1)
    assert one.get(one.add(entry)) is entry  # what was just made can be had, however large
