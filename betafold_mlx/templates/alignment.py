"""Gapped alignment of peptides to every sequence of the template library at once.

Global alignment with free ends and affine gaps (O. Gotoh, J. Mol. Biol. 162, 705 (1982)), scored by BLOSUM62. Stated
disulfides are knowledge: a bonded cysteine scores `BONDED_MATCH` more on a bonded cysteine of the same side (first or
second of its pair), and `BONDED_MISMATCH` on anything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from betafold_mlx.peptide.sequence import ALPHABET, Peptide
from betafold_mlx.peptide.substitution import BLOSUM62
from betafold_mlx.templates.library import GAP_CODE

GAP_OPEN, GAP_EXTEND = 6, 1
"""Cost of the first and of each further residue of a gap."""

BONDED_MATCH, BONDED_MISMATCH = 8, -4

_TOGETHER = 1250  # sequences that are scored together: their matrices stay in the cache
_NEVER = np.int16(-8000)  # less than any score, far from the end of int16


def score_table(peptide: Peptide) -> np.ndarray:
    """Return the score of each residue of a peptide on each code of the library: (L, 61) int16."""
    ids = np.asarray(peptide.ids)
    table = np.full((len(ids), GAP_CODE + 1), _NEVER, dtype=np.int16)
    table[:, :GAP_CODE] = np.tile(BLOSUM62[ids], 3)
    if not peptide.disulfides:
        return table
    cysteine = ALPHABET.index("C")
    bonded = np.zeros(len(ids), dtype=bool)
    for pair in peptide.disulfides:
        for side, residue in enumerate(pair, start=1):
            bonded[residue - 1] = True
            table[residue - 1, :GAP_CODE] += BONDED_MISMATCH
            table[residue - 1, 20 * side + cysteine] += BONDED_MATCH - BONDED_MISMATCH
    table[np.ix_(~bonded, np.array([20, 40]) + cysteine)] += BONDED_MISMATCH
    return table


def best_scores(tables: Sequence[np.ndarray], codes: np.ndarray) -> np.ndarray:
    """Return the score of the best alignment of each peptide to each sequence.

    Parameters
    ----------
    tables : sequence of numpy.ndarray
        (L, 61) of each of P peptides, from `score_table`.
    codes : numpy.ndarray
        (N, W) uint8, as `TemplateLibrary.codes`.

    Returns
    -------
    numpy.ndarray
        (P, N) int16.
    """
    lengths = (codes != GAP_CODE).sum(axis=1)
    order = np.argsort(lengths, kind="stable")  # sequences of like length together, without much padding
    best = np.zeros((len(tables), len(codes)), dtype=np.int16)
    for start in range(0, len(order), _TOGETHER):
        rows = order[start : start + _TOGETHER]
        ends, places = lengths[rows], np.arange(len(rows))
        index = _by_place(codes[rows, : ends[-1]])
        beyond = np.arange(ends[-1] + 1)[:, None] > ends
        matched: dict[bytes, np.ndarray] = {}
        for number, table in enumerate(tables):
            for step, scores in enumerate(_filled(table, index, matched)):
                at_end = scores[ends, places] - (GAP_EXTEND * (step + ends)).astype(np.int16)
                best[number, rows] = np.maximum(best[number, rows], at_end)
            scores = scores - (GAP_EXTEND * (step + np.arange(len(scores))))[:, None].astype(np.int16)
            scores[beyond] = _NEVER
            best[number, rows] = np.maximum(best[number, rows], scores.max(axis=0))
    return best


def _by_place(codes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(codes.T, dtype=np.intp)


def _filled(table: np.ndarray, index: np.ndarray, matched: dict[bytes, np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the rows of the matrix of best scores after 0, 1, ... L residues of the peptide: (W + 1, N) int16.

    All sequences, `index` (W, N), side by side: NumPy runs along the last axis, and steps from one residue to the next
    along the first. To the score after i residues of the peptide and j of the entry i + j times `GAP_EXTEND` is added:
    so a gap costs the same whatever its length. `matched` keeps what each kind of residue scores on the entries.
    """
    shape = (len(index) + 1, index.shape[1])
    opening = np.int16(GAP_OPEN - GAP_EXTEND)
    scores = np.empty(shape, dtype=np.int16)
    scores[:] = (GAP_EXTEND * np.arange(shape[0]))[:, None]  # a free end costs nothing
    above = np.full(shape, _NEVER, dtype=np.int16)
    yield scores
    for step, row in enumerate(table, start=1):
        key = row.tobytes()
        if key not in matched:
            on_code = (row + 2 * GAP_EXTEND).astype(np.int16)
            matched[key] = on_code.take(index, mode="clip")  # unchecked: codes are within the table
        new = np.empty(shape, dtype=np.int16)
        new[0] = GAP_EXTEND * step
        np.add(scores[:-1], matched[key], out=new[1:])
        np.maximum(above, scores, out=above)  # the last residues of the peptide stand on nothing
        np.maximum(new, above - opening, out=new)
        before = _running_maximum(new)[:-1]  # the last residues of the entry do
        before -= opening
        np.maximum(new[1:], before, out=new[1:])
        scores = new
        yield scores


def _running_maximum(values: np.ndarray) -> np.ndarray:
    """Return the maximum of each row and those above it."""
    if values.shape[1] < 500:
        return np.maximum.accumulate(values, axis=0)
    reached = np.empty_like(values)
    reached[0] = values[0]
    for k in range(1, len(values)):  # 15 times as fast for the whole library
        np.maximum(values[k], reached[k - 1], out=reached[k])
    return reached


def align(table: np.ndarray, codes: np.ndarray) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Align a peptide to sequences.

    Parameters
    ----------
    table : numpy.ndarray
        (L, 61), from `score_table`.
    codes : numpy.ndarray
        (N, W) uint8, as `TemplateLibrary.codes`.

    Returns
    -------
    list of (float, numpy.ndarray, numpy.ndarray)
        Score, aligned residues of the peptide, and the places that they stand on.
    """
    if not len(codes):
        return []
    matrices = np.stack(list(_filled(table, _by_place(codes), {}))).transpose(2, 0, 1)  # (N, L + 1, W + 1)
    ramp = GAP_EXTEND * np.add.outer(np.arange(matrices.shape[1]), np.arange(matrices.shape[2]))
    on_codes, plain = table.tolist(), (matrices - ramp).tolist()
    return [_traced(on_codes, row, matrix) for row, matrix in zip(codes.tolist(), plain, strict=True)]


def _traced(
    table: list[list[int]], codes: list[int], matrix: list[list[int]]
) -> tuple[float, np.ndarray, np.ndarray]:
    """Walk back from the best end of an alignment."""
    columns = len(codes) - codes.count(GAP_CODE)
    at_side, at_bottom = [row[columns] for row in matrix], matrix[-1][: columns + 1]
    score = max(*at_side, *at_bottom)
    i, j = len(table), columns
    if score in at_side:
        i = at_side.index(score)
    else:
        j = at_bottom.index(score)
    pairs = []
    while i > 0 and j > 0:
        here = matrix[i][j] + GAP_OPEN - GAP_EXTEND
        if matrix[i][j] == matrix[i - 1][j - 1] + table[i - 1][codes[j - 1]]:
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif skipped := next((k for k in range(1, i + 1) if matrix[i - k][j] == here + GAP_EXTEND * k), 0):
            i -= skipped
        else:
            j -= next(k for k in range(1, j + 1) if matrix[i][j - k] == here + GAP_EXTEND * k)
    query, place = np.array(pairs[::-1], dtype=int).reshape(-1, 2).T
    return float(score), query, place
