"""Templates: every text is escaped, and a page allows what is in it alone."""

import base64
import hashlib
import re

from hypothesis import given
from hypothesis import strategies as st
from report_helpers import parsed

from betafold_mlx.report import render as rendering

PAGE = """{% extends "report/templates/page.html" %}
{% set style %}p > a { color: red }{% endset %}
{% set title = name %}
{% block body %}<p title="{{ name }}">{{ name }}</p><i>{{ size }}</i>{% endblock %}"""


def page(**context):
    return rendering._environment().from_string(PAGE).render(size=1.0, **context)


@given(st.text() | st.just("</title><script>alert(1)</script>\"'&amp;\x00\ud800"))
def test_text_survives_as_text(value):
    tree = parsed(page(name=value).replace("\r", "\ufffd"))
    said = tree.one("p")
    kept = re.sub("[^\t\n -~\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", value)
    assert said.text == said.attributes["title"] == kept
    assert tree.one("title").text == kept
    assert not tree.all("script")


def test_the_policy_allows_the_style_and_scripts_of_the_page_alone():
    script = "if (1 < 2 && 'a') document.title = 'x'"
    tree = parsed(page(name="n", scripts=[rendering.Markup(script)]))
    (policy,) = (
        meta.attributes["content"] for meta in tree.all("meta", http_equiv="Content-Security-Policy")
    )
    hashes = {
        name: f"{name}-src 'sha256-{base64.b64encode(hashlib.sha256(tree.one(name).text.encode()).digest()).decode()}'"
        for name in ("style", "script")
    }
    assert policy == (
        f"default-src 'none'; img-src data:; {hashes['style']}; {hashes['script']}; base-uri 'none'; form-action 'none'"
    )
    assert tree.one("script").text == script
    assert tree.one("i").text == "1"
    assert "script-src" not in page(name="n")
