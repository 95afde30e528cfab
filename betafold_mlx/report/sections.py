"""The sections of the report, from its header to how it was made."""

from __future__ import annotations

from typing import Any

import numpy as np

from betafold_mlx.fold.prediction import Prediction, versions
from betafold_mlx.geometry.spread import ALIKE
from betafold_mlx.report import maps, tables
from betafold_mlx.report.bands import band_of, legend
from betafold_mlx.report.markup import Markup, join, tag, text
from betafold_mlx.report.ramachandran import ramachandran_svg
from betafold_mlx.report.shown import Shown, residue_name
from betafold_mlx.report.trace import trace_svg
from betafold_mlx.report.tracks import tracks_svg
from betafold_mlx.report.viewer import INSTALL, Viewer

_ABSENT = (
    "Not in this report: the peptide was folded without details "
    "(details=True in Python, --report on the command line)."
)


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


def header(prediction: Prediction) -> Markup:
    """Return what was folded, and what to be warned of."""
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


def model_choice(view: Shown) -> Markup:
    """Return the buttons that switch the model."""
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


def structure(view: Shown, viewer: Viewer | None) -> Markup:
    """Return the 3D viewer with its controls, and the flat picture."""
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


def sequence(view: Shown) -> Markup:
    """Return the sequence with its secondary structure and confidence, and the numbers of every residue."""
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


def ramachandran(view: Shown) -> Markup:
    """Return the Ramachandran plot."""
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


def distances(view: Shown) -> Markup:
    """Return the map of predicted and realised distances."""
    above = (
        "Above the diagonal: C-alpha distances that the network expects. Below: those of the shown model, as for "
        "neighbours along the chain, which are not predicted."
        if view.prediction.details is not None
        else "C-alpha distances of the shown model. Predicted distances: " + _ABSENT[0].lower() + _ABSENT[1:]
    )
    return _section("distances", "Distances", maps.distances(view), _caption(above))


def models(view: Shown) -> Markup:
    """Return how the models of the ensemble differ."""
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


def attention(view: Shown) -> Markup:
    """Return the attention maps."""
    if view.prediction.details is None:
        return _section("attention", "Attention", _caption(_ABSENT))
    said = (
        "Row i, column j: with which weight residue i listens to residue j in this head. What a head attends to is no "
        "proof of contact."
    )
    return _section(
        "attention", "Attention", tag("div", maps.attention(view), class_="attention"), _caption(said)
    )


def reading() -> Markup:
    """Return what a reader must know."""
    said = [
        "Everything here is predicted from the sequence; nothing is measured.",
        "pLDDT estimates, from 0 to 100, how well the distances around a residue would agree with an experiment (lDDT "
        "of CA). Above 80 is worth a look in detail; below 60 is a guess.",
        "It does not know nonsense: a sequence that has no fold can get a middling value.",
        "The peptide is alone here: no receptor, no membrane, no metal.",
    ]
    return _section("reading", "How to read it", tag("ul", *(tag("li", text(sentence)) for sentence in said)))


def making(prediction: Prediction, command: str | None, viewer: Viewer | None) -> Markup:
    """Return how the prediction was made."""
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
