"""Experimental structures to score against, with their stated chemistry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from betafold_mlx.data.store import EXPERIMENTAL, Dataset, Fragment, Record
from betafold_mlx.data.windows import cut_window, whole_window
from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.sequence import Peptide

FRAGMENT = "fragment"

T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """One experimental structure to be predicted."""

    id: str  # record id; of a fragment ``CHAIN_FIRST-LAST`` (1-based residues of the chain)
    kind: str  # ``fragment``, or the kind of a peptide (`betafold_mlx.data.store.PEPTIDE_KINDS`)
    peptide: Peptide  # sequence (length L) and the chemistry that a predictor gets
    coordinates: np.ndarray  # (L, 4, 3) Angstrom: N, CA, C, O
    cluster: int  # items of one cluster are not independent observations

    def __len__(self) -> int:
        return len(self.peptide)


def split_items(dataset: Dataset, split: str, limit: int | None = None) -> list[Item]:
    """Return the fragments, then the whole peptides of a split, ``validation`` or ``test``.

    With a `limit`, at most that number of each kind, evenly spread over the data set's order. BetafoldError where the
    data set holds predictions.
    """
    if dataset.origin != EXPERIMENTAL:
        raise BetafoldError(
            f"this data set is {dataset.origin}: its structures are predictions, to learn from and not to measure "
            "against; name one made by `dataset build`"
        )
    items = [_fragment(dataset, fragment) for fragment in dataset.fragments if fragment.split == split]
    items += [_peptide(dataset, record) for record in dataset.peptides(split)]
    if limit is None:
        return items
    kept: list[int] = []
    kinds = np.array([item.kind for item in items])
    for kind in np.unique(kinds):
        kept += evenly_spread(np.flatnonzero(kinds == kind).tolist(), limit)
    return [items[index] for index in sorted(kept)]


def evenly_spread(items: Sequence[T], count: int) -> list[T]:
    """Return at most so many of a sequence, evenly spread over its order."""
    count = min(count, len(items))
    return [items[number * len(items) // count] for number in range(count)]


def _fragment(dataset: Dataset, fragment: Fragment) -> Item:
    record = dataset.records[fragment.record]
    window = cut_window(dataset, record, fragment.start, fragment.length)
    name = f"{record.id}_{fragment.start + 1}-{fragment.start + fragment.length}"
    return Item(name, FRAGMENT, window.peptide, window.coordinates, fragment.cluster)


def _peptide(dataset: Dataset, record: Record) -> Item:
    window = whole_window(dataset, record)
    return Item(record.id, record.kind, window.peptide, window.coordinates, record.cluster)
