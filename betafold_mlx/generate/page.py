"""The report of a generator as one HTML page: pictures of samples, the Ramachandran plot and the tables; no scripts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from betafold_mlx.generate.fit import CA
from betafold_mlx.generate.fit_problem import Fit
from betafold_mlx.generate.tables import LEGEND, method_rows, prompt_rows
from betafold_mlx.generate.training_split import BIN, SHARE, FavouredRegion
from betafold_mlx.report.markup import Markup, tag, text
from betafold_mlx.structure.secondary import assign_secondary_structures

PICTURES = 24
"""Samples that are shown, at most."""

_STYLE = """
:root { color-scheme: light dark; --ink: #222; --soft: #666; --ground: #fff; --line: #ccc; }
@media (prefers-color-scheme: dark) { :root { --ink: #eee; --soft: #aaa; --ground: #161616; --line: #444; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: var(--ink);
  background: var(--ground); }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption, .note { color: var(--soft); font-size: 0.85rem; }
svg { width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 11px; }
.plot { max-width: 26rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.85rem; }
th, td { padding: 0.2rem 0.7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.H { stroke: #d1495b; } .E { stroke: #d9a400; } .C { stroke: #6c8ebf; }
.chain { stroke-width: 4; stroke-linecap: round; fill: none; } .end { fill: var(--ink); }
.cell { fill: #6c8ebf; opacity: 0.35; } .dot { fill: #d1495b; opacity: 0.6; }
.frame { fill: none; stroke: var(--line); }
"""
_SIZE, _MARGIN = 160.0, 14.0
_PLOT = 360.0
_MOST_DOTS = 3000


def generator_page(
    report: Mapping[str, Any], samples: Sequence[Fit], favoured: FavouredRegion, command: str
) -> str:
    """Return the page.

    Parameters
    ----------
    report : mapping
        `betafold_mlx.generate.assessment.evaluate_generator`, with ``model``.
    samples : sequence of Fit
        Generated backbones; the first `PICTURES` are shown.
    favoured : FavouredRegion
        Of the training data.
    command : str
        That made it.
    """
    name = report["model"]["name"]
    title = f"Generated backbones of {name}"
    body = [
        tag("h1", text(title)),
        tag("p", tag("code", text(command))),
        tag(
            "p",
            text(
                "Backbones that a model made up: they carry no sequence, and nothing here says that a peptide of such "
                "a shape exists."
            ),
        ),
        *(tag("p", text(note), class_="note") for note in report.get("notes", ())),
        tag("h2", text("Samples")),
        _samples(samples),
        tag("p", text("C-alpha traces; helix red, strand yellow, the dot is the N end."), class_="note"),
        tag("h2", text("Measured")),
        _table(method_rows(report)),
        tag("p", text(LEGEND), class_="note"),
    ]
    prompts = prompt_rows(report)
    if prompts:
        body += [tag("h2", text("Asked for")), _table(prompts)]
    body += [
        tag("h2", text("Ramachandran plot")),
        _ramachandran(samples, favoured),
        tag(
            "p",
            text(
                "Phi to the right and psi up, -180 to 180 degrees. Dots: residues of the samples. Blue: the region "
                f"that holds {100 * SHARE:.0f} % of the training residues."
            ),
            class_="note",
        ),
    ]
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("title", text(title)),
        Markup(f"<style>{_STYLE}</style>"),
    ]
    return f"<!doctype html>\n{tag('html', tag('head', *head), tag('body', *body), lang='en')}\n"


def _samples(samples: Sequence[Fit]) -> Markup:
    shown = samples[:PICTURES]
    if not shown:
        return tag("p", text("No sample was valid."))
    traces = [fit.coordinates[:, CA].astype(np.float64) for fit in shown]
    letters = assign_secondary_structures(traces)
    pictures = [
        tag(
            "figure",
            trace_picture(trace, structure),
            tag("figcaption", text(f"{len(trace)} residues, fit {fit.rmsd:.2f} A")),
        )
        for fit, trace, structure in zip(shown, traces, letters, strict=True)
    ]
    return tag("div", *pictures, class_="samples")


def trace_picture(trace: np.ndarray, structure: str) -> Markup:
    """Return a flat picture of a trace (L, 3), seen so that it is longest, painted by its secondary structure."""
    centred = trace - trace.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    axes *= np.sign(axes[np.arange(3), np.abs(axes).argmax(axis=1)])[:, None]  # the sign is anybody's choice
    axes[2] *= np.sign(np.linalg.det(axes))  # and a mirror image would be another shape
    seen = centred @ axes.T
    scale = (_SIZE - 2 * _MARGIN) / max(float(np.ptp(seen[:, :2], axis=0).max()), 1.0)
    middle = (seen[:, :2].max(axis=0) + seen[:, :2].min(axis=0)) / 2
    places = (seen[:, :2] - middle) * scale * [1.0, -1.0] + _SIZE / 2
    order = np.argsort(seen[:-1, 2] + seen[1:, 2], kind="stable")  # the nearest last
    lines = [
        tag(
            "line",
            x1=float(places[i, 0]),
            y1=float(places[i, 1]),
            x2=float(places[i + 1, 0]),
            y2=float(places[i + 1, 1]),
            class_=f"chain {structure[i] if structure[i] == structure[i + 1] else 'C'}",
        )
        for i in order.tolist()
    ]
    start = tag("circle", cx=float(places[0, 0]), cy=float(places[0, 1]), r=4.5, class_="end")
    label = f"C-alpha trace of {len(trace)} residues, {structure}"
    return tag("svg", *lines, start, viewBox=f"0 0 {_SIZE:.0f} {_SIZE:.0f}", role="img", aria_label=label)


def _ramachandran(samples: Sequence[Fit], favoured: FavouredRegion) -> Markup:
    """Return the plot: phi to the right, psi up, -180 to 180 degrees."""
    unit = _PLOT / 360.0
    cells = [
        tag(
            "rect",
            x=phi * BIN * unit,
            y=_PLOT - (psi + 1) * BIN * unit,
            width=BIN * unit,
            height=BIN * unit,
            class_="cell",
        )
        for phi, psi in np.argwhere(favoured.density >= favoured.level).tolist()
    ]
    angles = [np.degrees(fit.torsions[1:-1, :2].astype(np.float64)) for fit in samples]
    points = np.concatenate([np.zeros((0, 2)), *angles])[:_MOST_DOTS]
    dots = [
        tag("circle", cx=(phi + 180.0) * unit, cy=_PLOT - (psi + 180.0) * unit, r=1.6, class_="dot")
        for phi, psi in points.tolist()
    ]
    frame = tag("rect", x=0, y=0, width=_PLOT, height=_PLOT, class_="frame")
    label = f"Ramachandran plot of {len(points)} residues"
    svg = tag(
        "svg",
        *cells,
        *dots,
        frame,
        viewBox=f"-1 -1 {_PLOT + 2:.0f} {_PLOT + 2:.0f}",
        role="img",
        aria_label=label,
    )
    return tag("div", svg, class_="plot")


def _table(rows: Sequence[Sequence[str]]) -> Markup:
    head = tag("tr", *(tag("th", text(cell)) for cell in rows[0]))
    body = [tag("tr", *(tag("td", text(cell)) for cell in row)) for row in rows[1:]]
    return tag("div", tag("table", head, *body), class_="scroll", tabindex=0)
