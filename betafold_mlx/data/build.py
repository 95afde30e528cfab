"""Structures -> data set: read, drop duplicates, cluster, split, cut the evaluation windows, verify."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np

from betafold_mlx.data.fragments import as_target, as_windows, cut_fragments
from betafold_mlx.data.identity import alike_matrix, canonical
from betafold_mlx.data.known_splits import KnownSplits
from betafold_mlx.data.scan import find_matches
from betafold_mlx.data.sources import Dropped, Reading, add_chi, read_sources
from betafold_mlx.data.split import (
    KIND_CLASSES,
    chain_components,
    connected_components,
    split_chains,
    split_peptides,
)
from betafold_mlx.data.store import MAX_PEPTIDE, MIN_PEPTIDE, SPLITS, Dataset, Record, is_peptide
from betafold_mlx.data.summary import make_report
from betafold_mlx.data.verify import verify_split
from betafold_mlx.errors import BetafoldError
from betafold_mlx.geometry import backbone_torsions
from betafold_mlx.structure.backbone import Backbone

Progress = Callable[[str], None]


def build_dataset(
    paths: Sequence[Path],
    seed: int = 0,
    progress: Progress = lambda message: None,
    known: KnownSplits | None = None,
    chi: Path | None = None,
    apart_from: Sequence[Path] = (),
) -> tuple[Dataset, list[str]]:
    """Build a data set from structure files, folders of them, and backbone JSON lines.

    The same sources and seed give the same data set. With `known` the splits of another data set are kept; `chi` is a
    file of side-chain angles (`betafold_mlx.data.sources.add_chi`); what resembles the peptides in the files or
    folders `apart_from` is left out.

    Return the data set, verified (`betafold_mlx.data.verify.verify_split`), whose ``report`` says what was dropped
    and why, and a message for each source that cannot be read. BetafoldError where no source holds a usable chain, or
    none of an entry whose split is known, or a file of `apart_from` cannot be read.
    """
    reading = read_sources(paths, progress)
    if chi is not None:
        add_chi(reading, chi)
    kept, dropped = _usable(reading)
    if not kept:
        reasons = reading.failed + [f"{name}: {details}" for name, _, details in dropped]
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        raise BetafoldError(f"no usable chain in the sources: {[*reasons, 'they hold no chain'][0]}{more}")
    backbones = [reading.backbones[n] for n in kept]
    if apart_from:
        alike = _like_peptides(backbones, _peptides_of(apart_from))
        dropped += [(backbones[n].id, "like what is left out", other) for n, other in sorted(alike.items())]
        kept = [n for place, n in enumerate(kept) if place not in alike]
        if not kept:
            raise BetafoldError("nothing is left: all chains of the sources are like what is left out")
        backbones = [reading.backbones[n] for n in kept]
    records = _clustered(backbones, [reading.inferred[n] for n in kept], seed, progress, known)
    leaking = _leaking_chains(records)
    dropped += [
        (records[n].id, "chains with an evaluation peptide", f"{peptide.id} ({peptide.split})")
        for n, peptide in sorted(leaking.items())
    ]
    kept = [n for n in range(len(records)) if n not in leaking]

    records = _with_rows([records[n] for n in kept])
    coordinates = np.concatenate([backbones[n].coordinates for n in kept]).astype(np.float32)
    torsions, mask = flat_torsions(coordinates, records)
    fragments, not_cut = cut_fragments(records, np.random.default_rng([seed, 2]))
    progress(f"cut {len(fragments)} evaluation windows from {sum(not r.is_peptide for r in records)} chains")
    sources = [{"name": str(s["name"]), "sha256": str(s["sha256"])} for s in reading.sources]
    angles = flat_chi([backbones[n] for n in kept])
    dataset = Dataset(records, coordinates, torsions, mask, fragments, sources, chi=angles)
    identity = verify_split(dataset)
    progress("verified the splits")
    dataset.report.update(make_report(dataset, reading, dropped, not_cut, identity, seed))
    if angles is not None:
        dataset.report["side_chains"] = int(np.isfinite(angles[:, 0]).sum())
    if known is not None:
        dataset.report["splits_of"] = known.dataset
    return dataset, reading.failed


def _usable(reading: Reading) -> tuple[list[int], list[Dropped]]:
    """Return the indices to keep, in source order, and what was dropped with its reason."""
    dropped: list[Dropped] = list(reading.dropped)
    best: dict[tuple[str, str, bool], int] = {}
    for n, backbone in enumerate(reading.backbones):
        if len(backbone) < MIN_PEPTIDE:
            dropped.append((backbone.id, "too short", f"{len(backbone)} of {MIN_PEPTIDE} residues"))
            continue
        kind, size = backbone.kind, len(backbone)
        role = KIND_CLASSES.get(kind, kind) if is_peptide(kind, size) else "chain"
        key = (canonical(backbone.sequence, backbone.cyclic), role, backbone.cyclic)
        known = best.setdefault(key, n)
        if known != n:
            better, worse = sorted((known, n), key=lambda m: (*_quality(reading.backbones[m]), m))
            best[key] = better
            dropped.append((reading.backbones[worse].id, "duplicates", f"of {reading.backbones[better].id}"))
    return sorted(best.values()), dropped


def _peptides_of(paths: Sequence[Path]) -> list[Backbone]:
    """Read the peptides that a data set is to be kept apart from."""
    reading = read_sources(paths)
    if reading.failed:
        raise BetafoldError(reading.failed[0])
    for backbone in reading.backbones:
        if len(backbone) > MAX_PEPTIDE:
            raise BetafoldError(
                f"{backbone.id} has {len(backbone)} residues: what is left out must be peptides of up to {MAX_PEPTIDE}"
            )
    return reading.backbones


def _like_peptides(backbones: Sequence[Backbone], peptides: Sequence[Backbone]) -> dict[int, str]:
    """Return the backbones that resemble a peptide, or hold one, by the rules of the splits; and the peptide's id."""
    short = [n for n, backbone in enumerate(backbones) if is_peptide(backbone.kind, len(backbone))]
    both = [*peptides, *(backbones[n] for n in short)]
    alike = alike_matrix([each.sequence for each in both], [each.cyclic for each in both])
    pairs = np.argwhere(alike[: len(peptides), len(peptides) :])
    found = {short[place]: peptides[peptide].id for peptide, place in pairs}
    windows, owners = as_windows(peptides)
    for window, place in find_matches(windows, [as_target(backbone) for backbone in backbones]):
        found.setdefault(int(place), peptides[owners[window]].id)
    return found


