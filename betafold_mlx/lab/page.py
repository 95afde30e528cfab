"""One HTML page an experiment, with its figures inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from betafold_mlx.lab.experiment import Outcome
from betafold_mlx.report.markup import Markup, tag, text

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
img { max-width: 100%; height: auto; } figure { margin: 2rem 0; } figcaption, .note { color: #555; font-size: 0.9rem; }
li { margin: 0.4rem 0; } code { overflow-wrap: anywhere; }
"""


def page(title: str, command: str, outcome: Outcome, pictures: Mapping[str, bytes]) -> str:
    """Return the page.

    Parameters
    ----------
    title, command : str
        Name of the experiment, and the command that makes it.
    outcome : Outcome
        What it found.
    pictures : mapping of str to bytes
        PNG of each of its pictures.
    """
    body = [
        tag("h1", text(title)),
        tag("p", tag("code", text(command))),
        tag("ul", *(tag("li", text(finding.verdict)) for finding in outcome.findings)),
        *(tag("p", text(note), class_="note") for note in outcome.notes),
        *(_figure(name, picture.caption, pictures[name]) for name, picture in outcome.pictures.items()),
        tag("p", text("Tables (CSV), and the figures as PNG and SVG, lie beside this page."), class_="note"),
    ]
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name_="viewport", content="width=device-width"),
        tag("title", text(title)),
        tag("style", Markup(_STYLE)),
    ]
    return "<!DOCTYPE html>\n" + tag("html", tag("head", *head), tag("body", *body), lang="en") + "\n"


def _figure(name: str, caption: str, png: bytes) -> Markup:
    address = "data:image/png;base64," + base64.b64encode(png).decode()
    return tag("figure", tag("img", src=address, alt=f"{name}: {caption}"), tag("figcaption", text(caption)))
