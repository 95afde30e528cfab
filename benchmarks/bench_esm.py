"""ESM-2 embeddings beside transformers: ESM2-8M of random weights, letters or tokens in, states out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from betafold_mlx.esm.converted import LoadedEsm
from betafold_mlx.esm.embedder import EsmEmbedder
from betafold_mlx.esm.model import Esm2
from betafold_mlx.esm.sizes import SIZES, EsmConfig
from betafold_mlx.peptide.sequence import ALPHABET

CASES = [(length, batch) for length in (12, 22, 32, 52) for batch in (1, 16, 64)]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "{} residues x {}".format(*case))
def letters(request: pytest.FixtureRequest, quick: bool) -> list[str]:
    """Return a batch of random sequences of one length."""
    length, batch = request.param
    if quick and (length, batch) not in ((12, 1), (22, 16), (32, 64)):
        pytest.skip("not with --quick")
    rng = np.random.default_rng(0)
    return ["".join(row) for row in rng.choice(list(ALPHABET), size=(batch, length))]


@pytest.fixture(scope="module")
def embedder() -> EsmEmbedder:
    """Return ESM2-8M as folding and `embed` use it."""
    network = Esm2(EsmConfig(*SIZES["8M"]))
    network.join()
    mx.eval(network.parameters())
    loaded = LoadedEsm(
        config=network.config,
        name="random",
        sha256="",
        source_sha256="",
        dtype="float32",
        path=Path(),
        model=network,
    )
    return EsmEmbedder(loaded)


@pytest.fixture(scope="module")
def peer(torch: Any) -> Any:
    """Return the same network of transformers."""
    transformers = pytest.importorskip("transformers")
    config = transformers.EsmConfig(
        vocab_size=33,
        hidden_size=320,
        num_hidden_layers=6,
        num_attention_heads=20,
        intermediate_size=1280,
        max_position_embeddings=1026,
        position_embedding_type="rotary",
        token_dropout=True,
        mask_token_id=32,
        pad_token_id=1,
    )
    return transformers.EsmModel(config, add_pooling_layer=False).eval()


def bench_ours(benchmark: BenchmarkFixture, letters: list[str], embedder: EsmEmbedder) -> None:
    benchmark.group = f"ESM2-8M, {len(letters[0])} residues x {len(letters)}"
    benchmark(embedder.embed, letters)


def bench_transformers(benchmark: BenchmarkFixture, letters: list[str], peer: Any, torch: Any) -> None:
    benchmark.group = f"ESM2-8M, {len(letters[0])} residues x {len(letters)}"
    tokens = torch.randint(4, 24, (len(letters), len(letters[0]) + 2))
    tokens[:, 0], tokens[:, -1] = 0, 2
    with torch.inference_mode():
        benchmark(peer, input_ids=tokens, attention_mask=torch.ones_like(tokens))
