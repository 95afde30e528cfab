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
_OUTER = {"<cls>", "<pad>", "<eos>"}  # set by `tokenize` and `pad`, never by the text


def tokenize(sequence: str) -> np.ndarray:
    """Return the token ids of one sequence, between ``<cls>`` and ``<eos>``.

    Parameters
    ----------
    sequence : str
        Upper-case letters of `RESIDUES`, ``.``, ``-``, and the tokens ``<mask>``, ``<unk>`` and ``<null_1>`` as words.

    Returns
    -------
    numpy.ndarray
        (T,) int32, T = number of tokens + 2.

    Raises
    ------
    BetafoldError
        Nothing to read, or a letter that ESM-2 has no token for. (The tokenizers around make ``<unk>`` of those, so a
        slip of the pen would pass unseen.)

    Examples
    --------
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


def pad(rows: Sequence[np.ndarray], length: int | None = None) -> np.ndarray:
    """Stack token rows into one batch.

    Parameters
    ----------
    rows : sequence of numpy.ndarray
        B rows of token ids.
    length : int, optional
        Padded length; by default the smallest multiple of `PADDING_STEP` that holds them all.

    Returns
    -------
    numpy.ndarray
        (B, T) int32, ``<pad>`` after each row's end.

    Raises
    ------
    BetafoldError
        No rows, or one longer than `length`.
    """
    if not rows:
        raise BetafoldError("there is no sequence to embed")
    longest = max(len(row) for row in rows)
    size = -(-longest // PADDING_STEP) * PADDING_STEP if length is None else length
    if longest > size:
        raise BetafoldError(f"a row of {longest} tokens does not fit in {size}")
    batch = np.full((len(rows), size), PAD, dtype=np.int32)
    for place, row in enumerate(rows):
        batch[place, : len(row)] = row
    return batch


def encode(sequences: Sequence[str], length: int | None = None) -> np.ndarray:
    """Tokenize and pad sequences: `tokenize`, then `pad`.

    Parameters
    ----------
    sequences : sequence of str
        B sequences.
    length : int, optional
        Padded length in tokens.

    Returns
    -------
    numpy.ndarray
        (B, T) int32; the residue at place i (from 0) is token i + 1.

    Raises
    ------
    BetafoldError
        As `tokenize` and `pad`.
    """
    return pad([tokenize(sequence) for sequence in sequences], length)
