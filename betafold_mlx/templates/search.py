"""Template search: a gapped alignment of a peptide to every sequence of the library at once.

Global alignment with free ends and affine gaps (O. Gotoh, J. Mol. Biol. 162, 705 (1982)), scored by BLOSUM62. Stated
disulfides are knowledge: a bonded cysteine scores `BONDED_MATCH` more on a bonded cysteine of the same side (first or
second of its pair), and `BONDED_MISMATCH` on anything else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from betafold_mlx.peptide.bonds import Disulfides
from betafold_mlx.peptide.sequence import ALPHABET, Peptide
from betafold_mlx.peptide.substitution import BLOSUM62
from betafold_mlx.templates.library import GAP_CODE, TemplateLibrary

GAP_OPEN, GAP_EXTEND = 6, 1
"""Cost of the first and of each further residue of a gap."""

BONDED_MATCH, BONDED_MISMATCH = 8, -4

ALIGNED = 40
"""Best-scoring entries that are traced back and judged: the score alone ranks them poorly."""

MIN_ALIGNED_RESIDUES = 6

MIN_TRUST = 0.6
"""Templates that are right with a smaller probability do not count in the distogram."""

_TOGETHER = 1250  # sequences that are scored together: their matrices stay in the cache
_NEVER = np.int16(-8000)  # less than any score, far from the end of int16

TRUST_RICH = (-5.34, 2.68, 1.33, -1.96, -3.74)
TRUST_OTHER = (-6.38, 3.93, 1.94, -1.76, 0.0)
TRUST_CHAIN = (-11.12, 3.25, 6.75, -2.71, 0.0)
"""Logistic models of the probability that a hit's C-alpha RMSD to the truth, over the aligned residues, is below 3
Angstrom: of peptides with two stated disulfides or more, and of others. Weights of 1, score / 50, coverage,
log(aligned residues / 20) and the share of disulfides that are not matched. Fitted by
logistic regression to the hits of each training and validation peptide among the others (see the model card)."""


@dataclass(frozen=True)
class Hit:
    """A template of a peptide.

    Attributes
    ----------
    entry : int
        Its number in the library.
    name : str
        Its name there.
    score : float
        Of the alignment.
    query, template : numpy.ndarray
        (A,) int, aligned residues of the peptide and of the entry, from 0.
    identity : float
        Share of the aligned residues that are the same.
    coverage : float
        Share of the peptide's residues that are aligned.
    matched : float
        Share of the peptide's stated disulfides that stand on a disulfide of the entry; 0 where none is stated.
    trust : float
        Probability that the template is right (`TRUST_RICH`, `TRUST_OTHER`, `TRUST_CHAIN`).
    ca : numpy.ndarray
        (A, 3) C-alphas of the aligned residues of the entry, Angstrom.
    torsions : numpy.ndarray
        (A, 3) their phi, psi, omega in radians; NaN where undefined.
    """

    entry: int
    name: str
    score: float
    query: np.ndarray
    template: np.ndarray
    identity: float
    coverage: float
    matched: float
    trust: float
    ca: np.ndarray
    torsions: np.ndarray


Hits = Sequence[Sequence[Hit]]
"""The templates of each of some peptides, the most trusted first."""


class TemplateBonds(NamedTuple):
    """Disulfides of a known structure on the cysteines of a peptide.

    Attributes
    ----------
    name : str
        Of the entry.
    trust : float
        As in `Hit`.
    disulfides : tuple of (int, int)
        1-based residues of the peptide.
    """

    name: str
    trust: float
    disulfides: Disulfides


def search(
    peptide: Peptide,
    library: TemplateLibrary,
    count: int,
    hidden: np.ndarray | None = None,
    max_identity: float = 1.0,
    of_chains: bool = False,
    min_trust: float = 0.0,
    scores: np.ndarray | None = None,
) -> list[Hit]:
    """Find the templates of a peptide, the most trusted first.

    Parameters
    ----------
    peptide : Peptide
        L residues with stated chemistry.
    library : TemplateLibrary
        E entries.
    count : int
        Hits to return, at most.
    hidden : numpy.ndarray, optional
        (E,) bool, entries that must not be found.
    max_identity : float
        Hits that share more of their aligned residues with the peptide are left out.
    of_chains : bool
        Whether the entries were cut from chains for this peptide (`betafold_mlx.templates.chains`).
    min_trust : float
        Hits that are trusted less are left out.
    scores : numpy.ndarray, optional
        (rotations,), of the peptide from `best_scores`, where they are at hand.

    Returns
    -------
    list of Hit
    """
    if not len(library):
        return []
    entry, first = library.rotations
    rows = np.arange(len(entry)) if hidden is None else np.flatnonzero(~hidden[entry])
    table = score_table(peptide)
    if scores is None:
        (scores,) = best_scores([table], library.codes)
    order = rows[np.argsort(-scores[rows], kind="stable")]
    _, once = np.unique(entry[order], return_index=True)  # each entry by its best rotation
    chosen = order[np.sort(once)[:ALIGNED]]
    weights = TRUST_RICH if len(peptide.disulfides) >= 2 else TRUST_CHAIN if of_chains else TRUST_OTHER

    def trust(score: float, aligned: int, matched: float) -> float:
        terms = (1.0, score / 50, aligned / len(peptide), math.log(aligned / 20), 1 - matched)
        return 1 / (1 + math.exp(-sum(weight * term for weight, term in zip(weights, terms, strict=True))))

    if min_trust:  # a score is trusted most with the fewest or the most aligned residues
        extremes = (MIN_ALIGNED_RESIDUES, max(MIN_ALIGNED_RESIDUES, len(peptide)))
        highest = [max(trust(score, aligned, 1.0) for aligned in extremes) for score in scores[chosen]]
        chosen = chosen[np.array(highest) >= min_trust]
    found = []
    for row, (score, query, place) in zip(chosen, align(table, library.codes[chosen]), strict=True):
        if len(query) < MIN_ALIGNED_RESIDUES:
            continue
        rows_of = library.rows(int(entry[row]))
        template = (place + first[row]) % (rows_of.stop - rows_of.start)
        matched = matched_disulfides(peptide, library.partner[rows_of], query, template)
        found.append((trust(score, len(query), matched), int(entry[row]), score, query, template, matched))
    hits: list[Hit] = []
    ids = peptide.ids
    for trusted, number, score, query, template, matched in sorted(found, key=lambda each: -each[0]):
        if len(hits) == count or trusted < min_trust:
            break
        rows_of = library.rows(number)
        identity = float((library.residues[rows_of][template] == ids[query]).mean())
        if identity <= max_identity:
            name, coverage = library.names[number], len(query) / len(peptide)
            ca, torsions = (of[rows_of][template].astype(np.float32) for of in (library.ca, library.torsions))
            hits.append(
                Hit(number, name, score, query, template, identity, coverage, matched, trusted, ca, torsions)
            )
    return hits


def matched_disulfides(
    peptide: Peptide, partner: np.ndarray, query: np.ndarray, template: np.ndarray
) -> float:
    """Return the share of the stated disulfides whose two ends stand on the two ends of one of the template's."""
    if not peptide.disulfides:
        return 0.0
    bonds = bonded_pairs(partner, query, template)
    return sum(pair in bonds for pair in peptide.disulfides) / len(peptide.disulfides)


