"""The sequence, and under each residue what the model says of it."""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

from betafold_mlx.geometry.closure import Bond
from betafold_mlx.report.bands import band_of, fill
from betafold_mlx.report.markup import Markup, tag, text
from betafold_mlx.report.shown import Shown, residue_name

_CELL = 26.0
_LEFT, _RIGHT = 78.0, 10.0
_LANE, _BAR, _SPREAD = 22.0, 90.0, 44.0


class _Rows(NamedTuple):
    """Where the rows under the residue numbers begin, and where the picture ends."""

    letters: float
    structure: float
    bars: float
    spread: float | None
    end: float

    @classmethod
    def below(cls, y: float, several: bool) -> _Rows:
        bars = y + 66
        foot = bars + _BAR + 12
        return cls(y, y + 36, bars, foot if several else None, foot + (_SPREAD + 8 if several else 0))


_STRUCTURES = {"H": "helix", "E": "strand", "C": "coil"}


def tracks_svg(shown: Shown, rank: int) -> Markup:
    """Return the picture of a model's sequence.

    Its rows: stated bonds, residue numbers and letters, secondary structure, pLDDT, and where there are several models
    how far they lie apart.
    """
    prediction = shown.prediction
    length = len(prediction.sequence)
    width = _LEFT + length * _CELL + _RIGHT
    parts: list[Markup] = []
    lanes = bond_lanes(prediction.bonds[rank])
    depth = max(lanes, default=-1) + 1
    y = 6.0 + depth * _LANE
    for lane, bond in zip(lanes, prediction.bonds[rank], strict=True):
        parts += _bracket(bond, y - 8 - lane * _LANE, y + 4)
    if depth:
        parts.append(_name("bonds", y - depth * _LANE / 2 + 8))
    for number in sorted({1, length, *range(5, length - 1, 5)}):
        x = _middle(number - 1)
        parts.append(tag("text", text(number), x=x, y=y + 16, text_anchor="middle", class_="small"))
    rows = _Rows.below(y + 21, several=len(prediction.coordinates) > 1)
    parts.append(_name("sequence", rows.letters + 18))
    parts += _structure(prediction.secondary_structure[rank], rows.structure)
    parts.append(_name("structure", rows.structure + 13))
    parts += _axis(length, rows.bars)
    if rows.spread is not None:
        parts.append(_name("spread", rows.spread + _SPREAD / 2))
        parts.append(_name(f"max {max(prediction.spread.per_residue):.1f} Å", rows.spread + _SPREAD / 2 + 14))
        foot = rows.spread + _SPREAD
        parts.append(tag("line", x1=_LEFT, x2=_LEFT + length * _CELL, y1=foot, y2=foot, class_="grid"))
    parts += [_column(shown, rank, place, rows) for place in range(length)]
    y = rows.end
    return tag(
        "svg",
        *parts,
        viewBox=f"0 0 {width:.0f} {y:.0f}",
        width=width,
        height=y,
        role="img",
        aria_label=f"Sequence of model {rank + 1} with structure and confidence; the table below has the numbers",
        class_="tracks",
    )


