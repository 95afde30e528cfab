"""Items by what they look like: chemistry, native secondary structure, length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from betafold_mlx.data.store import PEPTIDE_KINDS
from betafold_mlx.evaluate.items import DISULFIDE_RICH, FRAGMENT, LENGTHS, Item
from betafold_mlx.evaluate.scoring import CA, Scores
from betafold_mlx.structure.secondary import assign_secondary_structure

HELICAL = 0.5
"""Share of residues in state H from which on an item counts as helical."""
PAIRED_DISTANCE, FEWEST_PAIRED = 6.0, 3
"""Two strands are paired where at least so many CA of each lie within this distance of a CA of the other, Angstrom.
Across an antiparallel pair CA atoms lie 4.5 and 5.5 Angstrom apart in turn. In the project's evaluation splits most
items with two strands have four or more such residues on each, or none."""


def is_helical(states: str) -> bool:
    """Return whether at least half of the residues are in state H."""
    return bool(states) and states.count("H") >= HELICAL * len(states)


def is_hairpin(ca: np.ndarray, states: str) -> bool:
    """Return whether a structure is a hairpin: two strands, nothing else but loops, paired antiparallel.

    Parameters
    ----------
    ca : numpy.ndarray
        (L, 3) Angstrom.
    states : str
        Its states H, E and C.
    """
    inside = np.array([False, *(state == "E" for state in states), False])
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    if len(edges) != 4 or "H" in states:
        return False
    first, second = (ca[start:end].astype(np.float64) for start, end in (edges[:2], edges[2:]))
    near = np.linalg.norm(first[:, None] - second[None], axis=-1) < PAIRED_DISTANCE
    paired = min(near.any(axis=1).sum(), near.any(axis=0).sum())
    return bool(paired >= FEWEST_PAIRED and (first[-1] - first[0]) @ (second[-1] - second[0]) < 0)


def class_items(items: Sequence[Item]) -> dict[str, np.ndarray]:
    """Return the classes of fragments, of free peptides, and of peptides of any kind.

    ``linear`` has no ring and no disulfide, ``cyclic`` is closed head to tail, ``one bridge`` and ``disulfide-rich``
    (two or more) count the stated disulfides, also those of rings; ``helical`` and ``hairpin`` go by P-SEA on the
    native CA atoms. An item is in every class that fits.

    Parameters
    ----------
    items : sequence of Item
        What is scored.

    Returns
    -------
    dict
        Name -> indices of its items, in the order of the tables. Empty classes are left out.
    """
    kinds = np.array([item.kind for item in items], dtype=object)
    lengths = np.array([len(item) for item in items], dtype=int)
    cyclic = np.array([item.peptide.cyclic for item in items], dtype=bool)
    bridges = np.array([len(item.peptide.disulfides) for item in items], dtype=int)
    states = [assign_secondary_structure(item.coordinates[:, CA]) for item in items]
    helical = np.array([is_helical(one) for one in states], dtype=bool)
    hairpin = np.array(
        [is_hairpin(item.coordinates[:, CA], one) for item, one in zip(items, states, strict=True)],
        dtype=bool,
    )
    classes = {
        "linear": ~cyclic & (bridges == 0),
        "cyclic": cyclic,
        "one bridge": bridges == 1,
        "disulfide-rich": bridges >= DISULFIDE_RICH,
        "helical": helical,
        "hairpin": hairpin,
        **{f"{low}-{high} residues": (low <= lengths) & (lengths <= high) for low, high in LENGTHS},
    }
    sets = {
        "fragments": kinds == FRAGMENT,
        "peptides free": kinds == PEPTIDE_KINDS[0],
        "peptides": np.isin(kinds.astype(str), PEPTIDE_KINDS),
    }
    chosen = {
        f"{of}, {name}": members & inside for of, inside in sets.items() for name, members in classes.items()
    }
    return {name: np.flatnonzero(mask) for name, mask in chosen.items() if mask.any()}


def class_figures(
    items: Sequence[Item], scores: Mapping[str, Scores], clustered: bool = True
) -> list[dict[str, Any]]:
    """Return the median backbone RMSD of every method on every class.

    Parameters
    ----------
    items : sequence of Item
        What was scored.
    scores : mapping
        Name of the method -> its scores on these items.
    clustered : bool
        Whether the items' clusters mean something.

    Returns
    -------
    list of dict
        ``name``, ``n``, ``clusters`` (of its items; None where they mean nothing) and ``rmsd_median``: method ->
        Angstrom, NaN where no structure has N, CA and C.
    """
    table = []
    for name, members in class_items(items).items():
        medians = {}
        for method, all_scores in scores.items():
            known = all_scores.rmsd[members][np.isfinite(all_scores.rmsd[members])]
            medians[method] = float(np.median(known)) if len(known) else float("nan")
        clusters = len({items[index].cluster for index in members}) if clustered else None
        table.append({"name": name, "n": len(members), "clusters": clusters, "rmsd_median": medians})
    return table
