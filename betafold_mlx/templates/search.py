"""Template search: a gapped alignment of a peptide to every sequence of the library at once.

Global alignment with free ends and affine gaps (O. Gotoh, J. Mol. Biol. 162, 705 (1982)), scored by BLOSUM62. Stated
disulfides are knowledge: a bonded cysteine scores `BONDED_MATCH` more on a bonded cysteine of the same side (first or
second of its pair), and `BONDED_MISMATCH` on anything else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
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

    Returns
    -------
    list of Hit
    """
    if not len(library):
        return []
    entry, first = library.rotations
    rows = np.arange(len(entry)) if hidden is None else np.flatnonzero(~hidden[entry])
    table = score_table(peptide)
    order = rows[np.argsort(-best_scores(table, library.codes[rows]), kind="stable")]
    _, once = np.unique(entry[order], return_index=True)  # each entry by its best rotation
    chosen = order[np.sort(once)[:ALIGNED]]
    hits = []
    for row, (score, query, place) in zip(chosen, align(table, library.codes[chosen]), strict=True):
        if len(query) < MIN_ALIGNED_RESIDUES:
            continue
        of_entry = library.rows(int(entry[row]))
        template = (place + first[row]) % (of_entry.stop - of_entry.start)
        hits.append(_judged(peptide, library, int(entry[row]), score, query, template, of_chains))
    hits = [hit for hit in hits if hit.identity <= max_identity]
    return sorted(hits, key=lambda hit: -hit.trust)[:count]


def _judged(
    peptide: Peptide,
    library: TemplateLibrary,
    entry: int,
    score: float,
    query: np.ndarray,
    template: np.ndarray,
    of_chains: bool,
) -> Hit:
    rows = library.rows(entry)
    same = library.residues[rows][template] == peptide.ids[query]
    coverage = len(query) / len(peptide)
    matched = matched_disulfides(peptide, library.partner[rows], query, template)
    weights = TRUST_RICH if len(peptide.disulfides) >= 2 else TRUST_CHAIN if of_chains else TRUST_OTHER
    terms = (1.0, score / 50, coverage, math.log(len(query) / 20), 1 - matched)
    trust = 1 / (1 + math.exp(-sum(weight * term for weight, term in zip(weights, terms, strict=True))))
    return Hit(
        entry,
        library.names[entry],
        score,
        query,
        template,
        float(same.mean()),
        coverage,
        matched,
        trust,
        library.ca[rows][template].astype(np.float32),
        library.torsions[rows][template].astype(np.float32),
    )


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


def best_scores(table: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the score of the best alignment to each sequence: (L, 61), (rows, W) -> (rows,) int16."""
    ends = (codes != GAP_CODE).sum(axis=1)
    places = np.arange(len(codes))
    best = np.zeros(len(codes), dtype=np.int16)
    for scores in _filled(table, codes):
        np.maximum(best, scores[ends, places], out=best)
    beyond = np.arange(codes.shape[1] + 1)[:, None] > ends
    return np.maximum(best, np.where(beyond, _NEVER, scores).max(axis=0))


def _filled(table: np.ndarray, codes: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows of the matrix of best scores after 0, 1, ... L residues of the peptide: (W + 1, rows) int16.

    All sequences side by side: NumPy runs along the last axis, and steps from one residue to the next along the first.
    """
    shape = (codes.shape[1] + 1, len(codes))
    index = np.ascontiguousarray(codes.T, dtype=np.intp)
    ramp = (GAP_EXTEND * np.arange(shape[0]))[:, None].astype(np.int16)
    scores = np.zeros(shape, dtype=np.int16)  # a free end costs nothing
    skipped = np.full(shape, _NEVER, dtype=np.int16)  # the last residue of the peptide stands on nothing
    yield scores
    matched: dict[bytes, np.ndarray] = {}  # by residue of the peptide, the score on each code
    for row in table:
        skipped = np.maximum(scores - np.int16(GAP_OPEN), skipped - np.int16(GAP_EXTEND))
        skipped[0] = _NEVER
        key = row.tobytes()
        if key not in matched:
            matched[key] = row.take(index, mode="clip")  # unchecked: codes are within the table
        new = np.zeros(shape, dtype=np.int16)
        np.add(scores[:-1], matched[key], out=new[1:])
        np.maximum(new, skipped, out=new)
        # The last residues of the entry stand on nothing: from the best place before, less the way from it.
        reached = _running_maximum(new + ramp)[:-1] - ramp[1:]
        np.maximum(new[1:], reached - np.int16(GAP_OPEN - GAP_EXTEND), out=new[1:])
        scores = new
        yield scores


def _running_maximum(values: np.ndarray) -> np.ndarray:
    """Return the maximum of each row and those above it; what is given is overwritten."""
    if values.shape[1] < 500:
        return np.maximum.accumulate(values, axis=0)
    for above, row in pairwise(values):  # 15 times as fast for the whole library
        np.maximum(row, above, out=row)
    return values


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
    matrices = np.stack(list(_filled(table, codes))).transpose(2, 0, 1).astype(np.int32)  # (N, L + 1, W + 1)
    return [_traced(table, row, matrix) for row, matrix in zip(codes, matrices, strict=True)]


def _traced(table: np.ndarray, codes: np.ndarray, matrix: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Walk back from the best end of an alignment."""
    rows, columns = len(table), int((codes != GAP_CODE).sum())
    ends = [(i, columns) for i in range(rows + 1)] + [(rows, j) for j in range(columns + 1)]
    i, j = max(ends, key=lambda end: matrix[end])
    score = float(matrix[i, j])
    pairs = []
    while i > 0 and j > 0:
        if matrix[i, j] == matrix[i - 1, j - 1] + table[i - 1, codes[j - 1]]:
            i, j = i - 1, j - 1
            pairs.append((i, j))
            continue
        gap = np.arange(1, max(i, j) + 1)
        cost = GAP_OPEN + GAP_EXTEND * (gap - 1)
        above = gap[:i][matrix[i, j] == matrix[i - gap[:i], j] - cost[:i]]
        left = gap[:j][matrix[i, j] == matrix[i, j - gap[:j]] - cost[:j]]
        if len(above):
            i -= int(above[0])
        else:
            j -= int(left[0])
    query, place = np.array(pairs[::-1], dtype=int).reshape(-1, 2).T
    return score, query, place
