"""Confidence in sequences that have no fold: a model should say when it does not know.

Sets are folded beside the items of a split: random sequences, fragments and peptides of the split with their residues
shuffled, and pieces of proteins that are disordered in solution. A confidence that means something is lower there than
on real structures. (A few random sequences may well be helical; most have no fold.)
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from betafold_mlx.data.shuffle import shuffled
from betafold_mlx.data.store import PEPTIDE_KINDS, Dataset
from betafold_mlx.evaluate.batching import Say, fold_all
from betafold_mlx.evaluate.items import FRAGMENT, Item, evenly_spread
from betafold_mlx.evaluate.reliability import chance_above
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.peptide.sequence import ALPHABET, TRAINED_LENGTHS, Peptide, residue_ids

CONFIDENT = 70.0
"""Mean pLDDT above which people take a model for right: the lower end of "confident" in AlphaFold's colours
(K. Tunyasuvunakool et al., Nature 596, 590 (2021))."""
FREE = ("free", "oligomer")
"""Kinds of peptides that fold by themselves."""
SEEN = 10
"""Residues in a row that a disordered piece and a training chain have in common, from which on it is called seen."""


@functools.cache
def disordered_pieces() -> list[dict[str, str]]:
    """Return pieces of disordered proteins: ``name``, ``sequence`` (12 to 30 residues) and ``source``.

    Such chains are no uniform coils: some hold a helix for part of the time (p53 around residue 22), and many fold on
    a partner (the start of alpha-synuclein on membranes). None has one structure of its own that a confident answer
    could be right about. Residues are numbered as in the reference, mature chains from 1; modifications are left out.
    Sequences are public facts of UniProt; the papers measured them, or the region they lie in, in solution without a
    partner.
    """
    text = files("betafold_mlx.evaluate").joinpath("disordered.tsv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))


def random_peptides(dataset: Dataset, count: int, rng: np.random.Generator) -> list[Peptide]:
    """Draw sequences with the composition of the train split and lengths uniform over the trained ones.

    Every residue is drawn independently. None where the train split is empty.
    """
    text = "".join(record.sequence for record in dataset.of_split("train"))
    if not text:
        return []
    shares = np.bincount(residue_ids(text), minlength=len(ALPHABET)) / len(text)
    shortest, longest = TRAINED_LENGTHS
    lengths = rng.integers(shortest, longest + 1, size=count)
    return [Peptide.of("".join(rng.choice(list(ALPHABET), size=length, p=shares))) for length in lengths]


def shuffled_items(
    items: Sequence[Item], kinds: Sequence[str], count: int, rng: np.random.Generator
) -> list[Peptide]:
    """Shuffle the items of some kinds, at most `count`, evenly spread over their order."""
    chosen = evenly_spread([item.peptide for item in items if item.kind in kinds], count)
    return [shuffled(peptide, rng) for peptide in chosen]


def measure_scope(
    predictor: Predictor,
    dataset: Dataset,
    items: Sequence[Item],
    predictions: Sequence[Prediction],
    count: int,
    samples: int = 1,
    seed: int = 0,
    say: Say = lambda text: None,
) -> dict[str, Any]:
    """Fold sequences without a fold of their own, and compare the confidence with that on real structures.

    `predictions` are those of the items, with as many `samples`: the best of more would look more confident. `count`
    is the number of random sequences, and the maximum number of shuffled fragments and of shuffled peptides.

    ``confident``: `CONFIDENT`. ``sets``: list of dict with ``name`` (of the items: ``fragments``, ``peptides``,
    ``free peptides``, the oligomeric among these; ``random``, ``shuffled fragments``, ``shuffled free peptides``,
    ``disordered``), ``n``, ``mean_plddt`` (over peptides), ``share_confident`` (of peptides whose mean pLDDT is
    higher than `CONFIDENT`), ``helix_share`` (of all residues, state H of P-SEA), and ``real_above``: chance that
    a fragment (for shuffled free peptides: a free peptide) has a higher mean pLDDT than one of the set (None
    without any); empty sets are left out. ``disordered``: each piece with ``name``, ``sequence``, ``source``,
    ``seen`` (whether 10 residues in a row of it occur in a training chain), ``mean_plddt`` and
    ``secondary_structure``.
    """
    rng = np.random.default_rng(seed)
    pieces = disordered_pieces()
    peptides = {
        "random": random_peptides(dataset, count, rng),
        "shuffled fragments": shuffled_items(items, [FRAGMENT], count, rng),
        "shuffled free peptides": shuffled_items(items, FREE, count, rng),
        "disordered": [Peptide.of(piece["sequence"]) for piece in pieces],
    }
    pairs = list(zip(items, predictions, strict=True))
    members = {
        "fragments": [prediction for item, prediction in pairs if item.kind == FRAGMENT],
        "peptides": [prediction for item, prediction in pairs if item.kind in PEPTIDE_KINDS],
        "free peptides": [prediction for item, prediction in pairs if item.kind in FREE],
    }
    for name, sequences in peptides.items():
        members[name] = fold_all(predictor, sequences, samples, seed, say, f"folded {name} sequences:")
    chains = [record.sequence for record in dataset.of_split("train")]
    told = [
        {
            **piece,
            "seen": _seen(piece["sequence"], chains),
            "mean_plddt": prediction.plddt[0].mean(),
            "secondary_structure": prediction.secondary_structure[0],
        }
        for piece, prediction in zip(pieces, members["disordered"], strict=True)
    ]
    return {"confident": CONFIDENT, "sets": _set_figures(members), "disordered": told}


def _set_figures(members: Mapping[str, Sequence[Prediction]]) -> list[dict[str, Any]]:
    means = {name: np.array([one.plddt[0].mean() for one in several]) for name, several in members.items()}
    states = {name: "".join(one.secondary_structure[0] for one in of) for name, of in members.items()}
    return [
        {
            "name": name,
            "n": len(several),
            "mean_plddt": means[name].mean(),
            "share_confident": (means[name] > CONFIDENT).mean(),
            "helix_share": states[name].count("H") / len(states[name]),
            "real_above": chance_above(
                means["free peptides" if "free" in name else "fragments"], means[name]
            ),
        }
        for name, several in members.items()
        if several
    ]


def _seen(sequence: str, chains: Sequence[str]) -> bool:
    words = {sequence[start : start + SEEN] for start in range(len(sequence) - SEEN + 1)}
    return any(word in chain for chain in chains for word in words)
