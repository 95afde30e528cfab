"""Stereochemistry of all-atom models, as structure validation counts it: bonds, angles, overlaps, rotamers and hands.

The counts are in the manner of MolProbity (C. J. Williams et al., Protein Sci. 27, 293 (2018)), which wants hydrogens;
these models have none, so overlaps are those of heavy atoms, and not comparable with its clashscore.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.fold.sterics import CLASH, RADII
from betafold_mlx.geometry import build_backbone
from betafold_mlx.geometry.disulfides import CB_SG_SG, SG_SG
from betafold_mlx.geometry.side_chains import build_side_chains, side_chains
from betafold_mlx.model.rotamers import CHI_COUNT, CORRECT, FOLD, Rotamers
from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import ALPHABET, D_THREE_LETTER, THREE_LETTER, residue_ids
from betafold_mlx.structure.components import WrittenChain
from betafold_mlx.structure.secondary import trace_dihedrals
from betafold_mlx.structure.writer import written_prediction

SIGMA_BOND, SIGMA_ANGLE, OUTLIER = 0.02, np.radians(2.0), 4.0
"""Angstrom, radians: typical standard deviations of R. A. Engh and R. Huber, Acta Cryst. A47, 392 (1991), which go from
0.01 to 0.035 A and 0.5 to 3.5 degrees; and how many of them an outlier is off."""

SHARED_HYDROGEN = 0.8
"""Angstrom of overlap that is no clash where one of N, O and S can give the other a hydrogen."""

RARE_ROTAMER = 0.005
"""Rotamers that are rarer in the library do not count; what is further than `CORRECT` from all others is an outlier."""

Counts = Counter[str]
"""`bonds`, `bond outliers`, `angles`, `angle outliers`, `atoms`, `overlaps`, `side chains`, `rotamer outliers`,
`centres`, `wrong hands`, each a number."""

_STANDARD = frozenset(THREE_LETTER.values()) | frozenset(D_THREE_LETTER.values())


class _Model(NamedTuple):
    """The heavy atoms of a model, caps too: author's number and name of each, (n, 3) Angstrom, and bonded pairs."""

    atoms: list[tuple[int, str]]
    elements: list[str]
    gives: np.ndarray  # (n,) bool, whether it has a hydrogen
    xyz: np.ndarray
    bonds: list[tuple[int, int]]


def measure(prediction: Prediction, model: int = 0, rotamers: Rotamers | None = None) -> Counts:
    """Count what is unusual in a model, from 0, of a prediction with side chains; `Counts` add up over models.

    Side chains are compared with the library `rotamers`, where one is given.
    """
    part = _heavy(written_prediction(prediction), model)
    counts = _geometry(prediction, part) + _hands(prediction, part)
    counts.update({"atoms": len(part.atoms), "overlaps": len(overlaps(part))})
    if rotamers is not None:
        counts += _rotamer_outliers(prediction, part, rotamers)
    return counts


def _heavy(written: WrittenChain, model: int) -> _Model:
    rows = [(m, name) for m, names in zip(written.chain, written.names, strict=True) for name in names]
    kept = [place for place, (monomer, name) in enumerate(rows) if monomer.element(name) != "H"]
    new = {place: number for number, place in enumerate(kept)}
    partners = written.partners()
    bonds = {(new[i], new[j]) for i in kept for j in partners[i] if j in new and i < j}
    gives = [
        name == "N" if monomer.cap else name in RESIDUES[monomer.name].hydrogens for monomer, name in rows
    ]
    return _Model(
        [(rows[place][0].number, rows[place][1]) for place in kept],
        [rows[place][0].element(rows[place][1]) for place in kept],
        np.array(gives)[kept],
        written.coordinates[model, kept],
        sorted(bonds),
    )


def _geometry(prediction: Prediction, model: _Model) -> Counts:
    """Count bonds and angles, and those that are off the ideal ones."""
    ideal = _ideal(prediction.peptide.residues, prediction.peptide.cyclic)
    length = len(prediction.peptide)
    neighbours: list[list[int]] = [[] for _ in model.atoms]
    for i, j in model.bonds:
        neighbours[i].append(j)
        neighbours[j].append(i)
    counts: Counts = Counter()

    def wanted(places: Sequence[int]) -> list[np.ndarray] | None:
        """Return the same atoms of the ideal chain; None where it has not all of them."""
        named = [model.atoms[place] for place in places]
        numbers = {number for number, _ in named}
        around = prediction.peptide.cyclic and {1, length} <= numbers and length > 2
        named = [(length + 1 if around and number == 1 else number, name) for number, name in named]
        close = max(number for number, _ in named) - min(number for number, _ in named) <= 1
        return [ideal[atom] for atom in named] if close and all(atom in ideal for atom in named) else None

    def names(places: Sequence[int]) -> list[str]:
        return [model.atoms[place][1] for place in places]

    for pair in model.bonds:
        found = float(np.linalg.norm(np.subtract(*model.xyz[list(pair)])))
        if names(pair) == ["SG", "SG"]:
            expected = SG_SG
        elif (points := wanted(pair)) is not None:
            expected = float(np.linalg.norm(points[0] - points[1]))
        else:
            continue
        counts["bonds"] += 1
        counts["bond outliers"] += int(abs(found - expected) > OUTLIER * SIGMA_BOND)
    for middle, around in enumerate(neighbours):
        for k, i in enumerate(around):
            for j in around[:k]:
                triple = (i, middle, j)
                if names(triple)[1] == "SG" and "SG" in names((i, j)):
                    bend = float(CB_SG_SG)
                elif (points := wanted(triple)) is not None:
                    bend = _angle(*points)
                else:
                    continue
                counts["angles"] += 1
                off = abs(_angle(*model.xyz[list(triple)]) - bend)
                counts["angle outliers"] += int(off > OUTLIER * SIGMA_ANGLE)
    return counts


