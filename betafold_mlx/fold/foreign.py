"""Foreign residues: what a network that knows L residues alone makes of D residues, AIB and N-methyl residues.

A peptide whose residues are all D needs no rule: it is the mirror image of its L peptide. So is every peptide that is
D for the most part, of one that is L for the most part. Of what is left, in scripts/_mixed_chirality.py's measurements
the best rule is this. The network reads the peptide twice:

1. with glycine in place of its D residues: distances, and the torsions of L residues, are those of this reading;
2. as its mirror image, whose D residues are L, with glycine in place of the others.

The torsions of a D residue are distributed as those of the glycine of the first reading or, as likely, as the mirror
image of those of the second. A residue without a hand takes both readings by the shares of the hands in the peptide.
N-methyl residues are read as threonine, a residue of extended chains: read as their parents, those of cyclosporin would
make a helix, which they cannot. Other modified residues are read as their parents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import mlx.core as mx
import numpy as np

from betafold_mlx.model.folding import Folded
from betafold_mlx.model.ramachandran import TorsionMixture
from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import Peptide

EXTENDED = "T"
"""What stands for an N-methyl residue with a hand: a letter of extended chains, not its parent."""

UNLIKELY = 0.1
"""Factor on the probability of torsions that a residue hardly has."""

CONFIDENCE_LOSS = 7.0
"""By how much the pLDDT of peptides with foreign residues is too high, of all their residues (docs/accuracy.md)."""

_LEAST = 1e-9


def hands(peptide: Peptide) -> np.ndarray:
    """Return the hand of each residue as the network is to read it: 1 for L, -1 for D, 0 for neither, (L,) int.

    Of a peptide that is D for the most part they are those of its mirror image; where there are as many of either,
    the first one counts as L.
    """
    named = np.array([{"L": 1, "D": -1}.get(RESIDUES[code].hand, 0) for code in peptide.residues])
    return -named if is_mirrored(peptide) else named


def is_mirrored(peptide: Peptide) -> bool:
    """Tell whether the mirror image of a peptide is what the network reads."""
    of_residues = [RESIDUES[code].hand for code in peptide.residues]
    most = of_residues.count("D") - of_residues.count("L")
    first = next((hand for hand in of_residues if hand in ("L", "D")), "L")
    return most > 0 or (most == 0 and first == "D")


@cache
def is_n_methyl(code: str) -> bool:
    """Tell whether a residue's N carries a methyl group.

    Like proline's, it leaves itself and the residue before no room for a helix.
    """
    return any(row.turn == "phi" for row in RESIDUES[code].placements[0])


def has_foreign(peptide: Peptide) -> bool:
    """Tell whether a peptide takes the rule for foreign residues."""
    return bool((_other_share(peptide) > 0).any()) or any(map(is_n_methyl, peptide.residues))


def approximations(peptide: Peptide) -> str | None:
    """Return one line that names the residues of the other hand or without one and the modified ones, or None."""
    other = (hands(peptide) < 0).tolist()
    named = [
        f"{code} at {place}"
        for place, code in enumerate(peptide.residues, start=1)
        if other[place - 1] or place in peptide.modified
    ]
    if not named:
        return None
    return f"approximations, because the model knows the 20 standard residues of one hand: {', '.join(named)}"


def unknown_bonds(peptide: Peptide) -> str | None:
    """Return one line that names the stated bonds that no network knows, or None."""
    if not peptide.other_bonds:
        return None
    return (
        f"the model does not know the bond {', '.join(map(str, peptide.other_bonds))}: the structure follows from "
        "closing it, and the pLDDT does not tell how well"
    )


def other_hand(peptides: Sequence[Peptide], length: int) -> mx.array:
    """Return which residues have the other hand, as `ModelInputs.d_residues`: (B, length) bool."""
    return mx.array(np.stack([_padded(hands(peptide) < 0, length) for peptide in peptides]))


def read_foreign(ask: Callable[[Sequence[str]], Folded], peptides: Sequence[Peptide]) -> Folded:
    """Return the network's answer for peptides with foreign residues.

    Parameters
    ----------
    ask : callable
        Sequences of B peptides -> the network's answer for them.
    peptides : sequence of Peptide
        B peptides.

    Returns
    -------
    Folded
        Of the first reading, but for the mixture, whose states are followed by their mirror images, and the last states
        of residues of the other hand, which are of the second.
    """
    first, second = (ask([reading(peptide, hand) for peptide in peptides]) for hand in (1, -1))
    mixture, length = first.mixture, first.mixture.log_weights.shape[1]
    share = mx.array(np.stack([_padded(_other_share(peptide), length) for peptide in peptides]))[..., None]
    allowed = mx.array(
        np.stack([_allowed(peptide, length, np.array(mixture.centre)) for peptide in peptides])
    )
    weights = mx.concatenate(
        [
            mixture.log_weights + mx.log(mx.maximum((1.0 - share) * allowed, _LEAST)),
            second.mixture.log_weights + mx.log(mx.maximum(share * allowed, _LEAST)),
        ],
        axis=-1,
    )
    both = TorsionMixture(
        weights - mx.logsumexp(weights, axis=-1, keepdims=True),
        mx.concatenate([mixture.centre, -mixture.centre]),
        mx.concatenate([mixture.concentration, mixture.concentration]),
    )
    other = other_hand(peptides, length)[..., None]
    return first._replace(mixture=both, states=mx.where(other, second.states, first.states))


def reading(peptide: Peptide, hand: int) -> str:
    """Return the letters that the network reads for one hand: glycine stands for residues of the other."""
    letters = [
        EXTENDED if is_n_methyl(code) and letter != "G" else letter
        for code, letter in zip(peptide.residues, peptide.sequence, strict=True)
    ]
    return "".join(
        "G" if own == -hand else letter for letter, own in zip(letters, hands(peptide), strict=True)
    )


def _other_share(peptide: Peptide) -> np.ndarray:
    """Return what share of each residue's torsions is of the second reading: (L,) float32."""
    own = hands(peptide)
    here, there = (own > 0).sum(), (own < 0).sum()
    neither = (there + 1) / (here + there + 2)  # Laplace's rule of succession
    share = np.where(own < 0, 0.5, np.where(own == 0, neither, 0.0))
    share[[code == "GLY" for code in peptide.residues]] = 0.0
    return share.astype(np.float32)


def _allowed(peptide: Peptide, length: int, centre: np.ndarray) -> np.ndarray:
    """Return factors (length, K) on the mixture's states, whose centres are (K, 2) radians; the same for mirror images.

    AIB has the torsions of helices of either hand (I. L. Karle and P. Balaram, Biochemistry 29, 6747 (1990)). A
    methyl group at N takes the helix from its residue and the one before (S. S. Zimmerman and H. A. Scheraga,
    Biopolymers 16, 811 (1977); P. Manavalan and F. A. Momany, Biopolymers 19, 1943 (1980)).
    """
    phi, psi = np.degrees(centre).T
    helical = (phi * psi > 0) & (np.abs(phi) < 100) & (np.abs(psi) < 80)
    extended = np.abs(psi) > 50
    factors = np.ones((length, len(centre)), dtype=np.float32)
    last = len(peptide) - 1
    for place, code in enumerate(peptide.residues):
        if code == "AIB":
            factors[place, ~helical] *= UNLIKELY
        if is_n_methyl(code):
            before = place - 1 if place else last
            bent = [place, before] if place or peptide.cyclic else [place]
            factors[np.ix_(bent, ~extended)] = UNLIKELY
    return factors


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    return np.pad(values, (0, length - len(values)))
