"""Settings of the labelling of sequences."""

from __future__ import annotations

from dataclasses import dataclass

from betafold_mlx.fields import check_settings, setting

EXCHANGED = 0.3
"""Maximum share of exchanged residues of a mutant, unless the user says otherwise."""


@dataclass(frozen=True)
class Labelling:
    """How sequences are labelled."""

    min_plddt: float = setting(
        70.0, "Minimum confidence: the mean of a label, or each residue of --structures.", min=0, max=100
    )
    samples: int = setting(4, "Structures of which the one of the highest confidence is the label.", min=1)
    seed: int = setting(0, min=0)  # of these

    def __post_init__(self) -> None:
        check_settings(self, "labelling")
