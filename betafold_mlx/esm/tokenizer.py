"""Protein sequences as the tokens of ESM-2."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from betafold_mlx.errors import BetafoldError

TOKENS = (
    *("<cls>", "<pad>", "<eos>", "<unk>"),
    *"LAGVSERTIDPKQNFYMHWCXBUZO",
    *(".", "-", "<null_1>", "<mask>"),
)
"""The vocabulary in its order (``vocab.txt`` of the checkpoints): the position of a token is its id."""

CLS, PAD, EOS, MASK = (TOKENS.index(token) for token in ("<cls>", "<pad>", "<eos>", "<mask>"))

RESIDUES = "LAGVSERTIDPKQNFYMHWCXBUZO"
"""Letters that stand for a residue: the 20 standard ones, X any, B Asp or Asn, Z Glu or Gln, U Sec, O Pyl."""

PADDING_STEP = 8
"""Token rows are padded to a multiple of this: few shapes, little padding."""

_IDS = {token: index for index, token in enumerate(TOKENS)}
_PIECE = re.compile(r"<[a-z_0-9]+>|.", flags=re.DOTALL)
_OUTER = {"<cls>", "<pad>", "<eos>"}  # set by `tokenize` and `pad_tokens`, never by the text


def tokenize(sequence: str) -> np.ndarray:
    """Return the token ids of one sequence, between ``<cls>`` and ``<eos>``: (T,) int32, T = number of tokens + 2.

    A sequence is upper-case letters of `RESIDUES`, ``.``, ``-``, and the tokens ``<mask>``, ``<unk>`` and
    ``<null_1>`` as words. BetafoldError for nothing to read, or a letter that ESM-2 has no token for (other
    tokenizers make ``<unk>`` of those: a typing error would pass unseen).

    >>> tokenize("LA<mask>").tolist()
    [0, 4, 5, 32, 2]
    """
    pieces = _PIECE.findall(sequence)
    if not pieces:
        raise BetafoldError("the sequence is empty")
    for position, piece in enumerate(pieces, start=1):
        if piece not in _IDS or piece in _OUTER:
            raise BetafoldError(
                f"{piece!r} at position {position} is not a residue that ESM-2 knows ({RESIDUES})"
            )
    return np.array([CLS, *(_IDS[piece] for piece in pieces), EOS], dtype=np.int32)


def pad_tokens(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Stack B token rows into one batch (B, T) int32, with ``<pad>`` up to a multiple of `PADDING_STEP`."""
    longest = max(len(row) for row in rows)
    batch = np.full((len(rows), -(-longest // PADDING_STEP) * PADDING_STEP), PAD, dtype=np.int32)
    for place, row in enumerate(rows):
        batch[place, : len(row)] = row
    return batch


def encode(sequences: Sequence[str]) -> np.ndarray:
    """Tokenize and pad B sequences: (B, T) int32. The residue at place i (from 0) is token i + 1."""
    return pad_tokens([tokenize(sequence) for sequence in sequences])
