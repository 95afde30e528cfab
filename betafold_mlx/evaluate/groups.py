"""Groups and classes of items: by kind, chemistry, native secondary structure and length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from betafold_mlx.data.store import PEPTIDE_KINDS
from betafold_mlx.evaluate.items import FRAGMENT, Item
from betafold_mlx.evaluate.structure_scores import CA, Scores
from betafold_mlx.structure.secondary import assign_secondary_structure

LENGTHS = ((10, 15), (16, 22), (23, 30), (31, 50))
"""Length classes, residues, both ends included."""
DISULFIDE_RICH = 2
"""Disulfides from which on a peptide counts as disulfide-rich."""
HELICAL = 0.5
"""Share of residues in state H from which on an item counts as helical."""
PAIRED_DISTANCE, MIN_PAIRED = 6.0, 3
"""Two strands are paired where at least so many CA of each lie within this distance of a CA of the other, Angstrom.
Across an antiparallel pair CA atoms lie 4.5 and 5.5 Angstrom apart in turn. In the project's evaluation splits most
items with two strands have four or more such residues on each, or none."""


def is_helical(states: str) -> bool:
    """Return whether at least half of the residues are in state H."""
    return bool(states) and states.count("H") >= HELICAL * len(states)


def strand_edges(states: str) -> np.ndarray:
    """Return where strands begin and end in turn: (2 strands,) 0-based, an end is one past the last residue."""
    inside = np.array([False, *(state == "E" for state in states), False])
    return np.flatnonzero(inside[1:] != inside[:-1])


def is_hairpin(ca: np.ndarray, states: str) -> bool:
    """Return whether (L, 3) CA atoms with these states are two strands, paired antiparallel, and loops."""
    edges = strand_edges(states)
    if len(edges) != 4 or "H" in states:
        return False
    first, second = (ca[start:end].astype(np.float64) for start, end in (edges[:2], edges[2:]))
    near = np.linalg.norm(first[:, None] - second[None], axis=-1) < PAIRED_DISTANCE
    paired = min(near.any(axis=1).sum(), near.any(axis=0).sum())
    return bool(paired >= MIN_PAIRED and (first[-1] - first[0]) @ (second[-1] - second[0]) < 0)


def _columns(items: Sequence[Item]) -> dict[str, np.ndarray]:
    """Return the kind, length, ring and number of disulfides of n items, each (n,)."""
    return {
        "kind": np.array([item.kind for item in items], dtype=str),
        "length": np.array([len(item) for item in items], dtype=int),
        "cyclic": np.array([item.peptide.cyclic for item in items], dtype=bool),
        "disulfides": np.array([len(item.peptide.disulfides) for item in items], dtype=int),
    }


def group_items(items: Sequence[Item], everything: bool = False) -> dict[str, np.ndarray]:
    """Return the groups that figures are given for: name -> indices of its items; empty groups are left out.

    Fragments, all and by length; peptides by kind, and free and oligomer together; free peptides by class:
    cyclic, disulfide-rich (a cyclotide is both), linear without disulfide (one disulfide is in no class). With
    `everything`, all items first.
    """
    kind, length, cyclic, disulfides = _columns(items).values()
    fragment, free = kind == FRAGMENT, kind == PEPTIDE_KINDS[0]
    chosen = {"all": np.full(len(items), everything), "fragments": fragment}
    for low, high in LENGTHS:
        chosen[f"fragments {low}-{high}"] = fragment & (low <= length) & (length <= high)
    chosen["peptides free+oligomer"] = free | (kind == "oligomer")
    chosen["peptides free"] = free
    chosen["peptides free, cyclic"] = free & cyclic
    chosen["peptides free, disulfide-rich"] = free & (disulfides >= DISULFIDE_RICH)
    chosen["peptides free, linear"] = free & ~cyclic & (disulfides == 0)
    for name in PEPTIDE_KINDS[1:]:
        chosen[f"peptides {name}"] = kind == name
    for name in sorted(
        set(kind.tolist()) - {FRAGMENT, *PEPTIDE_KINDS}
    ):  # references that are pieces of chains
        chosen[name] = kind == name
    return {name: np.flatnonzero(mask) for name, mask in chosen.items() if mask.any()}


def class_items(items: Sequence[Item]) -> dict[str, np.ndarray]:
    """Return the classes of fragments, of free peptides, and of peptides of any kind: name -> indices of its items.

    ``linear`` has no ring and no disulfide, ``cyclic`` is closed head to tail, ``one bridge`` and ``disulfide-rich``
    (two or more) count the stated disulfides, also those of rings; ``helical`` and ``hairpin`` go by P-SEA on the
    native CA atoms. An item is in every class that fits; empty classes are left out.
    """
    kind, length, cyclic, disulfides = _columns(items).values()
    traces = [item.coordinates[:, CA] for item in items]
    states = [assign_secondary_structure(ca) for ca in traces]
    hairpins = [is_hairpin(ca, one) for ca, one in zip(traces, states, strict=True)]
    classes = {
        "linear": ~cyclic & (disulfides == 0),
        "cyclic": cyclic,
        "one bridge": disulfides == 1,
        "disulfide-rich": disulfides >= DISULFIDE_RICH,
        "helical": np.array([is_helical(one) for one in states], dtype=bool),
        "hairpin": np.array(hairpins, dtype=bool),
        **{f"{low}-{high} residues": (low <= length) & (length <= high) for low, high in LENGTHS},
    }
    sets = {
        "fragments": kind == FRAGMENT,
        "peptides free": kind == PEPTIDE_KINDS[0],
        "peptides": np.isin(kind, PEPTIDE_KINDS),
    }
    chosen = {f"{of}, {name}": mask & inside for of, inside in sets.items() for name, mask in classes.items()}
    return {name: np.flatnonzero(mask) for name, mask in chosen.items() if mask.any()}


def class_figures(
    items: Sequence[Item], scores: Mapping[str, Scores], clustered: bool = True
) -> list[dict[str, Any]]:
    """Return the median backbone RMSD of every method on every class.

    Each class has ``name``, ``n``, ``clusters`` (of its items; None where they mean nothing) and ``rmsd_median``:
    method -> Angstrom, NaN where no structure has N, CA and C.
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
