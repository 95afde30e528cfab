"""From predicted backbones to a data set that says what it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from betafold_mlx.data.build import flat_torsions, unique_ids
from betafold_mlx.data.sources import Reading
from betafold_mlx.data.split import chain_components
from betafold_mlx.data.store import DISTILLED, Dataset, Record
from betafold_mlx.data.summary import make_report
from betafold_mlx.distill.gathering import Gathering
from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.prediction import versions

METHOD = "predicted"
"""Where an experimental record has its method."""


def distilled_dataset(
    found: Gathering, against: str, seed: int, summary: str, provenance: Mapping[str, Any]
) -> Dataset:
    """Return the data set of what was gathered.

    All of it is training data. Records that share 8 consecutive residues are a cluster, to be sampled by.

    Parameters
    ----------
    found : Gathering
        Predicted structures, and what was left out.
    against : str
        SHA-256 of the experimental data set that it was kept apart from.
    seed : int
        What it was made with.
    summary : str
        Where the labels are from, in a line.
    provenance : mapping
        All that determines them, as JSON values.

    Raises
    ------
    BetafoldError
        Where nothing is left.
    """
    if not found.backbones:
        reasons = [f"{name}: {reason} ({details})" for name, reason, details in found.dropped]
        first = (found.failed + reasons + ["there is nothing in the source"])[0]
        more = f", and {len(reasons) + len(found.failed) - 1} more" if len(reasons + found.failed) > 1 else ""
        raise BetafoldError(f"no label is left: {first}{more}")
    backbones = found.backbones
    clusters = chain_components(
        [b.sequence for b in backbones], [b.cyclic for b in backbones], [None] * len(backbones)
    )
    starts = np.concatenate([[0], np.cumsum([len(b) for b in backbones])])
    records = [
        Record(
            id=name,
            sequence=backbone.sequence,
            kind=backbone.kind,
            cyclic=backbone.cyclic,
            disulfides=backbone.disulfides,
            disulfides_inferred=False,
            pdb=None,
            chain=backbone.chain,
            method=METHOD,
            resolution=None,
            source_cluster=None,
            cluster=int(cluster),
            split="train",
            start=int(start),
            length=len(backbone),
        )
        for name, backbone, cluster, start in zip(
            unique_ids(backbones), backbones, clusters, starts, strict=False
        )
    ]
    coordinates = np.concatenate([b.coordinates for b in backbones]).astype(np.float32)
    torsions, mask = flat_torsions(coordinates, records)
    sources = [{"name": str(s["name"]), "sha256": str(s["sha256"])} for s in found.sources]
    dataset = Dataset(records, coordinates, torsions, mask, [], sources, origin=DISTILLED)
    reading = Reading(sources=found.sources, failed=found.failed)
    dataset.report.update(make_report(dataset, reading, found.dropped, {}, {}, seed))
    dataset.report["distillation"] = {
        "summary": summary,
        "against": against,
        **provenance,
        "versions": versions(),
    }
    return dataset
