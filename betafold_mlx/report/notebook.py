"""How a prediction shows itself in a notebook: a picture and the main figures, without scripts."""

from __future__ import annotations

from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.report.bands import band_of, legend, pattern_definitions, style
from betafold_mlx.report.markup import Markup, tag, text
from betafold_mlx.report.shown import shown
from betafold_mlx.report.trace import trace_svg
from betafold_mlx.report.tracks import tracks_svg

_STYLE = """
.betafold{font:14px/1.4 system-ui,sans-serif;max-width:960px}
.betafold svg.trace{max-width:520px;width:100%;height:auto;display:block}
.betafold .scroll{overflow-x:auto}
.betafold svg text{fill:currentColor;font-size:12px}
.betafold .column text{font-weight:600;font-size:14px;text-anchor:middle}
.betafold .column .halo{font-weight:400;font-size:12px}
.betafold .column rect,.betafold .column circle{stroke:#5b6470;stroke-width:.8}
.betafold .column .flat,.betafold .column .spread{stroke:none}
.betafold .edge{stroke:#5b6470;stroke-width:.8}
.betafold .chain{stroke:#8a93a0;stroke-width:5;stroke-linecap:round}
.betafold .scale,.betafold .coil,.betafold .helix{stroke:currentColor;stroke-width:2;fill:none}
.betafold .strand,.betafold .spread{fill:#8a93a0}
.betafold .grid{stroke:#8a93a0;stroke-width:.5}
.betafold .bridge{stroke:#a67c00;stroke-width:2.5;stroke-dasharray:5 3;fill:none}
.betafold .ring{stroke:#1a7f37;stroke-width:2.5;fill:none}
.betafold .unmade{stroke:#8a93a0;stroke-width:1}
.betafold ul.legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 16px;padding:0}
.betafold .nothing{position:absolute}
"""


def notebook_html(prediction: Prediction) -> str:
    """Return the first model of a prediction as HTML for Jupyter: about 20 kB, and nothing that a notebook strips."""
    view = shown(prediction)
    mean = float(prediction.plddt[0].mean())
    count = len(prediction.coordinates)
    models = "" if count == 1 else f", the first of {count} models"
    said = f"{prediction.id}: mean pLDDT {mean:.1f} ({band_of(mean).name}){models}; {prediction.made_by}"
    letters = style(".betafold")
    return tag(
        "div",
        Markup(f"<style>{_STYLE}{letters}</style>"),
        pattern_definitions(),
        tag("p", tag("strong", text(said))),
        *(tag("p", text(f"Warning: {warning}")) for warning in prediction.warnings),
        trace_svg(view, 0),
        legend(),
        tag("div", tracks_svg(view, 0), class_="scroll"),
        class_="betafold",
    )
