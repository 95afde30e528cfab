"""The report as one HTML document: styles, scripts, pictures and numbers in it, and no request to anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np

from betafold_mlx.closure import Bond
from betafold_mlx.prediction import Prediction, versions
from betafold_mlx.report import maps, tables
from betafold_mlx.report.bands import BANDS, band_of, legend, pattern_definitions, style
from betafold_mlx.report.markup import Markup, join, tag, text
from betafold_mlx.report.ramachandran import ramachandran_svg
from betafold_mlx.report.shown import Shown, residue_name, shown
from betafold_mlx.report.trace import trace_svg
from betafold_mlx.report.tracks import tracks_svg
from betafold_mlx.report.viewer import INSTALL, Viewer, find_viewer
from betafold_mlx.spread import ALIKE

_ASSETS = Path(__file__).with_name("assets")
_ABSENT = (
    "Not in this report: the peptide was folded without details "
    "(details=True in Python, --report on the command line)."
)


def report_html(
    prediction: Prediction,
    command: str | None = None,
    viewer: Viewer | Literal["installed"] | None = "installed",
) -> str:
    """Return the report of a prediction: a whole HTML document that opens offline.

    The same arguments give the same bytes. Every text of the user is escaped, and a content security policy lets
    nothing run but the scripts that are put in here.

    Parameters
    ----------
    prediction : Prediction
        Folded with ``details=True`` for the attention maps, the predicted distances and the torsion densities; without
        these, the report says that they are not there. The first `betafold_mlx.report.shown.MOST_MODELS` models
        are shown.
    command : str, optional
        The command line that made it, to be shown.
    viewer : Viewer or None
        The 3D viewer to put in; by default the installed one. Without one there is a flat picture, and how to get one.

    Returns
    -------
    str

    Raises
    ------
    OSError
        Where the files of this package cannot be read.
    """
    if viewer == "installed":
        viewer = find_viewer()
    view = shown(prediction)
    sheet = (_ASSETS / "report.css").read_text(encoding="utf-8") + style()
    scripts = [] if viewer is None else [_harmless(viewer.script)]
    scripts.append((_ASSETS / "report.js").read_text(encoding="utf-8"))
    several = len(view.ranks) > 1
    body = tag(
        "body",
        pattern_definitions(),
        _head(prediction),
        _model_choice(view) if several else Markup(""),
        tag(
            "main",
            _structure(view, viewer),
            _sequence(view),
            tag("div", _ramachandran(view), _distances(view), class_="pair"),
            _models(view),
            _attention(view),
            _reading(),
            _making(prediction, command, viewer),
        ),
        _data(view),
        *(Markup(f"<script>{script}</script>") for script in scripts),
    )
    policy = "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src {_hash(sheet)}",
            "script-src " + " ".join(map(_hash, scripts)),
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", text(f"{prediction.id}: predicted structure")),
        Markup(f"<style>{sheet}</style>"),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _hash(inline: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()}'"


def _harmless(script: str) -> str:
    """Return a script without what would end its element."""
    return re.sub(r"</(?=script)", r"<\\/", script, flags=re.IGNORECASE)


def _section(name: str, title: str, *children: Markup) -> Markup:
    return tag(
        "section",
        tag("h2", text(title), id=f"{name}-title"),
        *children,
        id=name,
        aria_labelledby=f"{name}-title",
    )


def _terms(pairs: list[tuple[str, Markup]], class_: str) -> Markup:
    rows = [tag("div", tag("dt", text(name)), tag("dd", value)) for name, value in pairs]
    return tag("dl", *rows, class_=class_)


def _caption(*sentences: str) -> Markup:
    return tag("p", text(" ".join(sentence for sentence in sentences if sentence)), class_="caption")


def _head(prediction: Prediction) -> Markup:
    mean = float(prediction.plddt[0].mean())
    figures = [
        ("mean pLDDT", text(f"{mean:.1f}, {band_of(mean).name}")),
        ("residues", text(len(prediction.sequence))),
        ("models", text(len(prediction.coordinates))),
        ("stated chemistry", text(_chemistry(prediction))),
    ]
    if prediction.bonds[0]:
        made = sum(bond.formed for bond in prediction.bonds[0])
        figures.append(("bonds formed, model 1", text(f"{made} of {len(prediction.bonds[0])}")))
    parts = [
        tag("p", text("Predicted structure · betafold-mlx"), class_="kind"),
        tag("h1", text(prediction.id)),
        tag("p", text(prediction.sequence), class_="letters")
        if prediction.id != prediction.sequence
        else Markup(""),
        _terms(figures, "figures"),
    ]
    if prediction.warnings:
        items = [tag("li", text(warning)) for warning in prediction.warnings]
        title = tag("strong", text("Warnings" if len(items) > 1 else "Warning"))
        parts.append(tag("div", title, tag("ul", *items), class_="warnings", role="note"))
    return tag("header", *parts)


def _chemistry(prediction: Prediction) -> str:
    peptide = prediction.peptide
    said = ["closed head to tail"] if peptide.cyclic else []
    said += [f"disulfide {i}–{j}" for i, j in peptide.disulfides]
    said += ["all residues D"] if peptide.d_amino_acids else []
    said += [f"{cap} (in the files, not modelled)" for cap in (peptide.n_cap, peptide.c_cap) if cap]
    return ", ".join(said) or "a plain chain of L residues"


def _model_choice(view: Shown) -> Markup:
    labels = [
        tag(
            "label",
            tag("input", type="radio", name="model", value=rank + 1, checked=rank == 0),
            tag("span", text(f"{rank + 1}: {view.prediction.plddt[rank].mean():.0f}")),
        )
        for rank in view.ranks
    ]
    legend_ = tag("legend", text("Model and its mean pLDDT"))
    return tag("fieldset", legend_, *labels, class_="choice models", id="models-choice")


def _per_model(view: Shown, make: Any) -> Markup:
    """Return what `make` makes of each model, the first of them visible."""
    return join(
        *(
            tag(
                "div",
                make(view, rank),
                data_model=rank + 1,
                hidden=True if rank else None,
                class_="per-model",
            )
            for rank in view.ranks
        )
    )


def _structure(view: Shown, viewer: Viewer | None) -> Markup:
    flat = tag("div", _per_model(view, trace_svg), id="flat")
    parts = []
    if viewer is not None:
        choices = [
            ("labels", "residue labels"),
            *([("overlay", "all models")] if len(view.ranks) > 1 else []),
        ]
        controls = [
            tag("label", tag("input", type="checkbox", id=f"show-{name}"), text(f" {label}"))
            for name, label in choices
        ]
        controls.append(tag("button", text("reset view"), type="button", id="reset-view"))
        label = "3D structure coloured by confidence. Arrow keys turn it, plus and minus zoom."
        parts.append(
            tag(
                "div",
                tag("div", id="viewer", tabindex=0, role="img", aria_label=label),
                tag("div", *controls, class_="controls"),
                tag("p", text("Drag or arrow keys: turn. Wheel, + and −: zoom."), class_="hint"),
                id="solid",
                hidden=True,
            )
        )
        parts.append(
            tag(
                "p",
                text("This browser shows no 3D (WebGL), so here is a flat picture."),
                id="no-3d",
                hidden=True,
            )
        )
    else:
        how = [
            text("Flat, because no 3D viewer is installed. For a 3D cartoon run "),
            tag("code", text(INSTALL)),
        ]
        parts.append(tag("p", *how, text(" once, and make the report again."), class_="hint"))
    drawn = (
        "Yellow dashes are disulfides, the green line closes a ring; a bond that the model does not make is "
        "thin and grey."
    )
    return _section(
        "structure",
        "Structure",
        *parts,
        flat,
        legend(),
        _caption(
            "The backbone, coloured by pLDDT.",
            drawn if view.prediction.bonds[0] else "",
            "No side chains are predicted.",
        ),
    )


def _sequence(view: Shown) -> Markup:
    prediction = view.prediction
    label = "Sequence view, scrolls sideways"
    pictures = tag(
        "div", _per_model(view, tracks_svg), class_="scroll", tabindex=0, role="region", aria_label=label
    )
    about = "Wave: helix, arrow: strand, line: coil (P-SEA, from the CA trace)."
    if prediction.peptide.d_amino_acids:
        about += " They are those of the mirror image: a wave is a left-handed helix."
    numbers = tag(
        "details", tag("summary", text("Numbers of every residue")), _per_model(view, tables.residues)
    )
    spread = (
        "Spread: how far each CA lies from its mean place over all models."
        if len(prediction.coordinates) > 1
        else ""
    )
    return _section("sequence", "Sequence and confidence", pictures, _caption(about, spread), numbers)


def _ramachandran(view: Shown) -> Markup:
    shaded = (
        "Shaded: the regions that hold 50, 80 and 95 % of the network's own distribution, mean over the residues."
        if view.prediction.details is not None
        else _ABSENT
    )
    mirrored = "* Regions of D residues. " if view.prediction.peptide.d_amino_acids else ""
    return _section(
        "ramachandran",
        "Ramachandran plot",
        ramachandran_svg(view),
        _caption("Triangle: glycine, square: proline, disc: any other residue.", mirrored, shaded),
    )


def _distances(view: Shown) -> Markup:
    above = (
        "Above the diagonal: C-alpha distances that the network expects. Below: those of the shown model, as for "
        "neighbours along the chain, which are not predicted."
        if view.prediction.details is not None
        else "C-alpha distances of the shown model. Predicted distances: " + _ABSENT[0].lower() + _ABSENT[1:]
    )
    return _section("distances", "Distances", maps.distances(view), _caption(above))


def _models(view: Shown) -> Markup:
    prediction = view.prediction
    count = len(prediction.coordinates)
    if count == 1:
        said = "One model was made. With --samples 5 there is more to compare: where models differ, trust none of them."
        return _section("models", "Models", _caption(said))
    folds = max(prediction.spread.clusters)
    apart = max(prediction.spread.rmsd_to_first)
    worst = int(np.argmax(prediction.spread.per_residue))
    summary = (
        f"{count} models in {folds} {'fold' if folds == 1 else 'folds'} (models within {ALIKE:g} Å backbone RMSD are "
        f"alike); up to {apart:.1f} Å from model 1. They differ most at {residue_name(prediction, worst)}."
    )
    left_out = count - len(view.ranks)
    more = (
        f"The best {len(view.ranks)} are shown here; the structure file has the other {left_out} too."
        if left_out
        else ""
    )
    parts = [_caption(summary, more), tables.models(view)]
    return _section("models", "Models", *parts)


def _attention(view: Shown) -> Markup:
    if view.prediction.details is None:
        return _section("attention", "Attention", _caption(_ABSENT))
    said = (
        "Row i, column j: with which weight residue i listens to residue j in this head. What a head attends to is no "
        "proof of contact."
    )
    return _section(
        "attention", "Attention", tag("div", maps.attention(view), class_="attention"), _caption(said)
    )


def _reading() -> Markup:
    said = [
        "Everything here is predicted from the sequence; nothing is measured.",
        "pLDDT estimates, from 0 to 100, how well the distances around a residue would agree with an experiment (lDDT "
        "of CA). Above 80 is worth a look in detail; below 60 is a guess.",
        "It does not know nonsense: a sequence that has no fold can get a middling value.",
        "The peptide is alone here: no receptor, no membrane, no metal.",
    ]
    return _section("reading", "How to read it", tag("ul", *(tag("li", text(sentence)) for sentence in said)))


def _making(prediction: Prediction, command: str | None, viewer: Viewer | None) -> Markup:
    software = ", ".join(f"{name} {version}" for name, version in versions().items())
    pairs = [
        ("model", text(prediction.made_by)),
        ("SHA-256", tag("code", text(prediction.model_sha256))),
        ("embedder", text(prediction.embedder["label"])),
        ("seed", text(prediction.seed)),
        ("models made", text(len(prediction.coordinates))),
        ("software", text(software)),
    ]
    if command:
        pairs.append(("command", tag("code", text(command))))
    if viewer is not None:
        pairs.append(("3D viewer", text(viewer.name)))
    parts = [_terms(pairs, "made")]
    if viewer is not None:
        summary = tag("summary", text(f"Licence of {viewer.name}, which is part of this file"))
        parts.append(tag("details", summary, tag("pre", text(viewer.licence)), class_="licence"))
    return _section("making", "How it was made", *parts)


def _data(view: Shown) -> Markup:
    """Return what the script needs, as JSON that cannot end its element."""
    prediction = view.prediction
    details = prediction.details
    document = {
        "sequence": prediction.sequence,
        "names": [residue_name(prediction, place) for place in range(len(prediction.sequence))],
        "bands": [[band.lowest, band.colour, band.name] for band in BANDS],
        "models": [_model_data(view, rank) for rank in view.ranks],
        "distance": None if details is None else _tenths(details.distance),
        "deviation": None if details is None else _tenths(details.deviation),
        "attention": None if details is None else maps.packed_attention(view),
        "heads": 0 if details is None else details.attention.shape[1],
    }
    packed = json.dumps(document, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return Markup(f'<script type="application/json" id="data">{packed}</script>')


def _tenths(matrix: np.ndarray) -> list[list[int | None]]:
    """Return Angstroms in tenths, null where there is no number."""
    return [[None if np.isnan(value) else round(float(value) * 10) for value in row] for row in matrix]


def _model_data(view: Shown, rank: int) -> dict[str, Any]:
    """Return a model: its atoms N, CA, C, O, CB of each residue in hundredths of an Angstrom, null where one is not."""
    atoms = view.coordinates[rank]
    return {
        "plddt": np.round(view.prediction.plddt[rank].astype(float), 1).tolist(),
        "structure": view.prediction.secondary_structure[rank],
        "atoms": [
            [None if np.isnan(atom).any() else np.round(atom * 100).astype(int).tolist() for atom in residue]
            for residue in atoms
        ],
        "bonds": [_bond_data(bond) for bond in view.prediction.bonds[rank]],
    }


def _bond_data(bond: Bond) -> dict[str, Any]:
    return {"kind": bond.kind, "residues": list(bond.residues), "formed": bond.formed}