def _ideal(residues: Sequence[str], cyclic: bool) -> dict[tuple[int, str], np.ndarray]:
    """Return the atoms of a chain with ideal lengths and angles, by number and name.

    Its phi is that of proline, whose ring leaves it little choice. Of a ring it goes on with the first residue, so that
    the bond that closes it is there too.
    """
    codes = [*residues, residues[0]] if cyclic else list(residues)
    length = len(codes)
    ids = residue_ids("".join(RESIDUES[code].parent for code in codes))
    hands = np.array([[RESIDUES[code].hand == "D" for code in codes]])
    torsions = np.where(hands[..., None], -1.0, 1.0) * np.radians([-65.0, 140.0, 180.0])
    torsions = torsions.astype(np.float32)
    backbone = build_backbone(mx.array(torsions), mx.array(ids)[None], d_residues=mx.array(hands))
    chains = side_chains([codes], [True], length)
    chi, phi = mx.full((1, length, 5), np.pi), mx.array(torsions[..., 0])
    atoms = np.array(build_side_chains(backbone, chi, chains, phi))[0].astype(np.float64)
    return {
        (place, name): atoms[place - 1, slot]
        for place, names in enumerate(chains.names[0], start=1)
        for slot, name in enumerate(names)
        if name
    }


def overlaps(model: _Model) -> list[tuple[int, int]]:
    """Return pairs of atoms more than three bonds apart whose van der Waals spheres overlap by `CLASH` or more.

    By `SHARED_HYDROGEN` and more where one can give the other a hydrogen.
    """
    count = len(model.atoms)
    near = np.eye(count, dtype=np.float32)
    for i, j in model.bonds:
        near[i, j] = near[j, i] = 1.0
    radius = np.array([RADII.get(element, RADII["S"]) for element in model.elements])
    polar = np.isin(model.elements, ["N", "O", "S"])
    shared = polar[:, None] & polar & (model.gives[:, None] | model.gives)
    allowed = np.where(shared, SHARED_HYDROGEN, CLASH)
    distance = np.linalg.norm(model.xyz[:, None] - model.xyz, axis=-1)
    found = (radius[:, None] + radius - distance >= allowed) & (near @ near @ near == 0)
    return [(int(i), int(j)) for i, j in np.argwhere(np.triu(found, 1))]


def _hands(prediction: Prediction, model: _Model) -> Counts:
    """Count CA atoms with a hand, and those with the wrong one."""
    place = {atom: number for number, atom in enumerate(model.atoms)}
    counts: Counts = Counter()
    for number, code in enumerate(prediction.peptide.residues, start=1):
        kind = RESIDUES[code]
        if kind.hand:
            ca, n, c, cb = (model.xyz[place[number, name]] for name in ("CA", "N", "C", kind.cb))
            volume = float(np.dot(np.cross(n - ca, c - ca), cb - ca))  # 2.6 A^3 in L residues
            counts["centres"] += 1
            counts["wrong hands"] += int((volume if kind.hand == "L" else -volume) < 0)
    return counts


def _rotamer_outliers(prediction: Prediction, model: _Model, rotamers: Rotamers) -> Counts:
    """Count side chains of standard residues, and those far from every rotamer."""
    centre, weight = np.array(rotamers.centre), np.array(rotamers.weight)
    place = {atom: number for number, atom in enumerate(model.atoms)}
    counts: Counts = Counter()
    for number, code in enumerate(prediction.peptide.residues, start=1):
        kind = RESIDUES[code]
        letter = ALPHABET.index(kind.parent)
        if code not in _STANDARD or not kind.chi or len(kind.chi) != CHI_COUNT[letter]:
            continue
        atoms = [[place[number, name] for name in names] for names in kind.chi]
        chi = np.array([float(trace_dihedrals(model.xyz[of_angle])[0]) for of_angle in atoms])
        chi = -chi if kind.hand == "D" else chi
        period = 2 * np.pi / FOLD[letter, : len(chi)]
        known = centre[letter, weight[letter] >= RARE_ROTAMER, : len(chi)]
        off = np.abs((chi - known + period / 2) % period - period / 2)
        counts["side chains"] += 1
        counts["rotamer outliers"] += int(not (off <= CORRECT).all(axis=1).any())
    return counts


def _angle(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    u, v = a - b, c - b
    return float(np.arccos(np.clip(u @ v / (np.linalg.norm(u) * np.linalg.norm(v)), -1.0, 1.0)))
