"""Draw the picture of the README: three folds of the bundled model as tubes, coloured by confidence.

    .venv/bin/python scripts/_draw_folds.py docs/folds.svg

What is drawn is what `betafold-mlx fold` predicts for the peptides and chemistry below, with its defaults. The picture
stands on a light card of its own, so that it reads the same on a light page and on a dark one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, tostring

import numpy as np

from betafold_mlx import Predictor
from betafold_mlx.files import write_text
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.report.bands import BANDS, band_of
from betafold_mlx.report.view import view

Chemistry = dict[str, Any]

FOLDS: list[tuple[str, str, Chemistry]] = [
    ("linear", "GIGKFLHSAKKFGKAFVGEIMNS", {}),
    ("head-to-tail ring, disulfide 3-11", "GRCTKSIPPICFPD", {"cyclic": True, "disulfides": [(3, 11)]}),
    ("all D, capped", "KLAKLAKKLAKLAK", {"d_amino_acids": True, "n_cap": "ACE", "c_cap": "NH2"}),
]
PANEL, HEIGHT, MARGIN = 300.0, 300.0, 14.0
ROOM = (250.0, 160.0)  # of a fold in its panel, pixels
STEPS = 8  # pieces of the tube between two residues
FONT = "ui-sans-serif, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"
CARD, INK, FAINT, BRIDGE = "#FBFBF8", "#1F2328", "#59636E", "#B58900"


def element(name: str, *children: Element, text: Any = None, **attributes: object) -> Element:
    """Return an SVG element; an underscore in the name of an attribute stands for a hyphen."""
    made = Element(name, {key.replace("_", "-"): str(value) for key, value in attributes.items()})
    made.text = text
    made.extend(children)
    return made


def spline(points: np.ndarray, closed: bool) -> np.ndarray:
    """Return a curve through points (L, 3): Catmull-Rom, `STEPS` pieces between two of them."""
    before, behind = (points[-1:], points[:2]) if closed else (points[:1], points[-1:])
    p = np.concatenate([before, points, behind])
    t = np.linspace(0, 1, STEPS, endpoint=False)[:, None]
    curves = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False)
    ]
    return np.concatenate([*curves, points[:1] if closed else points[-1:]])


def blend(colour: str, other: str, share: float) -> str:
    """Return a colour with a share of another."""
    pairs = zip(bytes.fromhex(colour[1:]), bytes.fromhex(other[1:]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02X}" for a, b in pairs)


def draw(prediction: Prediction) -> list[Element]:
    """Return the first model as pieces of a tube, far ones first, around the origin; x right, y up, z to the eye."""
    ca = view(prediction).coordinates[0, :, 1]
    bonds = [bond for bond in prediction.bonds[0] if bond.formed]
    closed = any(bond.kind == "ring" for bond in bonds)
    curve = spline(ca, closed)
    low, high = curve.min(0), curve.max(0)
    scale = min(ROOM[0] / (high - low)[0], ROOM[1] / max((high - low)[1], 1.0), 15.0)
    place = (curve - (low + high) / 2) * scale
    depth = (place[:, 2] - place[:, 2].min()) / max(np.ptp(place[:, 2]), 1e-6)  # 1 is near
    drawn: list[tuple[float, Element]] = []

    def line(a: np.ndarray, b: np.ndarray, colour: str, width: float, **more: object) -> Element:
        ends = {"x1": a[0], "y1": -a[1], "x2": b[0], "y2": -b[1]}
        rounded = {key: round(float(value), 1) for key, value in ends.items()}
        return element("line", **rounded, stroke=colour, stroke_width=round(float(width), 1), **more)

    for k in range(len(curve) - 1):
        residue = min((k + STEPS // 2) // STEPS, len(ca)) % len(ca)
        colour = band_of(float(prediction.plddt[0, residue])).colour
        near = (depth[k] + depth[k + 1]) / 2
        width = 7.0 + 5.0 * near
        # The dark edge of a piece lies under the bodies of its neighbours, so that joints do not show.
        a, b = place[k], place[k + 1]
        edge = line(a, b, blend("#24303C", CARD, 0.5 * (1 - near)), width + 2.5)
        shine = np.array([0.0, width / 5, 0.0])
        drawn.append((place[k, 2] - width, edge))
        drawn.append((place[k, 2], line(a, b, blend(colour, CARD, 0.25 * (1 - near)), width)))
        drawn.append(
            (place[k, 2] + 2.0, line(a + shine, b + shine, blend(colour, "#FFFFFF", 0.35), width / 5))
        )
    for bond in bonds:
        if bond.kind == "disulfide":
            a, b = (place[(residue - 1) * STEPS] for residue in bond.residues)
            bridge = line(a, b, BRIDGE, 4, stroke_dasharray="7 4", stroke_linecap="butt")
            drawn.append((float((a[2] + b[2]) / 2), bridge))
    ends = [] if closed else [(0, "N"), (len(curve) - 1, "C")]
    for k, letter in ends:
        x, y = round(float(place[k, 0]), 1), round(float(-place[k, 1]), 1)
        circle = element("circle", cx=x, cy=y, r=9, fill=CARD, stroke=INK, stroke_width=1.2)
        name = element("text", text=letter, x=x, y=y + 4.0, text_anchor="middle", font_size=12, fill=INK)
        drawn.append((1e6, element("g", circle, name)))
    drawn.sort(key=lambda item: item[0])
    return [piece for _, piece in drawn]


def panel(number: int, title: str, prediction: Prediction) -> Element:
    """Return one fold with what it is."""
    middle = MARGIN + PANEL * (number + 0.5)
    said: dict[str, Any] = {"x": middle, "text_anchor": "middle"}
    mean = float(prediction.plddt[0].mean())
    return element(
        "g",
        element("text", text=title, **said, y=34, font_size=15, font_weight=600, fill=INK),
        element("g", *draw(prediction), transform=f"translate({middle:.0f} 136)", stroke_linecap="round"),
        element(
            "text",
            text=prediction.sequence,
            **said,
            y=246,
            font_size=13,
            font_family="ui-monospace, monospace",
            fill=INK,
        ),
        element("text", text=f"mean pLDDT {mean:.0f}", **said, y=264, font_size=12, fill=FAINT),
    )


def legend(width: float) -> list[Element]:
    """Return the bands of confidence in a row."""
    parts = [element("text", text="pLDDT", x=width / 2 - 262, y=291, font_size=12, fill=FAINT)]
    for number, band in enumerate(BANDS):
        x = width / 2 - 212 + 120 * number
        parts.append(element("rect", x=x, y=281, width=14, height=11, rx=2, fill=band.colour))
        parts.append(element("text", text=band.scope, x=x + 20, y=291, font_size=12, fill=FAINT))
    return parts


def picture(predictor: Predictor) -> str:
    """Return the whole picture as SVG."""
    made = [predictor.fold(sequence, **chemistry) for _, sequence, chemistry in FOLDS]
    width = 2 * MARGIN + PANEL * len(FOLDS)
    label = "Three predicted peptides as tubes, coloured by confidence: " + "; ".join(
        f"{prediction.sequence}, {title}" for (title, _, _), prediction in zip(FOLDS, made, strict=True)
    )
    panels = [panel(k, title, p) for k, ((title, _, _), p) in enumerate(zip(FOLDS, made, strict=True))]
    svg = element(
        "svg",
        element("title", text=label),
        element("rect", x=0.5, y=0.5, width=width - 1, height=HEIGHT + 3, rx=10, fill=CARD, stroke="#D1D9E0"),
        *panels,
        *legend(width),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:.0f} {HEIGHT + 4:.0f}",
        width=width,
        height=HEIGHT + 4,
        font_family=FONT,
        role="img",
    )
    return tostring(svg, encoding="unicode", short_empty_elements=False) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Write the picture."""
    write_text(Path(arguments[0]), picture(Predictor.load("betafold-mini")))


if __name__ == "__main__":
    main(sys.argv[1:])
