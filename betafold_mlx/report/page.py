"""The report as one HTML document: styles, scripts, pictures and numbers in it, and no request to anywhere."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Literal

from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.report import sections
from betafold_mlx.report.bands import pattern_definitions, style
from betafold_mlx.report.embedded import script_data
from betafold_mlx.report.markup import Markup, tag, text
from betafold_mlx.report.shown import shown
from betafold_mlx.report.viewer import Viewer, find_viewer

_ASSETS = Path(__file__).with_name("assets")


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
        sections.header(prediction),
        sections.model_choice(view) if several else Markup(""),
        tag(
            "main",
            sections.structure(view, viewer),
            sections.sequence(view),
            tag("div", sections.ramachandran(view), sections.distances(view), class_="pair"),
            sections.models(view),
            sections.attention(view),
            sections.reading(),
            sections.making(prediction, command, viewer),
        ),
        script_data(view),
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
