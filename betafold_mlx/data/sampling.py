"""Settings of the sampling of training examples (`betafold_mlx.data.windows`)."""

from __future__ import annotations

from dataclasses import dataclass

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fields import check_settings, setting

DEFAULT_WINDOWS = 40_000
"""Fixed windows of a data set, where nobody says how many."""

MIN_WINDOWS = 43
"""One of each length that models are trained on (`betafold_mlx.peptide.sequence.TRAINED_LENGTHS`)."""

MAX_WINDOWS = 10_000_000


@dataclass(frozen=True)
class SamplerConfig:
    """How training examples are drawn."""

    tokens: int = setting(3072, "Residues of a batch, padding included.", min=1)
    # share of whole peptides; the rest are windows of chains
    peptide_share: float = setting(0.15, min=0, max=1)
    # Few chains have a disulfide, most free peptides do. It was not seen to help (`betafold_mlx.lab.recipe`).
    disulfide_share: float = setting(
        0.0,
        "Share of the windows of chains that are placed around a disulfide; not with --windows or a cache.",
        min=0,
        max=1,
    )
    # chance that the network does not get the chemistry of an example, so that it also works without
    unstated_disulfides: float = setting(0.3, min=0, max=1)
    unstated_ring: float = setting(0.1, min=0, max=1)
    # Exchanged for what evolution puts in their place (BLOSUM62), the structure being kept; the share is drawn evenly
    # from 0 up. Ends of a stated disulfide stay, and so do fixed windows, whose embeddings are of their own sequences.
    substitutions: float = setting(
        0.0,
        "Largest share of an example's residues exchanged for likely substitutes; not with --windows or a cache.",
        min=0,
        max=1,
    )
    # draw from so many fixed windows of chains (`betafold_mlx.data.plan.plan_windows`), whose embeddings can be made
    # beforehand; None cuts new ones for each batch
    windows: int | None = setting(None, min=MIN_WINDOWS, max=MAX_WINDOWS)
    windows_seed: int = setting(0, min=0)  # of the fixed windows

    def __post_init__(self) -> None:
        check_settings(self, "training: sampler")
        if self.windows is not None and (self.disulfide_share or self.substitutions):
            raise BetafoldError(
                "training: fixed windows (--windows, or a cache of embeddings) go with neither --disulfide-share nor "
                "--substitutions"
            )
