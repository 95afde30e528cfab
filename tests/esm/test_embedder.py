"""Features of ESM-2: the states after the final norm, one a residue, in half precision."""

import mlx.core as mx
import numpy as np
import pytest
from esm_helpers import TINY, random_tensors, source_tensor
from hypothesis import given, settings
from hypothesis import strategies as st

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm import embedder as features
from betafold_mlx.esm.convert import convert
from betafold_mlx.esm.embedder import EsmEmbedder
from betafold_mlx.esm.hub import read_checkpoint
from betafold_mlx.esm.reference import reference_forward
from betafold_mlx.esm.sizes import EsmConfig
from betafold_mlx.esm.tokenizer import tokenize
from betafold_mlx.peptide.sequence import ALPHABET

SEQUENCES = ["GIGKFLHSAKKFGKAFVGEIMNS", "ACDEFGHIKL", "W", "KTWNPATGKWTE", "LLGDFFRKSKEKIGKEFKRIVQRIKDFLRNLV"]


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    return EsmEmbedder(convert(read_checkpoint(TINY), tmp_path_factory.mktemp("esm") / "tiny", "tiny").esm)


@pytest.fixture
def fresh(tmp_path):
    """An embedder of one's own, to be broken."""
    return EsmEmbedder(convert(read_checkpoint(TINY), tmp_path / "tiny", "owner/tiny").esm)


def reference(sequence):
    """(L, E) float64 by NumPy, from the checkpoint's own tensors, one sequence at a time."""
    checkpoint = read_checkpoint(TINY)
    arrays = {name: np.array(array) for name, array in checkpoint.arrays.items()}
    return reference_forward(source_tensor(arrays), checkpoint.config, tokenize(sequence)).states[1:-1]


def test_they_are_the_last_states_of_the_residues(embedder):
    for sequence, embedding in zip(SEQUENCES, embedder.embed(SEQUENCES), strict=True):
        expected = reference(sequence)
        assert embedding.dtype == np.float16 and embedding.shape == expected.shape == (len(sequence), 24)
        np.testing.assert_allclose(embedding, expected, rtol=2**-10, atol=1e-4)  # half precision, no more


def test_a_batch_is_padded_with_zeros(embedder):
    batch = np.array(embedder(SEQUENCES, 40))
    assert batch.shape == (5, 40, 24) and batch.dtype == np.float32
    for row, sequence, embedding in zip(batch, SEQUENCES, embedder.embed(SEQUENCES), strict=True):
        np.testing.assert_array_equal(row[: len(sequence)], embedding.astype(np.float32))
        assert not row[len(sequence) :].any()


@settings(max_examples=15, derandomize=True, deadline=None)
@given(st.lists(st.text(ALPHABET, min_size=1, max_size=34), min_size=1, max_size=12), st.integers(1, 200))
def test_company_and_batches_change_nothing(embedder, sequences, tokens):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "BATCH_TOKENS", tokens)
        together = embedder.embed(sequences)
    for sequence, embedding in zip(sequences, together, strict=True):
        (alone,) = embedder.embed([sequence])
        np.testing.assert_allclose(embedding, alone, rtol=2**-9, atol=2e-4)


def test_batches_stay_small(embedder, monkeypatch):
    sizes = []
    model = embedder.esm.model
    monkeypatch.setattr(features, "BATCH_TOKENS", 64)
    monkeypatch.setattr(type(model), "embed", counting(type(model).embed, sizes))
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list(ALPHABET), size=n)) for n in rng.integers(1, 31, size=40)]
    embedder.embed([*sequences, "A" * 200])
    assert sum(rows for rows, _ in sizes) == 41
    assert all(rows == 1 or rows * (tokens - 7) <= 64 for rows, tokens in sizes)  # padded to a multiple of 8


def counting(embed, sizes):
    def counted(self, tokens):
        sizes.append(tokens.shape)
        return embed(self, tokens)

    return counted


def test_a_window_is_not_a_piece_of_its_chain(embedder):
    """Why windows are embedded by themselves: the context is in every state."""
    chain = SEQUENCES[4]
    (whole,), (window,) = embedder.embed([chain]), embedder.embed([chain[5:17]])
    assert np.abs(whole[5:17].astype(float) - window).max() > 0.1


def test_nothing_gives_nothing(embedder):
    assert embedder.embed([]) == []


def test_an_embedding_that_is_not_finite(fresh):
    fresh.esm.model.norm.weight = mx.full(fresh.esm.model.norm.weight.shape, mx.nan)
    with pytest.raises(BetafoldError, match=r"owner/tiny .*: the embedding of GIGK is not finite"):
        fresh.embed(["GIGK"])


def test_an_embedding_too_large_for_half_precision(fresh):
    fresh.esm.model.norm.bias = fresh.esm.model.norm.bias + 1e5
    with pytest.raises(BetafoldError, match=r"embedding of A{37}\.\.\. reaches 1e\+05, beyond float16"):
        fresh.embed(["A" * 60])


def test_the_full_8m_network(tmp_path):
    """The reference path: 320 numbers a residue, by random weights of the full size."""
    from esm_helpers import write_checkpoint

    config = EsmConfig(6, 320, 20, 1280)
    tensors = random_tensors(config, seed=3)
    source = read_checkpoint(write_checkpoint(tmp_path / "hub", config, tensors))
    embedder = EsmEmbedder(convert(source, tmp_path / "esm2", "random").esm)
    (embedding,) = embedder.embed([SEQUENCES[0]])
    expected = reference_forward(source_tensor(tensors), config, tokenize(SEQUENCES[0])).states[1:-1]
    np.testing.assert_allclose(embedding, expected, rtol=2**-10, atol=2e-3)
    assert embedder.esm.label == "random (8M, NOT the published ESM-2 weights)"
    assert embedder.esm.embedder_config().published is False
