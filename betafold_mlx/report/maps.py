"""Maps of pairs of residues: distances, and the attention of each head."""

from __future__ import annotations

import base64
import math

import numpy as np

from betafold_mlx.report.image import LEVELS, levels, png_address, ramp
from betafold_mlx.report.markup import Markup, join, tag, text
from betafold_mlx.report.shown import Shown

_SIZE, _LEFT, _TOP = 360.0, 34.0, 26.0
_CA = 1


def distance_matrix(shown: Shown, rank: int) -> np.ndarray:
    """Return the CA distances (L, L) of a model, Angstrom."""
    ca = shown.coordinates[rank, :, _CA]
    return np.linalg.norm(ca[:, None] - ca, axis=-1)


def scale_end(shown: Shown) -> float:
    """Return the distance at the end of the colours, Angstrom: no distance of any model lies beyond it."""
    largest = max(float(distance_matrix(shown, rank).max()) for rank in shown.ranks)
    if shown.prediction.details is not None:
        largest = max(largest, float(np.nanmax(shown.prediction.details.distance)))
    return 5.0 * math.ceil(largest / 5.0)


def distances(shown: Shown) -> Markup:
    """Return the distance map of each model: predicted above the diagonal, as it is in the model below."""
    end = scale_end(shown)
    maps = []
    for rank in shown.ranks:
        matrix = distance_matrix(shown, rank)
        if shown.prediction.details is not None:
            predicted = np.triu(shown.prediction.details.distance)
            known = np.triu(np.isfinite(shown.prediction.details.distance))
            matrix = np.where(known, predicted, matrix)
        address = png_address(levels(1.0 - matrix / end), ramp())  # near is bright
        maps.append(
            tag(
                "div",
                pair_map(shown.prediction.sequence, address, f"Distance map of model {rank + 1}", "distance"),
                data_model=rank + 1,
                hidden=True if rank else None,
            )
        )
    key = [(0.0, f"{end:.0f} Å"), (0.5, f"{end / 2:g}"), (1.0, "0 Å")]
    return join(*maps, colour_key(key))


def attention(shown: Shown) -> Markup:
    """Return a choice among the small maps of all heads, and a large one of the chosen head."""
    assert shown.prediction.details is not None
    maps = shown.prediction.details.attention
    rows = []
    for layer, heads in enumerate(maps, start=1):
        cells = [tag("span", text(f"layer {layer}"), class_="layer")]
        for head, weights in enumerate(heads, start=1):
            cells.append(_choice(layer, head, weights))
        rows.append(tag("div", *cells, class_="heads"))
    first = _attention_image(maps[0, 0])
    key = [(share, f"{share**2:g}") for share in (0.0, 0.5, 1.0)]
    return join(
        tag("fieldset", tag("legend", text("Head")), *rows, class_="choice"),
        tag(
            "div",
            tag("p", text("Layer 1, head 1"), id="attention-name", aria_live="polite"),
            pair_map(shown.prediction.sequence, first, "Attention map of the chosen head", "attention"),
            colour_key(key),
            class_="chosen",
        ),
    )


def packed_attention(shown: Shown) -> str:
    """Return all attention maps, weights in 255ths, as base64 of bytes in the order of the array."""
    assert shown.prediction.details is not None
    weights = np.clip(np.round(shown.prediction.details.attention * 255.0), 0, 255).astype(np.uint8)
    return base64.b64encode(weights.tobytes()).decode()


def _attention_image(weights: np.ndarray) -> str:
    """Return a map as an image; the root brings out what is weak."""
    return png_address(levels(np.sqrt(weights)), ramp())


def _choice(layer: int, head: int, weights: np.ndarray) -> Markup:
    name = f"Layer {layer}, head {head}"
    return tag(
        "label",
        tag(
            "input",
            type="radio",
            name="head",
            value=f"{layer}-{head}",
            checked=(layer, head) == (1, 1),
            aria_label=name,
        ),
        tag("img", src=_attention_image(weights), alt="", width=64, height=64),
        title=name,
    )


def pair_map(sequence: str, address: str, label: str, kind: str) -> Markup:
    """Return a map of pairs that the keyboard and the mouse can read out: row i, column j, from the top left."""
    length = len(sequence)
    cell = _SIZE / length
    parts = [
        tag(
            "image",
            href=address,
            x=_LEFT,
            y=_TOP,
            width=_SIZE,
            height=_SIZE,
            class_="pixels",
            preserveAspectRatio="none",
        )
    ]
    for number in sorted({1, length, *range(5, length - 1, 5)}):
        middle = (number - 0.5) * cell
        parts.append(tag("text", text(number), x=_LEFT + middle, y=_TOP - 8, text_anchor="middle"))
        parts.append(tag("text", text(number), x=_LEFT - 6, y=_TOP + middle + 4, text_anchor="end"))
    parts.append(tag("rect", x=_LEFT, y=_TOP, width=_SIZE, height=_SIZE, class_="frame"))
    parts.append(tag("rect", x=_LEFT, y=_TOP, width=cell, height=cell, class_="cursor", hidden=True))
    picture = tag(
        "svg",
        *parts,
        viewBox=f"0 0 {_LEFT + _SIZE + 8:.0f} {_TOP + _SIZE + 8:.0f}",
        aria_hidden="true",
        class_="plot",
        data_left=_LEFT,
        data_top=_TOP,
        data_size=_SIZE,
    )
    said = text("Point at a pair, or use the arrow keys.")
    return join(
        tag(
            "div",
            picture,
            class_="map",
            data_kind=kind,
            tabindex=0,
            role="img",
            aria_label=f"{label}; arrow keys read it",
        ),
        tag("p", said, class_="readout", aria_live="polite"),
    )


def colour_key(marks: list[tuple[float, str]]) -> Markup:
    """Return the colours of a map from its dark to its bright end, with a text at some shares of the way."""
    bar = png_address(np.arange(LEVELS, dtype=np.uint8)[None], ramp())
    parts = [tag("image", href=bar, x=20, y=2, width=280, height=12, preserveAspectRatio="none")]
    for share, label in marks:
        parts.append(tag("text", text(label), x=20 + 280 * share, y=29, text_anchor="middle"))
    return tag("svg", *parts, viewBox="0 0 320 34", class_="key", role="img", aria_label="Colours of the map")
