"""BLOSUM62 substitution scores, and the probabilities of substitutions that follow from them."""

from __future__ import annotations

import numpy as np

_ROWS = """
 4  0 -2 -1 -2  0 -2 -1 -1 -1 -1 -2 -1 -1 -1  1  0  0 -3 -2
 0  9 -3 -4 -2 -3 -3 -1 -3 -1 -1 -3 -3 -3 -3 -1 -1 -1 -2 -2
-2 -3  6  2 -3 -1 -1 -3 -1 -4 -3  1 -1  0 -2  0 -1 -3 -4 -3
-1 -4  2  5 -3 -2  0 -3  1 -3 -2  0 -1  2  0  0 -1 -2 -3 -2
-2 -2 -3 -3  6 -3 -1  0 -3  0  0 -3 -4 -3 -3 -2 -2 -1  1  3
 0 -3 -1 -2 -3  6 -2 -4 -2 -4 -3  0 -2 -2 -2  0 -2 -3 -2 -3
-2 -3 -1  0 -1 -2  8 -3 -1 -3 -2  1 -2  0  0 -1 -2 -3 -2  2
-1 -1 -3 -3  0 -4 -3  4 -3  2  1 -3 -3 -3 -3 -2 -1  3 -3 -1
-1 -3 -1  1 -3 -2 -1 -3  5 -2 -1  0 -1  1  2  0 -1 -2 -3 -2
-1 -1 -4 -3  0 -4 -3  2 -2  4  2 -3 -3 -2 -2 -2 -1  1 -2 -1
-1 -1 -3 -2  0 -3 -2  1 -1  2  5 -2 -2  0 -1 -1 -1  1 -1 -1
-2 -3  1  0 -3  0  1 -3  0 -3 -2  6 -2  0  0  1  0 -3 -4 -2
-1 -3 -1 -1 -4 -2 -2 -3 -1 -3 -2 -2  7 -1 -2 -1 -1 -2 -4 -3
-1 -3  0  2 -3 -2  0 -3  1 -2  0  0 -1  5  1  0 -1 -2 -2 -1
-1 -3 -2  0 -3 -2  0 -3  2 -2 -1  0 -2  1  5 -1 -1 -3 -3 -2
 1 -1  0  0 -2  0 -1 -2  0 -2 -1  1 -1  0 -1  4  1 -2 -3 -2
 0 -1 -1 -1 -2 -2 -2 -1 -1 -1 -1  0 -1 -1 -1  1  5  0 -2 -2
 0 -1 -3 -2 -1 -3 -3  3 -2  1  1 -3 -2 -2 -3 -2  0  4 -3 -1
-3 -2 -4 -3  1 -2 -2 -3 -3 -2 -1 -4 -4 -2 -3 -3 -2 -3 11  2
-2 -2 -3 -2  3 -3  2 -1 -2 -1 -1 -2 -3 -1 -2 -2 -2 -1  2  7
"""

BLOSUM62 = np.array(_ROWS.split(), dtype=np.int16).reshape(20, 20)
"""(20, 20) int16, half bits, by residue id (`betafold_mlx.peptide.sequence.ALPHABET`). S. Henikoff and J. G. Henikoff,
Proc. Natl. Acad. Sci. USA 89, 10915 (1992), as the NCBI distributes it."""


def substitution_probabilities() -> np.ndarray:
    """Return the chance that a residue, when it is exchanged in evolution, becomes each of the others, (20, 20).

    A score is the log odds of a pair, s_ij = 2 log2(q_ij / (p_i p_j)). The frequencies p that belong to the scores
    solve sum_j p_j 2^(s_ij / 2) = 1 (Yu and Altschul, Bioinformatics 21, 902 (2005)); then i becomes j with
    probability p_j 2^(s_ij / 2), here without what stays the same: rows by residue id sum to 1, the diagonal is 0.
    """
    odds = np.exp2(BLOSUM62 / 2.0)
    frequencies = np.linalg.solve(odds, np.ones(20))
    exchanged = odds * frequencies
    np.fill_diagonal(exchanged, 0.0)
    return exchanged / exchanged.sum(axis=1, keepdims=True)
