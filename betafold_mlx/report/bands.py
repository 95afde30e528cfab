"""AlphaFold's bands of confidence: colours, and the names of patterns for readers who cannot tell these apart."""

from __future__ import annotations

from typing import NamedTuple


class Band(NamedTuple):
    """A range of pLDDT."""

    name: str  # in words
    scope: str  # the range in words
    lowest: float  # the band holds what is above
    colour: str  # of the AlphaFold Protein Structure Database
    ink: str  # colour of text on it: a contrast of 4.5 or more
    key: int  # 1 to 4, best first; in the names of patterns and classes

    @property
    def paint(self) -> str:
        """The SVG paint: a pattern that the macro ``patterns`` of ``pictures.svg`` defines."""
        return f"url(#bf-band-{self.key})"


BANDS = (
    Band("very high", "above 90", 90.0, "#0053D6", "#FFFFFF", 1),
    Band("confident", "70 to 90", 70.0, "#65CBF3", "#000000", 2),
    Band("low", "50 to 70", 50.0, "#FFDB13", "#000000", 3),
    Band("very low", "up to 50", 0.0, "#FF7D45", "#000000", 4),
)
"""Best first. (Jumper et al. 2021; the colours are those of the database's structure pages.)"""


def band_of(plddt: float) -> Band:
    """Return the band of a pLDDT, 0 to 100.

    >>> [band_of(value).name for value in (90.1, 90, 70, 50)]
    ['very high', 'confident', 'low', 'very low']
    """
    return next((band for band in BANDS[:-1] if plddt > band.lowest), BANDS[-1])
