"""Scores of a sequence by ESM-2: masked pseudo-perplexity, likely substitutes, contacts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.model import Esm2
from betafold_mlx.esm.sizes import MAX_RESIDUES
from betafold_mlx.esm.tokenizer import MASK, RESIDUES, TOKENS, pad_tokens, tokenize
from betafold_mlx.peptide.sequence import ALPHABET, clean_letters

BATCH_TOKENS = 4096
"""Tokens run at once: attention maps of 1024 tokens stay under 100 MB a head."""

_STANDARD = np.array([TOKENS.index(letter) for letter in ALPHABET])


@dataclass(frozen=True)
class SequenceScore:
    """What ESM-2 says of a sequence of L residues, each masked in turn."""

    sequence: str
    # (L,) natural logarithm of the probability of each residue where it alone is masked
    log_probabilities: np.ndarray
    # (L, 20) the same for each letter of `betafold_mlx.peptide.sequence.ALPHABET` in its place
    alternatives: np.ndarray

    @property
    def perplexity(self) -> float:
        """Pseudo-perplexity: exp of minus the mean log-probability (Salazar et al. 2020; Lin et al. 2023, A.3.2).

        1 where the model is sure of every residue; a model that knows nothing but the alphabet gives 20.
        """
        return math.exp(min(-float(self.log_probabilities.mean()), 700.0))  # random weights can be that sure

    @property
    def most_likely(self) -> str:
        """The standard residue that the model finds most likely at each place."""
        return "".join(ALPHABET[index] for index in self.alternatives.argmax(axis=1))


def parse_sequence(text: str) -> str:
    """Return 1 to `MAX_RESIDUES` upper-case letters of a text, without spaces and line breaks.

    BetafoldError where it is empty, too long, or has a letter that is no residue (the 20 standard ones and X, B, Z,
    U, O).
    """
    sequence = clean_letters(text, RESIDUES, f"a residue: {ALPHABET}, or X, B, Z, U, O")
    if len(sequence) > MAX_RESIDUES:
        raise BetafoldError(f"{len(sequence)} residues: ESM-2 was trained on up to {MAX_RESIDUES}")
    return sequence


def score_sequence(model: Esm2, sequence: str) -> SequenceScore:
    """Mask each residue in turn and read off how likely the model finds it there.

    Probabilities are over all 33 tokens, as the model was trained; B, Z, U, O and X count as the tokens they are.
    """
    tokens = tokenize(sequence)  # (L + 2,)
    places = np.arange(1, len(tokens) - 1)
    masked = np.repeat(tokens[None], len(places), axis=0)  # (L, L + 2)
    masked[np.arange(len(places)), places] = MASK
    step = max(1, BATCH_TOKENS // len(tokens))
    parts = [
        _at_the_mask(model, pad_tokens(list(masked[start : start + step])), places[start : start + step])
        for start in range(0, len(places), step)
    ]
    logits = np.concatenate(parts).astype(np.float64)  # (L, 33)
    logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return SequenceScore(sequence, logs[np.arange(len(places)), tokens[places]], logs[:, _STANDARD])


def _at_the_mask(model: Esm2, tokens: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the logits (B, 33) at one place of each row: the head runs there alone."""
    states = model.embed(mx.array(tokens))  # (B, T, D)
    picked = states[mx.arange(len(places)), mx.array(places)]  # (B, D)
    return np.array(model.logits(picked))


def predict_contacts(model: Esm2, sequence: str) -> np.ndarray:
    """Return the model's contact probabilities (L, L) of the residues of a sequence, symmetric."""
    return np.array(model.contacts(mx.array(tokenize(sequence)[None]))[0])
