"""The OpenAPI document is true: its examples work, and malformed requests get what it says."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="serve needs fastapi and uvicorn: the extra serve")

from library_helpers import toy_predictor
from serve_helpers import running

from betafold_mlx.peptide.sequence import MAX_LENGTH
from betafold_mlx.serve.server import ServerLimits


@pytest.fixture(scope="module")
def server():
    with running(ServerLimits(samples=5)) as made:
        yield made


def test_the_examples_work(server):
    schemas = server.ask("GET", "/openapi.json").json["components"]["schemas"]
    answer = server.post("/api/v1/fold", schemas["FoldRequest"]["example"])
    assert answer.status == 200 and len(answer.json["result"]["models"]) == 5
    assert server.post("/api/v1/batches", schemas["BatchRequest"]["example"]).json["total"] == 2


class AtOnce:
    """A model that takes no time: it is the interface that is tried."""

    def __init__(self):
        toy = toy_predictor()
        self.loaded, self.describe_embedder = toy.loaded, toy.describe_embedder
        self._long = toy.fold("A" * MAX_LENGTH, samples=2)

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
            clashes=self._long.clashes[:samples],
            through=self._long.through[:samples],
            threaded=(None,) * samples,
            seed=seed,
        )

    def fold_many(self, peptides, *, ids, **options):
        return [self.fold(peptide, id=name, **options) for name, peptide in zip(ids, peptides, strict=True)]


# JSON Schema cannot say that disulfides are between cysteines of the sequence, and caps not on a ring. Of a path with
# two methods the header Allow names one: FastAPI makes a route of each. DELETE stops a batch, and what is done stays.
CONFIGURATION = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 404, 409, 422]

[checks.negative_data_rejection]
expected-statuses = ["4xx"]

[checks.allow_header_conformance]
enabled = false

[checks.use_after_free]
enabled = false
"""


@pytest.mark.slow
def test_malformed_requests_get_what_the_description_says(tmp_path):
    pytest.importorskip("schemathesis", reason="needs schemathesis: the extra dev")
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    limits = ServerLimits(samples=2, queue=1000, batches=1000, running_batches=1000)
    with running(limits, AtOnce) as server:
        address = f"http://127.0.0.1:{server.port}/openapi.json"
        program = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
        options = [
            "--phases",
            "examples,coverage,fuzzing,stateful",
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
        assert "Tested: 11" in done.stdout, done.stdout
