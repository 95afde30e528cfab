"""What the pictures show, as tables."""

from __future__ import annotations

import math

import numpy as np

from betafold_mlx.report.bands import band_of
from betafold_mlx.report.markup import Markup, tag, text
from betafold_mlx.report.shown import Shown, residue_name


def residues(shown: Shown, rank: int) -> Markup:
    """Return the table of a model's residues."""
    prediction = shown.prediction
    angles = np.degrees(prediction.torsions[rank].astype(float)).tolist()
    several = len(prediction.coordinates) > 1
    head = ["residue", "structure", "pLDDT", "confidence", "φ", "ψ", "ω", *(["spread, Å"] if several else [])]
    rows = []
    for place, plddt in enumerate(prediction.plddt[rank].tolist()):
        torsions = ["–" if math.isnan(value) else f"{value:.0f}°" for value in angles[place]]
        spread = [f"{prediction.spread.per_residue[place]:.1f}"] if several else []
        rows.append(
            [
                residue_name(prediction, place),
                prediction.secondary_structure[rank][place],
                f"{plddt:.1f}",
                band_of(plddt).name,
                *torsions,
                *spread,
            ]
        )
    return table(f"Residues of model {rank + 1}", head, rows)


def models(shown: Shown) -> Markup:
    """Return the table of the models that are shown."""
    prediction = shown.prediction
    head = ["model", "mean pLDDT", "fold", "RMSD to model 1, Å", "structure"]
    stated = bool(prediction.bonds[0])
    rows = []
    for rank in shown.ranks:
        made = [bond.formed for bond in prediction.bonds[rank]]
        rows.append(
            [
                str(rank + 1),
                f"{prediction.plddt[rank].mean():.1f}",
                str(prediction.spread.clusters[rank]),
                f"{prediction.spread.rmsd_to_first[rank]:.1f}",
                prediction.secondary_structure[rank],
                *([f"{sum(made)} of {len(made)}"] if stated else []),
            ]
        )
    return table("Models, best first", [*head, *(["bonds formed"] if stated else [])], rows)


def table(caption: str, head: list[str], rows: list[list[str]]) -> Markup:
    """Return a table in a box that scrolls sideways where it is too wide."""
    header = tag("tr", *(tag("th", text(cell), scope="col") for cell in head))
    body = [
        tag("tr", tag("th", text(row[0]), scope="row"), *(tag("td", text(cell)) for cell in row[1:]))
        for row in rows
    ]
    return tag(
        "div",
        tag("table", tag("caption", text(caption)), tag("thead", header), tag("tbody", *body)),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption,
    )