def bond_lanes(bonds: tuple[Bond, ...]) -> list[int]:
    """Return a lane for each bond, 0 nearest to the sequence, so that no two cross in a lane; short ones lie inside."""
    lanes = [0] * len(bonds)
    taken: list[list[tuple[int, int]]] = []
    order = sorted(range(len(bonds)), key=lambda n: bonds[n].residues[1] - bonds[n].residues[0])
    for n in order:
        i, j = bonds[n].residues
        free = (lane for lane, spans in enumerate(taken) if all(j < a or b < i for a, b in spans))
        # Inside means below: not in a lane under something that it holds.
        inner = max(
            (lane for lane, spans in enumerate(taken) if any(i <= a and b <= j for a, b in spans)), default=-1
        )
        lane = next((lane for lane in free if lane > inner), len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append((i, j))
        lanes[n] = lane
    return lanes


def _middle(place: int) -> float:
    return _LEFT + (place + 0.5) * _CELL


def _name(name: str, y: float) -> Markup:
    return tag("text", text(name), x=_LEFT - 8, y=y, text_anchor="end", class_="quiet")


def _bracket(bond: Bond, top: float, foot: float) -> list[Markup]:
    """Return the line of a bond, and its name in a gap of the line."""
    left, right = (_middle(place - 1) for place in bond.residues)
    kind = "ring" if bond.kind == "ring" else "bridge"
    said = "ring" if bond.kind == "ring" else "S–S"
    said = said if bond.formed else f"{said}, not formed"
    gap = 3.4 * len(said) + 3
    middle = (left + right) / 2
    if right - left < 2 * gap + 4:  # no room: the name is in the title
        line = f"M{left:.0f} {foot:.0f}V{top:.0f}H{right:.0f}V{foot:.0f}"
        name = []
    else:
        inner, outer = f"{middle - gap:.0f}", f"{middle + gap:.0f}"
        line = f"M{left:.0f} {foot:.0f}V{top:.0f}H{inner}M{outer} {top:.0f}H{right:.0f}V{foot:.0f}"
        name = [tag("text", text(said), x=middle, y=top + 4, text_anchor="middle", class_="small")]
    path = tag(
        "path", tag("title", text(bond.describe())), d=line, class_=kind if bond.formed else f"{kind} unmade"
    )
    return [path, *name]


def _column(shown: Shown, rank: int, place: int, rows: _Rows) -> Markup:
    """Return the letter of a residue and its bars: one thing to point at, with one title."""
    plddt = float(shown.prediction.plddt[rank, place])
    band = band_of(plddt)
    name = residue_name(shown.prediction, place)
    title = f"{name}: pLDDT {plddt:.0f}, {band.name}"
    size = _BAR * plddt / 100
    parts = [
        tag("rect", x=1, y=rows.letters, width=_CELL - 2, height=26, rx=3, fill=band.colour),
        tag(
            "text",
            text(shown.prediction.sequence[place]),
            x=_CELL / 2,
            y=rows.letters + 18,
            class_=f"on-{band.key}",
        ),
        tag("rect", x=3, y=rows.bars + _BAR - size, width=_CELL - 6, height=size, fill=fill(plddt)),
    ]
    if rows.spread is not None:
        values = shown.prediction.spread.per_residue
        size = _SPREAD * values[place] / max(*values, 1.0)
        title += f", spread {values[place]:.1f} Å"
        parts.append(
            tag("rect", x=3, y=rows.spread + _SPREAD - size, width=_CELL - 6, height=size, class_="spread")
        )
    return tag(
        "g",
        tag("title", text(title)),
        *parts,
        class_="column",
        transform=f"translate({_LEFT + place * _CELL:.0f})",
    )


def _structure(letters: str, y: float) -> list[Markup]:
    """Return a helix as a wave, a strand as an arrow, and a coil as a line."""
    parts = []
    start = 0
    for letter, run in groupby(letters):
        count = len(list(run))
        x0, x1 = _LEFT + start * _CELL, _LEFT + (start + count) * _CELL
        first, last = start + 1, start + count
        start += count
        title = tag("title", text(f"{_STRUCTURES[letter]}, residues {first} to {last}"))
        if letter == "H":
            half = _CELL / 2
            wave = "".join(
                f"q{half / 2:.2f} {-14 if n % 2 == 0 else 14} {half:.2f} 0" for n in range(2 * count)
            )
            parts.append(tag("path", title, d=f"M{x0:.1f} {y + 9:.1f}{wave}", class_="helix"))
        elif letter == "E":
            neck = max(x1 - 14, x0)
            head = f"V{y}L{x1 - 1:.1f} {y + 9}L{neck:.1f} {y + 18}V{y + 13}"
            shape = f"M{x0 + 1:.1f} {y + 5}H{neck:.1f}{head}H{x0 + 1:.1f}Z"
            parts.append(tag("path", title, d=shape, class_="strand"))
        else:
            parts.append(tag("line", title, x1=x0, x2=x1, y1=y + 9, y2=y + 9, class_="coil"))
    return parts


def _axis(length: int, y: float) -> list[Markup]:
    right = _LEFT + length * _CELL
    parts = [_name("pLDDT", y + _BAR * 0.78)]
    for value in (0, 50, 70, 90):
        height = y + _BAR * (1 - value / 100)
        parts.append(tag("line", x1=_LEFT, x2=right, y1=height, y2=height, class_="grid"))
        parts.append(
            tag("text", text(value), x=_LEFT - 8, y=height + 4, text_anchor="end", class_="small quiet")
        )
    return parts
