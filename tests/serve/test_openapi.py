"""The description of the interface is true: its paths are the server's, and so is what malformed requests get."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("starlette", reason="serve needs starlette and uvicorn: the extra serve")

from library_helpers import toy_predictor
from serve_helpers import running

from betafold_mlx.serve.app import make_app
from betafold_mlx.serve.limits import Limits
from betafold_mlx.serve.openapi import openapi


@pytest.fixture(scope="module")
def server():
    with running(Limits(samples=5)) as made:
        yield made


def test_every_path_is_described_and_every_description_has_a_path(server):
    described = {
        (path, method.upper()) for path, methods in openapi(Limits())["paths"].items() for method in methods
    }
    served = {
        (route.path, method)
        for route in make_app(server.worker, Limits()).routes
        for method in route.methods - {"HEAD"}
        if route.path.startswith("/api/") or (route.path.startswith("/fold") and route.path.endswith("/"))
    }
    assert described == served


def test_the_examples_work(server):
    schemas = server.ask("GET", "/openapi.json").json["components"]["schemas"]
    answer = server.post("/api/v1/fold", schemas["FoldRequest"]["example"])
    assert answer.status == 200 and len(answer.json["result"]["models"]) == 5
    assert server.post("/api/v1/batches", schemas["BatchRequest"]["example"]).json["total"] == 2


def test_every_reference_leads_somewhere():
    document = openapi(Limits())
    references = set()

    def collect(value):
        if isinstance(value, dict):
            references.update([value["$ref"]] if "$ref" in value else [])
            for each in value.values():
                collect(each)
        elif isinstance(value, list):
            for each in value:
                collect(each)

    collect(document)
    assert references == {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    json.dumps(document, allow_nan=False)


class AtOnce:
    """A model that takes no time: it is the interface that is tried."""

    def __init__(self):
        toy = toy_predictor()
        self.loaded, self.describe_embedder = toy.loaded, toy.describe_embedder
        self._long = toy.fold("A" * 32, samples=2)

    def fold(self, peptide, *, id=None, samples=1, seed=0, **options):
        n = len(peptide)
        coordinates = self._long.coordinates[:samples, :n].copy()
        coordinates[:, [letter == "G" for letter in peptide.sequence], 4] = np.nan
        return dataclasses.replace(
            self._long,
            id=id or peptide.sequence,
            peptide=peptide,
            coordinates=coordinates,
            plddt=self._long.plddt[:samples, :n],
            torsions=self._long.torsions[:samples, :n],
            bonds=((),) * samples,
            seed=seed,
        )

    def fold_many(self, peptides, *, ids, **options):
        return [self.fold(peptide, id=name, **options) for name, peptide in zip(ids, peptides, strict=True)]


# JSON Schema cannot say that disulfides are between cysteines of the sequence, and caps not on a ring.
CONFIGURATION = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 404, 409, 422]
"""


def test_malformed_requests_get_what_the_description_says(tmp_path):
    pytest.importorskip("schemathesis", reason="needs schemathesis: the extra dev")
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    limits = Limits(samples=2, queue=1000, batches=1000, batches_running=1000)
    with running(limits, AtOnce) as server:
        address = f"http://127.0.0.1:{server.port}/openapi.json"
        program = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
        options = [
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            "5",
            "--seed",
            "1",
            "--no-color",
        ]
        done = subprocess.run(
            [*program, "--config-file", "schemathesis.toml", "run", address, *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Tested: 9" in done.stdout, done.stdout
