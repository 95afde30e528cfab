"""Collect predicted structures for a data set, and the reasons for what is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from betafold_mlx.data.build import flat_torsions, unique_ids
from betafold_mlx.data.identity import canonical
from betafold_mlx.data.sources import Dropped, Reading
from betafold_mlx.data.split import chain_components
from betafold_mlx.data.store import DISTILLED, Dataset, Record
from betafold_mlx.data.summary import make_report
from betafold_mlx.distill.leakage import LeakageCheck
from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.prediction import versions
from betafold_mlx.structure.backbone import Backbone

METHOD = "predicted"
"""Where an experimental record has its method."""


@dataclass
class Collection:
    """What a distillation has found so far."""

    check: LeakageCheck  # says what must not come in
    read: int = 0  # sequences or chains that were looked at
    backbones: list[Backbone] = field(default_factory=list)  # what is kept
    # mean confidence of each of them, 0 to 100, where they were labelled here
    plddt: list[float] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)  # what was left out, and why
    # one message for each source or record that cannot be read
    failed: list[str] = field(default_factory=list)
    # ``name``, ``sha256`` and ``records`` of each file
    sources: list[dict[str, str | int]] = field(default_factory=list)
    _seen: dict[tuple[str, bool], str] = field(default_factory=dict)

    def drop(self, name: str, reason: str, details: str) -> None:
        """Note what is left out."""
        self.dropped.append((name, reason, details))

    def sift(self, names: Sequence[str], sequences: Sequence[str], cyclic: Sequence[bool]) -> list[int]:
        """Return the places of the sequences that may be kept, and note why the others may not.

        Left out are duplicates, what has an experimental structure, and what is like evaluation data.
        """
        new = []
        for place, (name, sequence, ring) in enumerate(zip(names, sequences, cyclic, strict=True)):
            key = canonical(sequence, ring), ring
            if key in self._seen:
                self.drop(name, "duplicates", f"of {self._seen[key]}")
                continue
            self._seen[key] = name
            if self.check.is_known(sequence, ring):
                self.drop(name, "with an experimental structure", "in the train split")
            else:
                new.append(place)
        leaks = self.check.leaks([sequences[place] for place in new], [cyclic[place] for place in new])
        for place, leak in zip(new, leaks, strict=True):
            if leak is not None:
                self.drop(names[place], "like evaluation data", leak)
        return [place for place, leak in zip(new, leaks, strict=True) if leak is None]

    def dataset(self, seed: int, summary: str, provenance: Mapping[str, Any]) -> Dataset:
        """Return the data set of what is kept: training data, records that share 8 residues in a row one cluster.

        `summary` says in a line where the labels are from, `provenance` is all that determines them, as JSON values.
        BetafoldError where nothing is left.
        """
        backbones = self.backbones
        if not backbones:
            reasons = [f"{name}: {reason} ({details})" for name, reason, details in self.dropped]
            every = [*self.failed, *reasons] or ["there is nothing in the source"]
            more = f", and {len(every) - 1} more" if len(every) > 1 else ""
            raise BetafoldError(f"no label is left: {every[0]}{more}")
        clusters = chain_components(
            [b.sequence for b in backbones], [b.cyclic for b in backbones], [None] * len(backbones)
        )
        starts = np.concatenate([[0], np.cumsum([len(b) for b in backbones])[:-1]])
        records = [
            Record.of(
                backbone,
                id=name,
                disulfides_inferred=False,
                pdb=None,
                method=METHOD,
                resolution=None,
                source_cluster=None,
                cluster=int(cluster),
                split="train",
                start=int(start),
            )
            for name, backbone, cluster, start in zip(
                unique_ids(backbones), backbones, clusters, starts, strict=True
            )
        ]
        coordinates = np.concatenate([b.coordinates for b in backbones]).astype(np.float32)
        torsions, mask = flat_torsions(coordinates, records)
        sources = [{"name": str(s["name"]), "sha256": str(s["sha256"])} for s in self.sources]
        dataset = Dataset(records, coordinates, torsions, mask, [], sources, origin=DISTILLED)
        reading = Reading(sources=self.sources, failed=self.failed)
        dataset.report.update(make_report(dataset, reading, self.dropped, {}, {}, seed))
        against = self.check.sha256
        dataset.report["distillation"] = {
            "summary": f"{summary}; kept apart from the evaluation of data set {against:.12}",
            "against": against,
            **provenance,
            "versions": versions(),
        }
        return dataset
