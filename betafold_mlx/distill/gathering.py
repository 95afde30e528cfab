"""What a distillation has found so far, and what it left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from betafold_mlx.data.sources import Dropped
from betafold_mlx.structure.backbone import Backbone


@dataclass
class Gathering:
    """Predicted structures that are to become a data set.

    Attributes
    ----------
    read : int
        Sequences or chains that were looked at.
    backbones : list of Backbone
        What is kept.
    plddt : list of float
        Mean confidence of each of them, 0 to 100, where they were labelled here.
    dropped : list of Dropped
        What was left out, and why.
    failed : list of str
        One message for each source or record that cannot be read.
    sources : list of dict
        ``name``, ``sha256`` and ``records`` of each file.
    scales : Counter
        Of the files of another predictor: where the confidence stood and its scale -> number of files.
    residues, unsure : int
        Residues of these files that were read, and those that were below the threshold.
    """

    read: int = 0
    backbones: list[Backbone] = field(default_factory=list)
    plddt: list[float] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    sources: list[dict[str, str | int]] = field(default_factory=list)
    scales: Counter[str] = field(default_factory=Counter)
    residues: int = 0
    unsure: int = 0

    def drop(self, name: str, reason: str, details: str) -> None:
        """Note what is left out."""
        self.dropped.append((name, reason, details))
