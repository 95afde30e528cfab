"""The report as one HTML document that holds its styles, scripts, pictures and numbers, and makes no requests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from markupsafe import Markup

from betafold_mlx.geometry.spread import ALIKE
from betafold_mlx.report.bands import BANDS, band_of
from betafold_mlx.report.maps import attention_images, colour_bar, distance_image, regions_image, scale_end
from betafold_mlx.report.pictures import trace_picture, tracks_picture
from betafold_mlx.report.render import render
from betafold_mlx.report.script_data import script_data
from betafold_mlx.report.threedmol import INSTALL, Viewer, find_viewer
from betafold_mlx.report.view import PredictionView, view

if TYPE_CHECKING:
    from betafold_mlx.fold.prediction import Prediction

_TEMPLATES = Path(__file__).with_name("templates")


def report_html(
    prediction: Prediction,
    command: str | None = None,
    viewer: Viewer | Literal["installed"] | None = "installed",
) -> str:
    """Return the report of a prediction: a whole HTML document that opens offline.

    The same arguments give the same bytes. Every text of the user is escaped, and a content security policy lets
    nothing run but the scripts that are put in here.

    A prediction that was folded with ``details=True`` has the attention maps, the predicted distances and the torsion
    densities; without these, the report says that they are not there. The first `betafold_mlx.report.view.MAX_MODELS`
    models are shown, with the command line that made them, where it is given. The 3D viewer is by default the
    installed one; without one there is a flat picture, and how to get one. OSError where the files of this package
    cannot be read.
    """
    if viewer == "installed":
        viewer = find_viewer()
    scripts = [] if viewer is None else [_harmless(viewer.script)]
    scripts.append((_TEMPLATES / "report.js").read_text(encoding="utf-8"))
    shown = view(prediction)
    details = prediction.details
    return str(
        render(
            "report/templates/report.html",
            **_shared(prediction),
            css=Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
            scripts=[Markup(script) for script in scripts],
            data=script_data(shown),
            view=shown,
            traces=[trace_picture(shown, rank) for rank in shown.ranks],
            tracks=[tracks_picture(shown, rank) for rank in shown.ranks],
            distances=[distance_image(shown, rank) for rank in shown.ranks],
            distance_end=scale_end(shown),
            attention=attention_images(shown),
            chemistry=_chemistry(prediction),
            **_tables(shown),
            regions=None if details is None else regions_image(details.torsion_density),
            colours=colour_bar(),
            alike=ALIKE,
            most_apart=shown.residues[0][int(np.argmax(prediction.spread.per_residue))].name,
            versions=prediction.to_dict()["versions"],
            command=command,
            viewer=viewer,
            install=INSTALL,
        )
    )


def notebook_html(prediction: Prediction) -> str:
    """Return the first model of a prediction as HTML for Jupyter: about 20 kB, and nothing that a notebook strips."""
    shown = view(prediction)
    return str(
        render(
            "report/templates/notebook.html",
            **_shared(prediction),
            view=shown,
            trace=trace_picture(shown, 0),
            track=tracks_picture(shown, 0),
        )
    )


def _shared(prediction: Prediction) -> dict[str, Any]:
    """Return what both templates name."""
    mean = float(prediction.plddt[0].mean())
    return {"prediction": prediction, "bands": BANDS, "mean": mean, "mean_band": band_of(mean)}


def _chemistry(prediction: Prediction) -> str:
    peptide = prediction.peptide
    said = ["closed head to tail"] if peptide.cyclic else []
    said += [f"disulfide {i}–{j}" for i, j in peptide.disulfides]
    said += [f"bond {bond}" for bond in peptide.other_bonds]
    said += ["all residues D"] if peptide.d_amino_acids else []
    said += [f"{cap} (in the files, not modelled)" for cap in (peptide.n_cap, peptide.c_cap) if cap]
    return ", ".join(said) or "a plain chain of L residues"


def _tables(shown: PredictionView) -> dict[str, Any]:
    """Return the heads and rows of the tables of residues and models."""
    prediction, spread = shown.prediction, shown.prediction.spread
    several = len(prediction.coordinates) > 1
    residue_rows = [
        [
            [
                residue.name,
                residue.structure,
                f"{residue.plddt:.1f}",
                residue.band.name,
                *("–" if angle is None else f"{angle:.0f}°" for angle in residue.angles),
                *([f"{spread.per_residue[place]:.1f}"] if several else []),
            ]
            for place, residue in enumerate(residues)
        ]
        for residues in shown.residues
    ]
    stated = bool(prediction.bonds[0])
    model_rows = [
        [
            rank + 1,
            f"{prediction.plddt[rank].mean():.1f}",
            spread.clusters[rank],
            f"{spread.rmsd_to_first[rank]:.1f}",
            prediction.secondary_structure[rank],
            *([f"{sum(bond.formed for bond in bonds)} of {len(bonds)}"] if stated else []),
        ]
        for rank, bonds in zip(shown.ranks, prediction.bonds, strict=False)
    ]
    return {
        "residue_head": ["residue", "structure", "pLDDT", "confidence", "φ", "ψ", "ω"]
        + ["spread, Å"] * several,
        "residue_rows": residue_rows,
        "model_head": ["model", "mean pLDDT", "fold", "RMSD to model 1, Å", "structure"]
        + ["bonds formed"] * stated,
        "model_rows": model_rows,
    }


def _harmless(script: str) -> str:
    """Return a script without what would end its element."""
    return re.sub(r"</(?=script)", r"<\\/", script, flags=re.IGNORECASE)
