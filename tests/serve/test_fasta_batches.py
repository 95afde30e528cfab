"""FASTA batches: progress, the archive, stopping, and what is kept of them."""

import csv
import io
import json
import zipfile

import pytest

pytest.importorskip("fastapi", reason="serve needs fastapi and uvicorn: the extra serve")

from library_helpers import toy_predictor
from serve_helpers import PEPTIDE, running, wait_until

from betafold_mlx.serve.server import ServerLimits

pytestmark = pytest.mark.usefixtures("quick_folds")

FASTA = f">ring cyclic disulfides=3-11\n{PEPTIDE}\n>bad\nGRX\n>ring\nACDEFGHIKL\n>../up n-cap=ACE\nKLAKLAK\n"


@pytest.fixture(scope="module")
def server():
    with running(ServerLimits(batches=2, running_batches=1)) as made:
        yield made


def start(server, fasta=FASTA, **document):
    answer = server.post("/api/v1/batches", {"fasta": fasta, **document})
    assert answer.status == 202, answer.body
    assert answer.headers["location"] == f"/api/v1/batches/{answer.json['batch']}"
    return answer.headers["location"]


def ended(server, path):
    wait_until(lambda: server.ask("GET", path).json["state"] != "running")
    return server.ask("GET", path).json


def archive(server, document):
    answer = server.ask("GET", document["zip"])
    assert (answer.status, answer.headers["content-type"]) == (200, "application/zip")
    assert int(answer.headers["content-length"]) == len(answer.body)
    with zipfile.ZipFile(io.BytesIO(answer.body)) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name).decode() for name in opened.namelist()}, answer.body


def test_a_batch_is_what_the_command_writes(server):
    document = ended(server, start(server, include=["cif", "pdb"]))
    assert (document["state"], document["total"], document["done"], document["failed"]) == ("done", 4, 4, 1)
    assert [row["status"] for row in document["rows"]][1] == "failed"
    assert [row["id"] for row in document["rows"]] == ["ring", "bad", "ring", "../up"]
    assert document["rows"][0]["disulfides"] == [[3, 11]] and document["rows"][0]["cyclic"]
    assert document["rows"][0]["one_letter"] == "cyclo(GRC(1)TKSIPPIC(1)FPD)"
    files, _ = archive(server, document)
    assert set(files) == {
        *(f"{name}.{kind}" for name in ("ring", "ring_2", "_up") for kind in ("cif", "pdb", "json")),
        *("summary.csv", "errors.csv"),
    }
    expected = toy_predictor().fold("KLAKLAK", n_cap="ACE", id="../up")
    result = json.loads(files["_up.json"])
    assert result["sequence"] == "KLAKLAK" and result["caps"]["n"] == "ACE"
    assert result["plddt"] == pytest.approx(expected.to_dict()["plddt"], abs=0.02)
    summary = list(csv.DictReader(io.StringIO(files["summary.csv"])))
    assert [row["id"] for row in summary] == ["ring", "bad", "ring", "../up"]
    assert summary[2]["files"] == "ring_2.cif ring_2.pdb ring_2.json"
    (error,) = csv.DictReader(io.StringIO(files["errors.csv"]))
    assert (error["id"], error["line"]) == ("bad", "3") and "'X' at position 3" in error["error"]


def test_the_same_batch_gives_the_same_bytes(server):
    bodies = [archive(server, ended(server, start(server, ">a\nKLAKLAK", seed=4)))[1] for _ in range(2)]
    assert bodies[0] == bodies[1]


def test_rows_that_are_known_are_not_sent_again(server):
    path = start(server, ">a\nKLAKLAK\n>b\nX\n")
    rows = ended(server, path)["rows"]
    assert len(rows) == 2 and server.ask("GET", f"{path}?after=1").json["rows"] == rows[1:]
    assert server.ask("GET", f"{path}?after=99").json["rows"] == []
    for wrong in ("-1", "x", "1.5", "9" * 30):
        assert server.ask("GET", f"{path}?after={wrong}").status == 422


def test_a_batch_that_runs_makes_others_wait_and_can_be_stopped(server):
    many = "".join(f">p{index}\nACDEFGHIKL\n" for index in range(40))
    with server.model_held():
        path = start(server, many)
        assert server.ask("GET", f"{path}/results.zip").status == 409
        refused = server.post("/api/v1/batches", {"fasta": FASTA})
        assert refused.status == 503 and int(refused.headers["retry-after"]) > 0
        assert server.ask("DELETE", path).json["state"] == "stopped"
    wait_until(lambda: server.ask("GET", path).json["done"] > 0)
    document = ended(server, path)
    assert document["state"] == "stopped" and document["done"] < 40 and document["zip"] is None
    assert server.ask("GET", f"{path}/results.zip").status == 409


def test_old_batches_go(server):
    paths = []
    for _ in range(3):
        paths.append(start(server, ">a\nACDEFGHIKL"))
        ended(server, paths[-1])
    assert [server.ask("GET", path).status for path in paths] == [404, 200, 200]
    assert server.ask("DELETE", paths[0]).status == 404


def test_a_fold_does_not_wait_for_the_whole_of_a_batch(server):
    path = start(server, "".join(f">p{index}\nACDEFGHIKL\n" for index in range(160)))
    assert server.fold().status == 200
    assert server.ask("GET", path).json["state"] == "running"
    server.ask("DELETE", path)
    wait_until(lambda: server.post("/api/v1/batches", {"fasta": ">a\nXX"}).status == 202)


def test_a_batch_ends_with_the_server():
    with running() as server:
        start(server, "".join(f">p{index}\nACDEFGHIKL\n" for index in range(1000)))
    # `running` sees to it that the server ended, long before a thousand folds


def test_what_is_too_large_is_refused(server):
    answer = server.post("/api/v1/batches", {"fasta": "A" * (1 << 20)})
    assert answer.status == 413 and "1024 kB of a FASTA file" in answer.json["error"]["message"]
    assert server.post("/api/v1/batches", {"fasta": ">a\nAAAA", "format": "cif"}).status == 422
