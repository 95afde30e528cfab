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

    def fold_many(self, peptides, *, seed, **options):
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


class Counting:
    """A model that keeps what it folds together, and fails where asparagine is among it."""

    def __init__(self):
        self._toy = toy_predictor()
        self.loaded, self.describe_embedder = self._toy.loaded, self._toy.describe_embedder
        self.batches = []

    def fold_many(self, peptides, **settings):
        self.batches.append(("".join(peptide.sequence[0] for peptide in peptides), settings["samples"]))
        if any("N" in peptide.sequence for peptide in peptides):
            raise BetafoldError("no asparagine today")
        return self._toy.fold_many(peptides, **settings)


def held(server, clients, requests):
    """Send requests one after another while the model is busy, and return the answers."""
    asked = []
    with server.model_held():
        for number, request in enumerate(requests, start=1):
            asked.append(clients.submit(server.fold, **request))
            wait_until(lambda: server.worker.folds == number)  # noqa: B023
    return [each.result() for each in asked]


def test_what_waits_is_folded_together_by_padded_length_and_settings():
    requests = [
        {"sequence": "AKKLAKKLAK"},
        {"sequence": "D" * 20},
        {"sequence": "EKKLAKKL", "keep": True, "id": "kept", "include": ["pdb"]},
        {"sequence": "FKKLAKKL", "samples": 2},
        {"sequence": "GRCTKSIPPICFPD", "cyclic": True, "disulfides": [[3, 11]]},
    ]
    with running(load=Counting) as server, ThreadPoolExecutor() as clients:
        answers = held(server, clients, requests)
        assert server.worker.predictor.batches == [("AEG", 1), ("D", 1), ("F", 2)]
        assert server.worker._waiting == [] and server.worker.folds == 0
        assert [each.json["result"]["sequence"] for each in answers] == [
            each["sequence"] for each in requests
        ]
        assert [each.json["files"] is not None for each in answers] == [False, False, True, False, False]
        page = server.ask("GET", answers[2].json["files"]["html"])
        assert page.status == 200 and b"attention" in page.body
        for request, answer in zip(requests, answers, strict=True):  # as each alone
            again = server.fold(**request).json
            assert (again["result"], again["structures"]) == (
                answer.json["result"],
                answer.json["structures"],
            )


def test_folded_one_by_one_where_that_is_asked():
    with running(load=Counting, together=1) as server, ThreadPoolExecutor() as clients:
        answers = held(server, clients, [{"sequence": first + "KKLAKKL"} for first in "ACD"])
        assert [batch for batch, _ in server.worker.predictor.batches] == ["A", "C", "D"]
        assert answers[2].body == server.fold(sequence="DKKLAKKL").body


def test_a_member_that_fails_is_the_only_one():
    with running(load=Counting) as server, ThreadPoolExecutor() as clients:
        answers = held(server, clients, [{"sequence": first + "KKLAKKL"} for first in "ANC"])
        assert [each.status for each in answers] == [200, 500, 200]
        assert "asparagine" in answers[1].json["error"]["message"]
        assert [batch for batch, _ in server.worker.predictor.batches] == ["ANC", "A", "N", "C"]


def test_a_model_that_cannot_be_loaded_leaves_no_thread():
    def load():
        raise BetafoldError("no model directory")

    with pytest.raises(BetafoldError, match="no model directory"):
        Worker(load, 1)
