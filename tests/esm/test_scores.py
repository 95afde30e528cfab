"""Pseudo-perplexity against the float64 reference, one masked sequence at a time."""

import mlx.core as mx
import numpy as np
import pytest
from esm_helpers import TINY, TINY_CONFIG, source_tensor

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm import scores as scoring
from betafold_mlx.esm.convert import convert
from betafold_mlx.esm.hub import read_checkpoint
from betafold_mlx.esm.reference import reference_forward
from betafold_mlx.esm.scores import SequenceScore, parse_sequence, predict_contacts, score_sequence
from betafold_mlx.esm.tokenizer import TOKENS, tokenize
from betafold_mlx.peptide.sequence import ALPHABET


@pytest.fixture(scope="module")
def tensor():
    return source_tensor(
        {name: np.array(array) for name, array in mx.load(str(TINY / "model.safetensors")).items()}
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return convert(read_checkpoint(TINY), tmp_path_factory.mktemp("esm") / "tiny", "tiny").esm.model


def expected_logs(tensor, sequence):
    """Return (L, 33) log-probabilities, each place masked by writing <mask> into the text."""
    rows = []
    for place in range(len(sequence)):
        masked = tokenize(sequence[:place] + "<mask>" + sequence[place + 1 :])
        logits = reference_forward(tensor, TINY_CONFIG, masked).logits[place + 1]
        rows.append(logits - np.log(np.exp(logits).sum()))
    return np.array(rows)


@pytest.mark.parametrize("sequence", ["GIGKFLHSAKKFG", "M", "MXBZUOK"])
def test_each_residue_is_scored_where_it_alone_is_masked(model, tensor, sequence):
    score = score_sequence(model, sequence)
    logs = expected_logs(tensor, sequence)
    own = logs[np.arange(len(sequence)), [TOKENS.index(letter) for letter in sequence]]
    np.testing.assert_allclose(score.log_probabilities, own, atol=5e-5)
    np.testing.assert_allclose(score.alternatives, logs[:, [TOKENS.index(x) for x in ALPHABET]], atol=5e-5)
    assert score.perplexity == pytest.approx(np.exp(-own.mean()), rel=1e-4)
    assert score.most_likely == "".join(
        max(ALPHABET, key=lambda x, row=row: row[TOKENS.index(x)]) for row in logs
    )


@pytest.mark.parametrize("tokens", [1, 40, 100])
def test_the_batch_size_does_not_matter(model, monkeypatch, tokens):
    whole = score_sequence(model, "GIGKFLHSAKKFG")
    monkeypatch.setattr(scoring, "BATCH_TOKENS", tokens)
    parts = score_sequence(model, "GIGKFLHSAKKFG")
    np.testing.assert_allclose(parts.log_probabilities, whole.log_probabilities, atol=1e-5)


def test_perplexity_at_its_ends():
    sure = SequenceScore("AA", np.zeros(2), np.zeros((2, 20)))
    ignorant = SequenceScore("AA", np.full(2, -np.log(20)), np.full((2, 20), -np.log(20)))
    absurd = SequenceScore("A", np.array([-5000.0]), np.zeros((1, 20)))
    assert sure.perplexity == 1 and ignorant.perplexity == pytest.approx(20) and absurd.perplexity < np.inf


def test_contacts(model, tensor):
    sequence = "GIGKFLHSAKKFG"
    expected = reference_forward(tensor, TINY_CONFIG, tokenize(sequence)).contacts
    np.testing.assert_allclose(predict_contacts(model, sequence), expected, atol=1e-5)
    assert predict_contacts(model, "M").shape == (1, 1)


def test_sequences_are_cleaned_and_checked():
    assert parse_sequence(" gig\nKX bzuo ") == "GIGKXBZUO"
    assert len(parse_sequence("A" * 1022)) == 1022
    for text, message in (
        ("", "empty"),
        (" \n", "empty"),
        ("GIJ", "'J' at position 3"),
        ("G<mask>", "'<' at position 2"),
        ("AC-D", "'-' at position 3"),
        ("AC1", "'1'"),
        ("A\u00c5", "'\u00c5'"),
        ("A" * 1023, "1023 residues"),
    ):
        with pytest.raises(BetafoldError, match=message):
            parse_sequence(text)


@pytest.mark.parametrize("letter", ["\u00df", "\u0131", "\ufb00", "\u017f"])
def test_letters_whose_upper_case_is_a_residue_are_none(letter):
    with pytest.raises(BetafoldError, match="position 3 is not a residue"):
        parse_sequence(f"GI{letter}GK")
