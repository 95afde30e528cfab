"""Template search: the entries of the library that align best with a peptide, and how far they are to be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from betafold_mlx.peptide.bonds import Disulfides
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.templates.alignment import align, best_scores, score_table
from betafold_mlx.templates.library import TemplateLibrary

ALIGNED = 40
"""Best-scoring entries that are traced back and judged: the score alone ranks them poorly."""

MIN_ALIGNED_RESIDUES = 6

MIN_TRUST = 0.6
"""Templates that are right with a smaller probability do not count in the distogram."""

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
