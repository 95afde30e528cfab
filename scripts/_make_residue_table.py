# ruff: noqa: E501 (rows of tables)
"""Make betafold_mlx/peptide/residues.json: python scripts/_make_residue_table.py (with biotite, scipy).

Names, bonds, hydrogens and ideal coordinates of each residue are those of the wwPDB Chemical Component Dictionary
(CCD), as biotite carries it. Its ideal coordinates have tetrahedral angles of 109.5 degrees and acids with their proton; where
R. A. Engh and R. Huber (Acta Cryst. A47, 392 (1991)) give lengths and angles of a side chain, the coordinates are
refined against these by least squares before internal coordinates are read off.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import biotite.structure.info as info
import numpy as np
from biotite.structure import BondType
from biotite.structure.info.ccd import get_from_ccd
from scipy.optimize import least_squares

from betafold_mlx.geometry import ideal
from betafold_mlx.peptide.sequence import ALPHABET, THREE_LETTER

OUTPUT = Path(__file__).parents[1] / "betafold_mlx" / "peptide" / "residues.json"

D_CODES = "DAL DCY DAS DGL DPN GLY DHI DIL DLY DLE MED DSG DPR DGN DAR DSN DTH DVA DTR DTY"

MODIFIED = {
    # parent: codes, and why that parent
    "A": ("AIB 6ZS ABA AC5 0XL", "small, no branch at CB"),
    "C": ("SEC CSO CSD OCS CME YCM LE1 BCS P1L", "a thiol, or what it was made into"),
    "D": ("BHD", "an acid on CB"),
    "E": ("CGU 3GL", "an acid on CG"),
    "F": ("HPE 004 NAL ALN 1MH TIH PFF F2F WFP PF5 200 FCL PHI 4BF 3CF 4CF PPN HOX 4AF PBF BIF Q78", "one aromatic ring"),
    "G": ("SAR", "nothing on CA"),
    "H": ("HIC", "an imidazole"),
    "K": ("ORN DAB ALY PRK BTK KCR MLZ MLY M3L KCX LYZ PYL MYK", "an amine at the end of a chain, or made of one"),
    "L": ("ALC 2ML HL2 2AG LPH", "branched at CG, or as bulky"),
    "M": ("MSE SME MHO OMT NLE NVA AHP", "an unbranched chain without charge"),
    "P": ("HYP HZP MP8 FP9 YCP DI8 OIC", "N in a ring with the side chain"),
    "Q": ("PCA CIR", "glutamine closed to a ring, or a neutral urea"),
    "R": ("HRG 2MR DA2 AGM NRG", "a guanidine"),
    "S": ("SEP HSE DPP", "a polar group on CB"),
    "T": ("TPO ALO BMT", "a hydroxyl and a branch at CB"),
    "V": ("TBG CHG", "branched at CB"),
    "W": ("HTR FTR 4FW BTR 6CW 4PQ TRX KYN 4OG", "an indole, or what it was made into"),
    "Y": ("PTR TYS TYI IYR YOF 0A1 MTY DI7", "a phenol"),
}  # fmt: skip
N_METHYL = {
    "MAA": "A",
    "NCY": "C",
    "MEA": "F",
    "E9V": "H",
    "IML": "I",
    "MLE": "L",
    "GNC": "Q",
    "EME": "E",
    "MMO": "R",
    "MVA": "V",
    "E9M": "W",
    "YNM": "Y",
}
D_MODIFIED = {"DBB": "A", "DIV": "A", "DNE": "M", "ORD": "K", "PG9": "F", "4J2": "F", "ZAL": "L", "LEI": "C",
              "KCY": "C", "F9D": "L", "2TL": "T", "28J": "I", "33X": "A", "DNM": "M", "DSE": "S", "GHP": "Y", "D0C": "F",
              "UY7": "P", "2RA": "S", "4FO": "K"}  # fmt: skip

PUCKERED = ("PRO", "HYP", "HZP", "MP8", "FP9", "UY7")
PUCKERS = (30.0, -26.0)
"""Chi1 of the two puckers of proline, degrees, down (CG endo) and up (CG exo): L. Vitagliano et al., Proteins 42, 97
(2001)."""

# Engh and Huber 1991: bonds and angles of side chains by the names of the atoms.
LENGTHS = {
    "C": "CB SG 1.808",
    "D": "CB CG 1.516, CG OD1 1.249, CG OD2 1.249",
    "E": "CB CG 1.520, CG CD 1.516, CD OE1 1.249, CD OE2 1.249",
    "F": "CB CG 1.502, CG CD1 1.384, CG CD2 1.384, CD1 CE1 1.382, CD2 CE2 1.382, CE1 CZ 1.382, CE2 CZ 1.382",
    "H": "CB CG 1.497, CG ND1 1.378, CG CD2 1.356, ND1 CE1 1.321, CD2 NE2 1.374, CE1 NE2 1.321",
    "I": "CB CG1 1.530, CB CG2 1.521, CG1 CD1 1.513",
    "K": "CB CG 1.520, CG CD 1.520, CD CE 1.520, CE NZ 1.489",
    "L": "CB CG 1.530, CG CD1 1.521, CG CD2 1.521",
    "M": "CB CG 1.520, CG SD 1.803, SD CE 1.791",
    "N": "CB CG 1.516, CG OD1 1.231, CG ND2 1.328",
    "P": "CB CG 1.492, CG CD 1.503, N CD 1.473",
    "Q": "CB CG 1.520, CG CD 1.516, CD OE1 1.231, CD NE2 1.328",
    "R": "CB CG 1.520, CG CD 1.520, CD NE 1.460, NE CZ 1.329, CZ NH1 1.326, CZ NH2 1.326",
    "S": "CB OG 1.417",
    "T": "CB OG1 1.433, CB CG2 1.521",
    "V": "CB CG1 1.521, CB CG2 1.521",
    "W": "CB CG 1.498, CG CD1 1.365, CG CD2 1.433, CD1 NE1 1.374, NE1 CE2 1.370, CD2 CE2 1.409, CD2 CE3 1.398, "
    "CE2 CZ2 1.394, CZ2 CH2 1.368, CZ3 CH2 1.400, CE3 CZ3 1.382",
    "Y": "CB CG 1.512, CG CD1 1.389, CG CD2 1.389, CD1 CE1 1.382, CD2 CE2 1.382, CE1 CZ 1.378, CE2 CZ 1.378, CZ OH 1.376",
}
ANGLES = {
    "C": "CA CB SG 114.4",
    "D": "CA CB CG 112.6, CB CG OD1 118.4, CB CG OD2 118.4, OD1 CG OD2 123.2",
    "E": "CA CB CG 114.1, CB CG CD 112.6, CG CD OE1 118.4, CG CD OE2 118.4, OE1 CD OE2 123.2",
    "F": "CA CB CG 113.8, CB CG CD1 120.7, CB CG CD2 120.7, CD1 CG CD2 118.6, CG CD1 CE1 120.7, CG CD2 CE2 120.7, "
    "CD1 CE1 CZ 120.0, CD2 CE2 CZ 120.0, CE1 CZ CE2 120.0",
    "H": "CA CB CG 113.8, CB CG ND1 122.7, CB CG CD2 131.2, ND1 CG CD2 106.1, CG ND1 CE1 109.3, ND1 CE1 NE2 108.4, "
    "CE1 NE2 CD2 109.0, CG CD2 NE2 107.2",
    "I": "CA CB CG1 110.4, CA CB CG2 110.5, CG1 CB CG2 110.7, CB CG1 CD1 113.8",
    "K": "CA CB CG 114.1, CB CG CD 111.3, CG CD CE 111.3, CD CE NZ 111.9",
    "L": "CA CB CG 116.3, CB CG CD1 110.7, CB CG CD2 110.7, CD1 CG CD2 110.8",
    "M": "CA CB CG 114.1, CB CG SD 112.7, CG SD CE 100.9",
    "N": "CA CB CG 112.6, CB CG OD1 120.8, CB CG ND2 116.4, OD1 CG ND2 122.8",
    "P": "CA CB CG 104.5, CB CG CD 106.1, N CD CG 103.2, CA N CD 112.0",
    "Q": "CA CB CG 114.1, CB CG CD 112.6, CG CD OE1 120.8, CG CD NE2 116.4, OE1 CD NE2 122.8",
    "R": "CA CB CG 114.1, CB CG CD 111.3, CG CD NE 112.0, CD NE CZ 124.2, NE CZ NH1 120.0, NE CZ NH2 120.0, NH1 CZ NH2 120.0",
    "S": "CA CB OG 111.1",
    "T": "CA CB OG1 109.6, CA CB CG2 110.5, OG1 CB CG2 109.3",
    "V": "CA CB CG1 110.5, CA CB CG2 110.5, CG1 CB CG2 110.8",
    "W": "CA CB CG 113.6, CB CG CD1 126.9, CB CG CD2 126.8, CD1 CG CD2 106.3, CG CD1 NE1 110.2, CD1 NE1 CE2 108.9, "
    "NE1 CE2 CD2 107.4, CG CD2 CE2 107.2",
    "Y": "CA CB CG 113.9, CB CG CD1 120.8, CB CG CD2 120.8, CD1 CG CD2 118.4, CG CD1 CE1 121.2, CG CD2 CE2 121.2, "
    "CD1 CE1 CZ 119.6, CD2 CE2 CZ 119.6, CE1 CZ CE2 120.0, CE1 CZ OH 120.0, CE2 CZ OH 120.0",
}
CHAIN_ANGLE = 112.5
"""Degrees, at a CH2 between two atoms of a chain that the table above does not name: between its values of 111 to 114."""


class Component(NamedTuple):
    """A component of the CCD: heavy atoms without those that leave, their bonds, and the hydrogens on them."""

    code: str
    name: str
    elements: dict[str, str]
    coordinates: dict[str, np.ndarray]
    bonds: dict[frozenset[str], int]
    hydrogens: dict[str, list[str]]

    def neighbours(self, atom: str) -> list[str]:
        return [other for other in self.elements if frozenset((atom, other)) in self.bonds]


def component(code: str) -> Component:
    residue = info.residue(code)
    leaving = get_from_ccd("chem_comp_atom", code)
    names = leaving["atom_id"].as_array(str).tolist()
    leaves = dict(zip(names, leaving["pdbx_leaving_atom_flag"].as_array(str) == "Y", strict=True))
    if "OXT" not in leaves and code not in ("NH2", "ACE", "FOR", "NME"):
        raise SystemExit(f"{code} has no OXT: it cannot stand inside a chain")
    names = residue.atom_name.tolist()
    heavy = {
        n: e.capitalize()
        for n, e in zip(names, residue.element, strict=True)
        if e not in ("H", "D") and n != "OXT"
    }
    place = {n: x.astype(float) for n, x in zip(names, residue.coord, strict=True)}
    bonds: dict[frozenset[str], int] = {}
    hydrogens: dict[str, list[str]] = {}
    order = {"SINGLE": 1, "DOUBLE": 2, "TRIPLE": 3}
    for i, j, kind in residue.bonds.as_array():
        a, b = names[i], names[j]
        if a in heavy and b in heavy:
            bonds[frozenset((a, b))] = next(n for key, n in order.items() if key in BondType(kind).name)
        elif a in heavy or b in heavy:
            atom, hydrogen = (a, b) if a in heavy else (b, a)
            if not leaves[hydrogen]:
                hydrogens.setdefault(atom, []).append(hydrogen)
    name = get_from_ccd("chem_comp", code)["name"].as_item().lower()
    return Component(code, name, heavy, place, bonds, hydrogens)


def known(text: str) -> dict[tuple[str, ...], float]:
    """Return the values of a text as above by the names of their atoms."""
    words = [entry.split() for entry in text.split(",") if entry.strip()]
    return {tuple(entry[:-1]): float(entry[-1]) for entry in words}


def targets(part: Component, parent: str, cb: str | None) -> tuple[dict, dict]:
    """Return the lengths and angles (degrees) that a residue is to have, all of them."""
    at, row = part.coordinates, ALPHABET.index(parent)
    lengths = {
        tuple(sorted(bond)): float(np.linalg.norm(np.subtract(*(at[a] for a in bond)))) for bond in part.bonds
    }
    angles = {}
    for b in part.elements:
        ends = part.neighbours(b)
        for number, a in enumerate(ends):
            for c in ends[number + 1 :]:
                angles[a, b, c] = measure_angle(at[a], at[b], at[c])
        heavy = len(ends)
        acid = [o for o in ends if part.elements[o] == "O" and len(part.neighbours(o)) == 1]
        if part.elements[b] in ("C", "P", "S") and len(acid) > 1 and b not in ("C",):
            shared = {"C": 1.249, "P": 1.51, "S": 1.45}[part.elements[b]]
            lengths |= {tuple(sorted((b, o))): shared for o in acid}
            if part.elements[b] == "C" and heavy == 3:
                rest = next(o for o in ends if o not in acid)
                angles |= {k: 118.4 if rest in k else 123.2 for k in angles if k[1] == b}
        ch2 = heavy == 2 and part.elements[b] == "C" and len(part.hydrogens.get(b, ())) == 2
        if ch2 and not in_ring(part, b):
            angles |= {k: 113.8 if "CA" in k else CHAIN_ANGLE for k in angles if k[1] == b}
    for names, value in known(LENGTHS.get(parent, "")).items():
        if frozenset(names) in part.bonds:
            lengths[tuple(sorted(names))] = value
    for (a, b, c), value in known(ANGLES.get(parent, "")).items():
        for key in ((a, b, c), (c, b, a)):
            if key in angles:
                angles[key] = value
    lengths |= {("CA", "N"): ideal.N_CA[row], ("C", "CA"): ideal.CA_C[row], ("C", "O"): ideal.C_O[row]}
    if cb:
        lengths[tuple(sorted(("CA", cb)))] = ideal.CA_CB[row]
        for names, value in (
            (("N", "CA", "C"), ideal.N_CA_C),
            (("N", "CA", cb), ideal.N_CA_CB),
            (("C", "CA", cb), ideal.C_CA_CB),
        ):
            for key in (names, names[::-1]):
                if key in angles:
                    angles[key] = float(np.degrees(value[row]))
    return lengths, angles


def in_ring(part: Component, atom: str) -> bool:
    """Tell whether an atom is in a ring: two of its neighbours are joined without it."""
    ends = part.neighbours(atom)
    for number, start in enumerate(ends):
        seen, todo = {atom, start}, [start]
        while todo:
            new = [n for n in part.neighbours(todo.pop()) if n not in seen]
            seen.update(new)
            todo += new
        if seen & set(ends[number + 1 :]):
            return True
    return False


def bond_in_ring(part: Component, a: str, b: str) -> bool:
    """Tell whether a bond is in a ring: its ends are joined without it."""
    seen, todo = {a}, [a]
    while todo:
        atom = todo.pop()
        new = [n for n in part.neighbours(atom) if n not in seen and {atom, n} != {a, b}]
        seen.update(new)
        todo += new
    return b in seen


def refine(part: Component, parent: str, cb: str | None, chi1: float | None = None) -> dict[str, np.ndarray]:
    """Return coordinates with the target lengths and angles, near those of the CCD in all else."""
    names = list(part.elements)
    index = {name: i for i, name in enumerate(names)}
    start = np.array([part.coordinates[name] for name in names])
    lengths, angles = targets(part, parent, cb)
    pairs = [(index[a], index[b], d, 0.002) for (a, b), d in lengths.items()]
    for (a, b, c), angle in angles.items():
        first, second = lengths[tuple(sorted((a, b)))], lengths[tuple(sorted((b, c)))]
        across = np.sqrt(first**2 + second**2 - 2 * first * second * np.cos(np.radians(angle)))
        pairs.append((index[a], index[c], across, 0.01))
    first, second, wanted, sigma = (np.array(column) for column in zip(*pairs, strict=True))
    first, second = first.astype(int), second.astype(int)
    flat = planar_torsions(part)
    if chi1 is not None:  # the other pucker: move the flap through the ring
        ring = [index[n] for n in ("CA", "CD", "CB")]
        normal = np.cross(start[ring[1]] - start[ring[0]], start[ring[2]] - start[ring[0]])
        normal /= np.linalg.norm(normal)
        now = measure_torsion(*(start[index[n]] for n in ("N", "CA", "CB", "CG")))
        if now * chi1 < 0:
            moved = [n for n in names if n == "CG" or (n not in ("N", "CA", "C", "O", "CB", "CD"))]
            for n in moved:
                start[index[n]] -= 2 * ((start[index["CG"]] - start[ring[0]]) @ normal) * normal

    def misfit(flat_coordinates: np.ndarray) -> np.ndarray:
        at = flat_coordinates.reshape(-1, 3)
        distance = np.linalg.norm(at[first] - at[second], axis=-1)
        terms = [(distance - wanted) / sigma, 0.2 * (at - start).ravel()]
        for quad in flat:
            a, b, c, d = (at[index[n]] for n in quad)
            normal = np.cross(b - a, c - a)
            terms.append(np.array([(d - a) @ normal / np.linalg.norm(normal) / 0.005]))
        if chi1 is not None:
            angle = measure_torsion(*(at[index[n]] for n in ("N", "CA", "CB", "CG")))
            terms.append(np.array([(angle - chi1) / 0.5]))
        return np.concatenate(terms)

    for _ in range(3):  # the coordinates that hold it near are its own of the last round
        start = least_squares(misfit, start.ravel()).x.reshape(-1, 3)
    return dict(zip(names, start, strict=True))


def flat_atom(part: Component, atom: str) -> bool:
    """Tell whether an atom is flat: it has a double bond, or is an N or O beside one that has."""
    double = any(part.bonds[frozenset((atom, n))] == 2 for n in part.neighbours(atom))
    beside = part.elements[atom] in ("N",) and any(
        part.bonds[frozenset((n, m))] == 2
        for n in part.neighbours(atom)
        for m in part.neighbours(n)
        if m != atom and part.elements[n] == "C"
    )
    return (double and part.elements[atom] in ("C", "N")) or (beside and atom != "N")


def planar_torsions(part: Component) -> list[tuple[str, ...]]:
    """Return four atoms of each flat part: a flat atom with its three neighbours, four in a row of a flat ring."""
    found = []
    for b in part.elements:
        ends = part.neighbours(b)
        if flat_atom(part, b) and len(ends) == 3 and b != "C":
            found.append((b, *ends))
        for c in ends:
            if b < c and flat_atom(part, b) and flat_atom(part, c) and "CA" not in (b, c):
                found += [
                    (a, b, c, d)
                    for a in part.neighbours(b)
                    for d in part.neighbours(c)
                    if len({a, b, c, d}) == 4 and "C" not in (b, c)
                ]
    return found


def measure_angle(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    u, v = a - b, c - b
    return float(np.degrees(np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v))))


def measure_torsion(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> float:
    """Return the torsion in degrees, IUPAC sign."""
    u, v, w = b - a, c - b, d - c
    m, n = np.cross(u, v), np.cross(v, w)
    return float(np.degrees(np.arctan2(np.linalg.norm(v) * (u @ n), m @ n)))


def volume(part: Component, atom: str) -> float:
    """Signed volume of N, C and an atom about CA: positive where an L residue has its CB."""
    n, c, other = (part.coordinates[name] - part.coordinates["CA"] for name in ("N", "C", atom))
    return float(np.cross(n, c) @ other)


CHI_ENDS: dict[str, set[str]] = {}
"""The last atoms of the chi angles of the standard residues, by letter: filled as these are described."""


def describe(code: str, parent: str, hand: str, reason: str = "") -> dict:
    """Return the entry of a residue; its geometry is that of an L residue, of a D one the mirror image."""
    part = component(code)
    if hand == "D":
        part = part._replace(coordinates={n: x * [1, 1, -1] for n, x in part.coordinates.items()})
    carbons = [n for n in part.neighbours("CA") if n not in ("N", "C")]
    cb = next((n for n in carbons if volume(part, n) > 0), None)
    if carbons and cb is None:
        raise SystemExit(f"{code} is not of hand {hand}")
    puckers: tuple[float | None, ...] = PUCKERS if code in PUCKERED else (None,)
    chis: list[tuple[str, ...]] = []
    placements = []
    for pucker in puckers:
        at = refine(part, parent, cb, pucker)
        rows, chis = internal(part, CHI_ENDS.get(parent, set()), cb, carbons, at)
        placements.append(rows)
    return {
        "name": part.name,
        "parent": parent,
        **({"because": reason} if reason else {}),
        "hand": hand,
        "cb": cb,
        "atoms": part.elements,
        "bonds": ["-".join(sorted(bond, key=list(part.elements).index)) + "-=#"[order - 1] * (order > 1)
                  for bond, order in part.bonds.items()],
        "hydrogens": {atom: " ".join(names) for atom, names in part.hydrogens.items()},
        "chi": [" ".join(chi) + (" symmetric" if symmetric(part, chi) else "") for chi in chis],
        "placed": placements,
    }  # fmt: skip


def symmetric(part: Component, chi: tuple[str, ...]) -> bool:
    """Tell whether half a turn about the bond of a chi angle changes nothing but names."""
    ends = [n for n in part.neighbours(chi[2]) if n != chi[1]]
    if len(ends) != 2 or not flat_atom(part, chi[2]):
        return False
    colour = dict(part.elements)
    for _ in range(8):
        colour = {
            a: str(hash((c, *sorted(colour[n] for n in part.neighbours(a))))) for a, c in colour.items()
        }
    return colour[ends[0]] == colour[ends[1]]


def internal(
    part: Component, parent_chi: set[str], cb: str | None, carbons: list[str], at: dict[str, np.ndarray]
) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return how each atom beyond the backbone and CB is placed, and the chi angles.

    A row: atom, three atoms before it (the last is bonded to it), length, angle, torsion; ``chiK`` before the torsion
    where it is added to that chi angle, ``phi`` where it is added to the backbone's. A chi angle ends in the atom that
    ends the parent's, where the residue has it.
    """
    rows: list[str] = []
    chis: list[tuple[str, ...]] = []
    backbone = ["N", "CA", "C", "O"]
    before: dict[str, tuple[str, str]] = {}
    done = set(backbone)
    queue: list[str] = []

    def add(atom: str, parent: str, grand: str, great: str, turn: str = "") -> None:
        torsion = measure_torsion(at[great], at[grand], at[parent], at[atom])
        rows.append(
            f"{atom} {great} {grand} {parent} {np.linalg.norm(at[atom] - at[parent]):.4f} "
            f"{measure_angle(at[grand], at[parent], at[atom]):.2f} {turn}{torsion:.2f}"
        )
        before[atom] = (parent, grand)
        done.add(atom)
        queue.append(atom)

    if cb:
        done.add(cb)
        before[cb] = ("CA", "N")
        queue.append(cb)
        for other in carbons:
            if other != cb:
                add(other, "CA", "N", "C")
    while queue:
        parent = queue.pop(0)
        grand, great = before[parent]
        children = sorted(
            (n for n in part.neighbours(parent) if n not in done), key=lambda n: n not in parent_chi
        )
        if not children:
            continue
        order = part.bonds[frozenset((grand, parent))]
        free = order == 1 and not bond_in_ring(part, grand, parent)
        if flat_atom(part, grand) and flat_atom(part, parent):
            free = False
        if measure_angle(at[grand], at[parent], at[children[0]]) > 175.0:  # a nitrile or an alkyne
            free = False
        if free:
            chis.append((great, grand, parent, children[0]))
            zero = measure_torsion(at[great], at[grand], at[parent], at[children[0]])
        for child in children:
            add(child, parent, grand, great)
            if free:
                words = rows[-1].split()
                words[-1] = f"chi{len(chis)} {(float(words[-1]) - zero + 180) % 360 - 180:.2f}"
                rows[-1] = " ".join(words)
    for child in part.neighbours("N"):
        if child not in done:  # trans to the C before it
            length = np.linalg.norm(at[child] - at["N"])
            rows.append(f"{child} C CA N {length:.4f} 118.00 phi 180.00")
            done.add(child)
            if [n for n in part.neighbours(child) if n not in done]:
                raise SystemExit(f"{part.code}: what N carries is more than a methyl")
    if missing := set(part.elements) - done:
        raise SystemExit(f"{part.code}: {missing} are not bonded to the rest")
    return rows, chis