def bonded_pairs(partner: np.ndarray, query: np.ndarray, template: np.ndarray) -> Disulfides:
    """Return the pairs of aligned residues of a peptide (1-based) that stand on the two ends of a disulfide.

    `partner` are the bonded residues of the template (-1: none), from 0, as `query` and `template` of a `Hit`.
    """
    on = dict(zip(template.tolist(), query.tolist(), strict=True))
    ends = ((place, int(partner[place])) for place in on)
    pairs = {(on[i] + 1, on[j] + 1) for i, j in ends if j in on}
    return tuple(sorted((i, j) for i, j in pairs if i < j))


def find_bonds(
    peptide: Peptide, library: TemplateLibrary, count: int, max_identity: float = 1.0
) -> list[TemplateBonds]:
    """Find known structures of similar sequence that have disulfides where the peptide has cysteines.

    `count` hits are looked at; the arguments are those of `search`.
    """
    found = []
    for hit in search(peptide, library, count, max_identity=max_identity):
        pairs = bonded_pairs(library.partner[library.rows(hit.entry)], hit.query, hit.template)
        pairs = tuple((i, j) for i, j in pairs if peptide.sequence[i - 1] == "C" == peptide.sequence[j - 1])
        if pairs:
            found.append(TemplateBonds(hit.name, hit.trust, pairs))
    return found


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
