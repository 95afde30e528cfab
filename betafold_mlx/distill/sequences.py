"""Sequences to label: those of a FASTA file, and likely mutants of training examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import NamedTuple

from betafold_mlx.data.sampling import SamplerConfig
from betafold_mlx.data.store import MAX_PEPTIDE, MIN_PEPTIDE, Dataset
from betafold_mlx.data.windows import WindowSampler
from betafold_mlx.distill.labelling import EXCHANGED
from betafold_mlx.errors import BetafoldError
from betafold_mlx.gzipped import read_lines
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.peptide.fasta import parse_fasta
from betafold_mlx.peptide.sequence import Peptide

_FRUITLESS = 100
"""Batches without a new mutant after which there are no more."""


class Unlabelled(NamedTuple):
    """A sequence to be labelled, or why it cannot be."""

    id: str
    peptide: Peptide | None  # None where it cannot be used
    problem: str = ""  # why not; empty where it can


def read_unlabelled(path: Path) -> Iterator[Unlabelled]:
    """Yield the records of a FASTA file, plain or gzipped; headers may state chemistry, as in `fold`."""
    for number, record in enumerate(parse_fasta(read_lines(path)), start=1):
        name = record.id or f"record-{number}"
        try:
            yield Unlabelled(name, trainable(record.peptide()))
        except BetafoldError as error:
            yield Unlabelled(name, None, str(error))


def trainable(peptide: Peptide) -> Peptide:
    """Return a peptide as a data set holds it: without caps, which the network does not see.

    BetafoldError for D or modified residues, side-chain bonds, or a length that is not trained on.
    """
    if peptide.d_residues.any():
        raise BetafoldError("D residues: a data set holds L peptides")
    if peptide.modified or peptide.other_bonds:
        raise BetafoldError(
            "modified residues or side-chain bonds: a data set holds the 20 standard residues, rings and disulfides"
        )
    if not MIN_PEPTIDE <= len(peptide) <= MAX_PEPTIDE:
        raise BetafoldError(
            f"{len(peptide)} residues: peptides of {MIN_PEPTIDE} to {MAX_PEPTIDE} are trained on"
        )
    return replace(peptide, n_cap=None, c_cap=None, notes=())


def mutants(
    dataset: Dataset,
    number: int,
    known: Callable[[str, bool], bool],
    seed: int = 0,
    exchanged: float = EXCHANGED,
) -> Iterator[Unlabelled]:
    """Yield mutants of training examples: residues exchanged for what evolution puts in their place (BLOSUM62).

    Examples are drawn as training draws them, windows of chains and whole peptides of the train split with their
    chemistry, and nothing of other splits. The share of exchanged residues is drawn evenly from 0 up to `exchanged`;
    ends of disulfides stay. `known` says of a sequence and whether it is a ring that there is a structure of it, as
    of a mutant without a mutation: these are passed over. BetafoldError for an empty train split, or fewer different
    mutants than the `number` asked for.
    """
    config = SamplerConfig(unstated_disulfides=0.0, unstated_ring=0.0, substitutions=exchanged)
    sampler = WindowSampler(dataset, PADDED_LENGTHS, seed, config)
    seen: set[Peptide] = set()
    fruitless = 0
    for step in count():
        before = len(seen)
        for window in sampler.batch(step)[0]:
            peptide = window.peptide
            if len(seen) == number:
                return
            if peptide not in seen and not known(peptide.sequence, peptide.cyclic):
                seen.add(peptide)
                yield Unlabelled(f"mutant-{len(seen)}", peptide)
        fruitless = fruitless + 1 if len(seen) == before else 0
        if fruitless == _FRUITLESS:
            raise BetafoldError(
                f"only {len(seen)} different mutants of this train split: ask for fewer than {number}"
            )