def main() -> None:
    entries: dict[str, dict] = {}
    for letter, code in THREE_LETTER.items():
        entries[code] = describe(code, letter, "" if code == "GLY" else "L")
        CHI_ENDS[letter] = {chi.split()[3] for chi in entries[code]["chi"]}
    for letter, code in zip(ALPHABET, D_CODES.split(), strict=True):
        if code == "GLY":
            continue
        like = THREE_LETTER[letter]
        part = component(code)
        if set(part.elements) != set(component(like).elements):
            raise SystemExit(f"{code} has other atoms than {like}")
        hydrogens = {atom: " ".join(names) for atom, names in part.hydrogens.items()}
        entries[code] = {"name": part.name, "parent": letter, "hand": "D", "as": like, "hydrogens": hydrogens}
    for parent, (codes, reason) in MODIFIED.items():
        for code in codes.split():
            entries[code] = describe(
                code, parent, "" if code in ("AIB", "AC5", "0XL", "SAR") else "L", reason
            )
    for code, parent in N_METHYL.items():
        entries[code] = describe(code, parent, "L", "the same side chain, N-methyl")
    for code, parent in D_MODIFIED.items():
        entries[code] = describe(code, parent, "D", "as its L form")
    lines = []
    for code, entry in entries.items():
        fields = ",\n  ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in entry.items())
        lines.append(f"{json.dumps(code)}: {{\n  {fields}\n}}")
    OUTPUT.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{len(entries)} residues in {OUTPUT.name}, {OUTPUT.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
