"""What is scored: experimental structures with their stated chemistry, and the groups they are counted in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from betafold_mlx.data.store import EXPERIMENTAL, PEPTIDE_KINDS, Dataset, Fragment, Record
from betafold_mlx.data.windows import cut_window, whole_window
from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.sequence import Peptide

FRAGMENT = "fragment"
LENGTHS = ((10, 15), (16, 22), (23, 30))
"""Length classes, residues, both ends included."""
DISULFIDE_RICH = 2
"""Disulfides from which on a peptide counts as disulfide-rich."""


@dataclass(frozen=True)
class Item:
    """One experimental structure to be predicted.

    Attributes
    ----------
    id : str
        Record id; of a fragment ``CHAIN_FIRST-LAST`` (1-based residues of the chain).
    kind : str
        ``fragment``, or the kind of a peptide (`betafold_mlx.data.store.PEPTIDE_KINDS`).
    peptide : Peptide
        Sequence (length L) and the chemistry that a predictor is told.
    coordinates : numpy.ndarray
        (L, 4, 3) Angstrom: N, CA, C, O.
    cluster : int
        Items of one cluster are not independent observations.
    """

    id: str
    kind: str
    peptide: Peptide
    coordinates: np.ndarray
    cluster: int

    def __len__(self) -> int:
        return len(self.peptide)


def split_items(dataset: Dataset, split: str, limit: int | None = None) -> list[Item]:
    """Return the fragments, then the whole peptides of a split.

    Parameters
    ----------
    dataset : Dataset
        Data set.
    split : str
        ``validation`` or ``test``.
    limit : int, optional
        At most this many of each kind, evenly spread over the data set's order.

    Returns
    -------
    list of Item

    Raises
    ------
    BetafoldError
        Where the data set holds predictions.
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
        members = np.flatnonzero(kinds == kind)
        kept += members[
            np.arange(min(limit, len(members))) * len(members) // min(limit, len(members))
        ].tolist()
    return [items[index] for index in sorted(kept)]


def _fragment(dataset: Dataset, fragment: Fragment) -> Item:
    record = dataset.records[fragment.record]
    window = cut_window(dataset, record, fragment.start, fragment.length)
    name = f"{record.id}_{fragment.start + 1}-{fragment.start + fragment.length}"
    return Item(name, FRAGMENT, window.peptide, window.coordinates, fragment.cluster)


def _peptide(dataset: Dataset, record: Record) -> Item:
    window = whole_window(dataset, record)
    return Item(record.id, record.kind, window.peptide, window.coordinates, record.cluster)


def group_items(items: Sequence[Item], everything: bool = False) -> dict[str, np.ndarray]:
    """Return the groups that figures are given for.

    Fragments, all and by length; peptides by kind, and free and oligomer together; free peptides by class:
    cyclic, disulfide-rich (a cyclotide is both), linear without disulfide (one disulfide is in no class).

    Parameters
    ----------
    items : sequence of Item
        What is scored.
    everything : bool
        Whether to begin with a group of all items.

    Returns
    -------
    dict
        Name of the group -> indices of its items. Empty groups are left out.
    """
    kinds = np.array([item.kind for item in items], dtype=object)
    lengths = np.array([len(item) for item in items])
    cyclic = np.array([item.peptide.cyclic for item in items], dtype=bool)
    disulfides = np.array([len(item.peptide.disulfides) for item in items])
    fragment, free = kinds == FRAGMENT, kinds == "free"

    chosen = {"all": np.full(len(items), everything), "fragments": fragment}
    for low, high in LENGTHS:
        chosen[f"fragments {low}-{high}"] = fragment & (low <= lengths) & (lengths <= high)
    chosen["peptides free+oligomer"] = free | (kinds == "oligomer")
    chosen["peptides free"] = free
    chosen["peptides free, cyclic"] = free & cyclic
    chosen["peptides free, disulfide-rich"] = free & (disulfides >= DISULFIDE_RICH)
    chosen["peptides free, linear"] = free & ~cyclic & (disulfides == 0)
    for kind in PEPTIDE_KINDS[1:]:
        chosen[f"peptides {kind}"] = kinds == kind
    for kind in sorted(set(kinds) - {FRAGMENT, *PEPTIDE_KINDS}):  # references that are pieces of chains, say
        chosen[kind] = kinds == kind
    return {name: np.flatnonzero(mask) for name, mask in chosen.items() if mask.any()}
