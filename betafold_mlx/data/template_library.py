"""Template libraries from data sets: whole peptides, small chains, disulfide-rich stretches of longer chains."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from betafold_mlx.data.store import Dataset, Record
from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.sequence import residue_ids
from betafold_mlx.templates.chains import CIS, MAX_ENTRY_LENGTH, STEPS, ChainLibrary
from betafold_mlx.templates.library import TemplateLibrary

MIN_ENTRY_LENGTH = 8
MARGIN = 4
"""Residues to either side of the disulfides of a stretch."""

MIN_DISULFIDES = 2
"""Disulfides of a stretch of a chain."""

MAX_RESIDUES = 3_600_000
"""Residues of the chain library: three bytes each."""

WORD, MAX_KNOWN = 8, 0.3
"""A chain is left out where more than so many of its words of so many residues are known."""

LEFT_OUT = frozenset({"mhc_bound", "tcr_mhc"})
"""Kinds that no peptide has by itself: an MHC groove stretches its peptides by force."""


def build_template_library(dataset: Dataset, splits: Collection[str] = ("train",)) -> TemplateLibrary:
    """Build a template library of the records in these splits; BetafoldError where they hold nothing for it."""
    entries = [
        (record, start, stop)
        for record in dataset.records
        if record.split in splits and record.kind not in LEFT_OUT
        for start, stop in stretches(record)
    ]
    if not entries:
        raise BetafoldError("the data set holds no peptides, small chains or disulfide-rich stretches")
    return TemplateLibrary(
        names=tuple(_name(*entry) for entry in entries),
        clusters=np.array([record.cluster for record, _, _ in entries], dtype=np.int32),
        offsets=np.cumsum([0] + [stop - start for _, start, stop in entries]).astype(np.int32),
        residues=np.concatenate([residue_ids(r.sequence[a:b]) for r, a, b in entries]).astype(np.uint8),
        partner=np.concatenate([_partners(*entry) for entry in entries]),
        cyclic=np.array([record.cyclic and b - a == record.length for record, a, b in entries]),
        ca=np.concatenate([_ca(dataset, *entry) for entry in entries]),
        torsions=np.concatenate([_torsions(dataset, *entry) for entry in entries]),
        chains=build_chain_library(dataset, splits),
    )


def build_chain_library(dataset: Dataset, splits: Collection[str] = ("train",)) -> ChainLibrary | None:
    """Round the chains that are too long for entries; None where there are none.

    The shortest come first, up to `MAX_RESIDUES`; a chain of whose words many stand in those before is left out.
    """
    chains: list[Record] = []
    seen: set[str] = set()
    total = 0
    for record in sorted(dataset.records, key=lambda record: (record.length, record.id)):
        if record.split not in splits or record.length <= MAX_ENTRY_LENGTH or record.kind in LEFT_OUT:
            continue
        words = [record.sequence[k : k + WORD] for k in range(record.length - WORD + 1)]
        known = sum(word in seen for word in words)
        if known > MAX_KNOWN * len(words) or total + record.length > MAX_RESIDUES:
            continue
        seen.update(words)
        chains.append(record)
        total += record.length
    if not chains:
        return None
    offsets = np.cumsum([0] + [record.length for record in chains])
    rows = np.concatenate([np.arange(record.start, record.start + record.length) for record in chains])
    torsions = np.where(dataset.torsion_mask[rows], dataset.torsions[rows], np.pi)
    cis = np.abs(torsions[:, 2]) < np.pi / 2
    turns = np.round((torsions[:, :2] + np.pi) * (STEPS / (2 * np.pi))).astype(np.int64) % STEPS
    pairs = [
        (start + i - 1, start + j - 1)
        for record, start in zip(chains, offsets.tolist(), strict=False)
        for i, j in record.disulfides
    ]
    return ChainLibrary(
        names=tuple(record.id for record in chains),
        offsets=offsets.astype(np.int32),
        residues=(residue_ids("".join(record.sequence for record in chains)) + CIS * cis).astype(np.uint8),
        torsions=turns.astype(np.uint8),
        disulfides=np.array(pairs, dtype=np.int32).reshape(-1, 2),
    )


def stretches(record: Record) -> Iterator[tuple[int, int]]:
    """Yield the parts of a record that become entries, (start, stop) from 0: all of it, or what its disulfides span."""
    if record.length <= MAX_ENTRY_LENGTH:
        if record.length >= MIN_ENTRY_LENGTH:
            yield 0, record.length
        return
    widest = MAX_ENTRY_LENGTH - 2 * MARGIN
    spans: list[list[int]] = []  # first, last, number of disulfides
    for i, j in sorted(record.disulfides):
        if j - i >= widest:
            continue
        for span in spans:
            if i <= span[1] + 1 and max(span[1], j) - span[0] < widest:
                span[1], span[2] = max(span[1], j), span[2] + 1
                break
        else:
            spans.append([i, j, 1])
    for first, last, count in spans:
        if count >= MIN_DISULFIDES:
            yield max(0, first - 1 - MARGIN), min(record.length, last + MARGIN)


def _name(record: Record, start: int, stop: int) -> str:
    return record.id if stop - start == record.length else f"{record.id}:{start + 1}-{stop}"


def _partners(record: Record, start: int, stop: int) -> np.ndarray:
    partner = np.full(stop - start, -1, dtype=np.int16)
    for i, j in record.disulfides:
        if start < i and j <= stop:
            partner[i - 1 - start], partner[j - 1 - start] = j - 1 - start, i - 1 - start
    return partner


def _ca(dataset: Dataset, record: Record, start: int, stop: int) -> np.ndarray:
    ca = dataset.coordinates[record.start + start : record.start + stop, 1].astype(np.float64)
    return (ca - ca.mean(axis=0)).astype(np.float16)


def _torsions(dataset: Dataset, record: Record, start: int, stop: int) -> np.ndarray:
    rows = slice(record.start + start, record.start + stop)
    known = dataset.torsion_mask[rows].copy()
    known[0, 0] = known[-1, 1:] = False
    return np.where(known, dataset.torsions[rows], np.nan).astype(np.float16)
