"""A flat picture of a model: its CA trace along the two directions in which it is longest."""

from __future__ import annotations

import numpy as np

from betafold_mlx.report.bands import band_of, fill
from betafold_mlx.report.markup import Markup, tag, text
from betafold_mlx.report.shown import Shown, residue_name

_CA, _CB = 1, 4
_WIDTH, _HEIGHT, _MARGIN = 480.0, 320.0, 30.0


def trace_svg(shown: Shown, rank: int) -> Markup:
    """Return the picture of a model: residues as discs with their letter, painted by confidence, near ones last."""
    prediction = shown.prediction
    ca = shown.coordinates[rank, :, _CA]
    places, scale = _places(shown, ca)
    depth = ca[:, 2]
    drawn: list[tuple[float, Markup]] = []
    for i in range(len(ca) - 1):
        drawn.append((min(depth[i], depth[i + 1]) - 0.1, _line(places[i], places[i + 1], "chain")))
    for bond in prediction.bonds[rank]:
        i, j = (place - 1 for place in bond.residues)
        name = "ring" if bond.kind == "ring" else "bridge"
        made = name if bond.formed else f"{name} unmade"
        drawn.append((min(depth[i], depth[j]) - 0.1, _line(places[i], places[j], made, bond.describe())))
    for i, (x, y) in enumerate(places.tolist()):
        drawn.append((depth[i], _disc(shown, rank, i, x, y)))
    drawn.sort(key=lambda item: item[0])  # painter's order: x and y of the picture, z towards the eye
    parts = [part for _, part in drawn]
    for i, (x, y) in enumerate(places.tolist()):
        if i in (0, len(ca) - 1) or (i + 1) % 5 == 0:
            parts.append(tag("text", text(i + 1), x=x + 11, y=y - 9, class_="halo"))
    bar = 10.0 * scale
    parts.append(_line(np.array([14.0, _HEIGHT - 12]), np.array([14.0 + bar, _HEIGHT - 12]), "scale"))
    parts.append(tag("text", text("10 Å"), x=14 + bar / 2, y=_HEIGHT - 18, text_anchor="middle"))
    label = f"CA trace of model {rank + 1}, flat, coloured by confidence"
    return tag(
        "svg",
        *parts,
        viewBox=f"0 0 {_WIDTH:.0f} {_HEIGHT:.0f}",
        role="img",
        aria_label=label,
        class_="trace",
    )


def _places(shown: Shown, ca: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the places (L, 2) in the picture, and pixels an Angstrom; the same scale for all models."""
    every = shown.coordinates[:, :, _CA, :2]
    low, high = every.min(axis=(0, 1)), every.max(axis=(0, 1))
    room = np.array([_WIDTH, _HEIGHT]) - 2 * _MARGIN
    scale = float(min((room / np.maximum(high - low, 1.0)).min(), 30.0))
    flat = (ca[:, :2] - (low + high) / 2) * scale * [1.0, -1.0]  # up in space is up in the picture
    return flat + np.array([_WIDTH / 2, _HEIGHT / 2]), scale


def _line(start: np.ndarray, end: np.ndarray, class_: str, title: str = "") -> Markup:
    (x1, y1), (x2, y2) = start.tolist(), end.tolist()
    said = [tag("title", text(title))] if title else []
    return tag("line", *said, x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def _disc(shown: Shown, rank: int, place: int, x: float, y: float) -> Markup:
    prediction = shown.prediction
    plddt = float(prediction.plddt[rank, place])
    name = residue_name(prediction, place)
    band = band_of(plddt)
    parts = [
        tag("title", text(f"{name}: pLDDT {plddt:.0f}, {band.name}")),
        tag("circle", r=11, fill=fill(plddt)),
        tag("circle", r=7.5, fill=band.colour, class_="flat"),
        tag("text", text(prediction.sequence[place]), y=4.2, class_=f"on-{band.key}"),
    ]
    return tag("g", *parts, class_="column", transform=f"translate({x:.1f} {y:.1f})")
