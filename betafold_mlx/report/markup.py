"""HTML and SVG from Python: every attribute and every text is escaped where it is made."""

from __future__ import annotations

import html
from typing import NewType

Markup = NewType("Markup", str)
"""HTML or SVG that may stand in a document as it is."""


def text(value: object) -> Markup:
    """Return a value as escaped text; what is no character of XML, such as the odd byte of a file name, becomes U+FFFD.

    >>> text("<b>&")
    '&lt;b&gt;&amp;'
    """
    plain = "".join(c if c in "\t\n" or " " <= c < "\x7f" or _is_text(c) else "\ufffd" for c in str(value))
    return Markup(html.escape(plain))


def _is_text(c: str) -> bool:
    return c >= "\xa0" and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff"


def tag(name: str, /, *children: Markup, **attributes: object) -> Markup:
    """Return an element.

    Parameters
    ----------
    name : str
        Its name.
    *children : Markup
        What is in it. HTML elements that hold nothing, as ``meta``, get no end tag.
    **attributes : object
        A closing ``_`` is dropped and each other becomes ``-``. Floats are rounded to two digits; None leaves the
        attribute out, and True writes its name alone.

    Examples
    --------
    >>> tag("text", text("a"), x=1.0, text_anchor="middle", class_=None)
    '<text x="1" text-anchor="middle">a</text>'
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        label = key.rstrip("_").replace("_", "-")
        parts.append(label if value is True else f'{label}="{text(number(value))}"')
    start = f"<{' '.join(parts)}>"
    return Markup(start if name in _VOID else f"{start}{''.join(children)}</{name}>")


_VOID = ("meta", "input", "img", "br")


def number(value: object) -> str:
    """Return a float without needless digits, and anything else as text.

    >>> number(1.50), number(2.0), number(-0.001)
    ('1.5', '2', '0')
    """
    if not isinstance(value, float):
        return str(value)
    short = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if short == "-0" else short


def join(*parts: Markup) -> Markup:
    """Return several pieces as one."""
    return Markup("".join(parts))
