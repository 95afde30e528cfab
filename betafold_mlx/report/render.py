"""Render HTML and SVG from jinja2 templates: every text is escaped, nothing is loaded from other sites."""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_PACKAGE = Path(__file__).parents[1]


def render(template: str, **context: Any) -> Markup:
    """Return a rendered template of the package, as ``lab/page.html``: HTML or SVG that stands in a document as is.

    A whole page extends ``report/templates/page.html``, which explains what such a page has to set. Text of the
    context is escaped unless it is `markupsafe.Markup`, such as another rendered template; floats are rounded to two
    digits.
    """
    return Markup(_environment().get_template(template).render(**context))


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters["csp_hash"] = csp_hash
    return environment


def csp_hash(inline: str) -> Markup:
    """Return the source of a content security policy that allows exactly this inline script or style."""
    return Markup(f"'sha256-{base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()}'")


def _printable(value: object) -> object:
    r"""Return a float without needless digits, and text with U+FFFD for each character that XML has not.

    >>> _printable(1.50), _printable(2.0), _printable(-0.001), _printable("a\x00\ud800b")
    ('1.5', '2', '0', 'a��b')
    """
    if isinstance(value, float):
        short = f"{value:.2f}".rstrip("0").rstrip(".")
        return "0" if short == "-0" else short
    if isinstance(value, str) and not isinstance(value, Markup) and not value.isprintable():
        return "".join(c if c.isprintable() or c in "\t\n" or _in_xml(c) else "\ufffd" for c in value)
    return value


def _in_xml(c: str) -> bool:
    return c >= "\xa0" and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff"
