"""The Ramachandran plot: the torsions of the models over the network's own distribution."""

from __future__ import annotations

import math

import numpy as np

from betafold_mlx.report.bands import band_of, fill
from betafold_mlx.report.image import png_address
from betafold_mlx.report.markup import Markup, tag, text
from betafold_mlx.report.shown import Shown, residue_name

MASSES = (0.95, 0.8, 0.5)
"""Shares of the network's distribution that the shaded regions hold, the outermost first."""

_SIZE, _LEFT, _TOP, _FOOT = 360.0, 54.0, 8.0, 46.0
_SHADE = (110, 125, 150)
_ALPHAS = (0, 50, 105, 165)
_REGIONS = {"α": (-63.0, -42.0), "β": (-120.0, 130.0), "PII": (-65.0, 145.0), "αL": (57.0, 47.0)}
"""Where the usual conformations of L residues lie, degrees; of D residues at the negated angles."""


def ramachandran_svg(shown: Shown) -> Markup:
    """Return the plot; the torsions of each model are a group of their own."""
    details = shown.prediction.details
    parts = [tag("rect", x=_LEFT, y=_TOP, width=_SIZE, height=_SIZE, class_="paper")]
    if details is not None:
        regions = regions_of(details.torsion_density)
        palette = np.array([(*_SHADE, alpha) for alpha in _ALPHAS], dtype=np.uint8)
        address = png_address(regions.T[::-1], palette)  # phi to the right, psi upwards
        parts.append(
            tag("image", href=address, x=_LEFT, y=_TOP, width=_SIZE, height=_SIZE, preserveAspectRatio="none")
        )
    for angle in (-180, -90, 0, 90, 180):
        parts += _ticks(angle)
    mirror = -1 if shown.prediction.peptide.d_amino_acids else 1
    for name, (phi, psi) in _REGIONS.items():
        x, y = _place(mirror * phi, mirror * psi)
        label = name if mirror == 1 else f"{name}*"
        parts.append(tag("text", text(label), x=x, y=y + 5, text_anchor="middle", class_="region halo"))
    for rank in shown.ranks:
        parts.append(tag("g", *_points(shown, rank), data_model=rank + 1, hidden=True if rank else None))
    parts.append(
        tag(
            "text",
            text("φ, degrees"),
            x=_LEFT + _SIZE / 2,
            y=_TOP + _SIZE + 38,
            text_anchor="middle",
            class_="quiet",
        )
    )
    parts.append(
        tag(
            "text",
            text("ψ, degrees"),
            text_anchor="middle",
            transform=f"translate(14 {_TOP + _SIZE / 2:.0f}) rotate(-90)",
            class_="quiet",
        )
    )
    return tag(
        "svg",
        *parts,
        viewBox=f"0 0 {_LEFT + _SIZE + 12:.0f} {_TOP + _SIZE + _FOOT:.0f}",
        role="img",
        aria_label="Ramachandran plot of the shown model; the table of residues has the numbers",
        class_="plot",
    )


def regions_of(density: np.ndarray) -> np.ndarray:
    """Return in how many of the regions of `MASSES` each cell lies: (cells, cells), 0 to 3.

    A region is the smallest set of cells that holds its share of the whole.
    """
    flat = np.sort(density.astype(np.float64).ravel())[::-1]
    held = np.cumsum(flat) / flat.sum()
    thresholds = [flat[min(int(np.searchsorted(held, mass)), len(flat) - 1)] for mass in MASSES]
    return np.sum([density >= threshold for threshold in thresholds], axis=0).astype(np.uint8)


def _place(phi: float, psi: float) -> tuple[float, float]:
    return _LEFT + (phi + 180) / 360 * _SIZE, _TOP + (180 - psi) / 360 * _SIZE


def _ticks(angle: int) -> list[Markup]:
    x, y = _place(angle, angle)
    foot = _TOP + _SIZE
    return [
        tag("line", x1=x, x2=x, y1=_TOP, y2=foot, class_="grid"),
        tag("line", x1=_LEFT, x2=_LEFT + _SIZE, y1=y, y2=y, class_="grid"),
        tag("text", text(angle), x=x, y=foot + 17, text_anchor="middle"),
        tag("text", text(angle), x=_LEFT - 6, y=y + 4, text_anchor="end"),
    ]


def _points(shown: Shown, rank: int) -> list[Markup]:
    """Return a mark for each residue that has both torsions: a triangle for glycine, a square for proline."""
    prediction = shown.prediction
    parts = []
    degrees = np.degrees(prediction.torsions[rank, :, :2].astype(float)).tolist()
    for place, (phi, psi) in enumerate(degrees):
        if math.isnan(phi) or math.isnan(psi):
            continue
        x, y = _place(phi, psi)
        plddt = float(prediction.plddt[rank, place])
        confidence = f"pLDDT {plddt:.0f}, {band_of(plddt).name}"
        title = f"{residue_name(prediction, place)}: φ {phi:.0f}°, ψ {psi:.0f}°, {confidence}"
        letter = prediction.sequence[place]
        if letter == "G":
            shape = {"d": f"M{x:.1f} {y - 7:.1f}l6.5 11.5h-13Z"}
        elif letter == "P":
            shape = {"d": f"M{x - 5:.1f} {y - 5:.1f}h10v10h-10Z"}
        else:
            shape = {"d": f"M{x - 5.5:.1f} {y:.1f}a5.5 5.5 0 1 0 11 0a5.5 5.5 0 1 0-11 0Z"}
        parts.append(tag("path", tag("title", text(title)), fill=fill(plddt), class_="edge point", **shape))
    return parts