def _quality(backbone: Backbone) -> tuple[bool, float]:
    """Sort key, best first: crystal structures by resolution, then everything else."""
    crystal = "X-RAY" in (backbone.method or "").upper() and backbone.resolution is not None
    return not crystal, backbone.resolution if crystal and backbone.resolution is not None else 0.0


def _clustered(
    backbones: Sequence[Backbone],
    inferred: Sequence[bool],
    seed: int,
    progress: Progress,
    known: KnownSplits | None,
) -> list[Record]:
    """Cluster and split: records in the order of the backbones, rows not yet assigned."""
    peptide = np.array([is_peptide(backbone.kind, len(backbone)) for backbone in backbones])
    clusters = np.zeros(len(backbones), dtype=np.int64)
    splits = np.full(len(backbones), SPLITS[0], dtype=object)

    short = [backbone for backbone, is_short in zip(backbones, peptide, strict=True) if is_short]
    alike = alike_matrix([b.sequence for b in short], [b.cyclic for b in short])
    clusters[peptide] = connected_components(len(short), np.argwhere(np.triu(alike, k=1)))
    kinds = [b.kind for b in short]
    splits[peptide] = split_peptides(clusters[peptide], kinds, np.random.default_rng([seed, 0]))
    progress(f"{len(short)} peptides in {len(set(clusters[peptide]))} clusters")

    long = [backbone for backbone, is_short in zip(backbones, peptide, strict=True) if not is_short]
    components = chain_components(
        [b.sequence for b in long], [b.cyclic for b in long], [b.cluster for b in long]
    )
    splits[~peptide] = split_chains(components, np.random.default_rng([seed, 1]))
    clusters[~peptide] = components + (clusters.max(initial=-1) + 1 if len(short) else 0)
    if known is not None:
        splits[:] = known.assign(clusters, [(b.pdb, is_peptide(b.kind, len(b))) for b in backbones])
    progress(f"{len(long)} chains in {len(set(components))} clusters")
    return [
        Record.of(b, id=name, disulfides_inferred=guessed, cluster=int(cluster), split=str(split), start=0)
        for b, name, guessed, cluster, split in zip(
            backbones, unique_ids(backbones), inferred, clusters, splits, strict=True
        )
    ]


def unique_ids(backbones: Sequence[Backbone]) -> list[str]:
    """Return the ids; the second of two equal ones gets a number."""
    taken: set[str] = set()
    names = []
    for backbone in backbones:
        name, number = backbone.id, 1
        while name in taken:
            number += 1
            name = f"{backbone.id}_{number}"
        taken.add(name)
        names.append(name)
    return names


def _leaking_chains(records: Sequence[Record]) -> dict[int, Record]:
    """Return the chains that hold a peptide of a later split (train < validation < test), and the peptide."""
    peptides = [record for record in records if record.is_peptide and record.split != "train"]
    chains = [n for n, record in enumerate(records) if not record.is_peptide and record.split != "test"]
    windows, owners = as_windows(peptides)
    leaking: dict[int, Record] = {}
    for window, position in find_matches(windows, [as_target(records[n]) for n in chains]):
        peptide, chain = peptides[owners[window]], chains[position]
        if SPLITS.index(peptide.split) > SPLITS.index(records[chain].split):
            leaking.setdefault(chain, peptide)
    return leaking


def _with_rows(records: Sequence[Record]) -> list[Record]:
    """Assign the rows of the arrays, and number the clusters 0, 1, ... anew."""
    numbers: dict[int, int] = {}
    placed, start = [], 0
    for record in records:
        cluster = numbers.setdefault(record.cluster, len(numbers))
        placed.append(replace(record, cluster=cluster, start=start))
        start += record.length
    return placed


def flat_chi(backbones: Sequence[Backbone]) -> np.ndarray | None:
    """Return (R, 4) side-chain angles in radians, NaN where unknown; None where nothing is known of any."""
    if all(backbone.chi is None for backbone in backbones):
        return None
    unknown = np.float32(np.nan)
    return np.concatenate([np.full((len(b), 4), unknown) if b.chi is None else b.chi for b in backbones])


def flat_torsions(coordinates: np.ndarray, records: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
    """Return (R, 3) torsions in radians, 0 where undefined, and their (R, 3) mask.

    All records are one long chain here; what reaches past the end of a record is masked.
    """
    angles, defined = backbone_torsions(mx.array(coordinates[None]))
    torsions, mask = np.array(angles[0]), np.array(defined[0])
    first = np.array([record.start for record in records])
    last = np.array([record.start + record.length - 1 for record in records])
    mask[first, 0] = False
    mask[last, 1:] = False
    mask &= np.isfinite(torsions)
    return np.where(mask, torsions, np.float32(0)), mask
