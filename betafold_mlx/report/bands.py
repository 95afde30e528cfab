"""AlphaFold's bands of confidence: colours, and patterns for who does not see them."""

from __future__ import annotations

from typing import NamedTuple

from betafold_mlx.report.markup import Markup, tag, text


class Band(NamedTuple):
    """A range of pLDDT.

    Attributes
    ----------
    name : str
        In words.
    scope : str
        The range in words.
    lowest : float
        The band holds what is above.
    colour : str
        Of the AlphaFold Protein Structure Database.
    ink : str
        Colour of text on it: a contrast of 4.5 or more.
    key : int
        1 to 4, best first; in the names of patterns and classes.
    """

    name: str
    scope: str
    lowest: float
    colour: str
    ink: str
    key: int


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


def fill(plddt: float) -> str:
    """Return the SVG paint of a pLDDT; it needs `pattern_definitions` in the document."""
    return f"url(#bf-band-{band_of(plddt).key})"


def pattern_definitions() -> Markup:
    """Return an SVG of no size with the paint of each band: plain, striped, dotted, crossed."""
    strokes = {
        1: "",
        2: tag("path", d="M0 6 6 0M-1 1 1-1M5 7 7 5", stroke="#004a70", stroke_width=1),
        3: tag("circle", cx=3, cy=3, r=1.1, fill="#6b5900"),
        4: tag("path", d="M0 0 6 6M6 0 0 6", stroke="#7a2600", stroke_width=0.9),
    }
    patterns = [
        tag(
            "pattern",
            tag("rect", width=6, height=6, fill=band.colour),
            Markup(strokes[band.key]),
            id=f"bf-band-{band.key}",
            width=6,
            height=6,
            patternUnits="userSpaceOnUse",
        )
        for band in BANDS
    ]
    return tag("svg", tag("defs", *patterns), width=0, height=0, aria_hidden="true", class_="nothing")


def legend() -> Markup:
    """Return what each paint means, as a list."""
    items = [
        tag(
            "li",
            tag(
                "svg",
                tag("rect", x=0.5, y=0.5, width=27, height=13, fill=fill(band.lowest + 1), class_="edge"),
                width=28,
                height=14,
                aria_hidden="true",
            ),
            text(f" {band.name}: {band.scope}"),
        )
        for band in BANDS
    ]
    return tag("ul", *items, class_="legend", aria_label="Bands of pLDDT")


def style(scope: str = "") -> str:
    """Return the style of letters that stand on a band's colour, inside of `scope`, a CSS selector."""
    return "".join(f"{scope} svg text.on-{band.key}{{fill:{band.ink}}}" for band in BANDS)
