"""HELM (Hierarchical Editing Language for Macromolecules, HELM 2 of the Pistoia Alliance): one peptide polymer."""

from __future__ import annotations

import re

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.bonds import CAP_ATOM, StatedBond
from betafold_mlx.peptide.brackets import split_outside
from betafold_mlx.peptide.cap_bonds import has_cap_bond
from betafold_mlx.peptide.end_groups import CHLOROACETYL, end_group
from betafold_mlx.peptide.names import letter_code
from betafold_mlx.peptide.reading import Reading
from betafold_mlx.peptide.sequence import ALPHABET, D_THREE_LETTER, THREE_LETTER, Peptide
from betafold_mlx.peptide.side_chains import SIDE_CHAIN_ATOMS

_POLYMER = re.compile(r"\s*(PEPTIDE|RNA|CHEM|BLOB)(\d+)\s*\{", re.IGNORECASE)
_END = r"(\d{1,4}):(R\d|pair)"
_CONNECTION = re.compile(rf"PEPTIDE(\d+),PEPTIDE(\d+),{_END}-{_END}", re.IGNORECASE)

_MONOMERS = {
    "ABA": "Abu", "AIB": "Aib", "NLE": "Nle", "ORN": "Orn", "SAR": "Sar", "NVA": "Nva", "PCA": "Glp",
    "BMT": "Me_Bmt(E)", "MAA": "meA", "MVA": "meV", "MLE": "meL", "IML": "meI", "MEA": "meF", "YNM": "meY",
    "E9M": "meW", "MMO": "meR", "1MH": "3-Pal",
}  # fmt: skip
"""Names of monomers in the Pistoia Alliance's library, by CCD codes; others are written as their codes."""

_CAPS = {"ACE": "ac", "FOR": "For", "MYR": "Myr", "NH2": "am", "NME": "NMe"}


def read_helm(text: str) -> Reading:
    """Read one peptide in HELM.

    BetafoldError for what is not one peptide polymer, monomers or connections that are not known, and HELM that a
    shell has changed.
    """
    text = "".join(text.split())
    sections = [section for _, section in split_outside(text, "$")]
    if len(sections) < 5:
        raise BetafoldError(
            f"HELM has {len(sections) - 1} of its four $: in a shell put it in single quotes, as '...$$$$'"
        )
    polymers, connections, groups, annotations = sections[:4]
    if sections[5:] or not re.fullmatch(r"(V2\.0)?", sections[4], re.IGNORECASE):
        raise BetafoldError(f"HELM ends in {'$'.join(sections[4:])[:40]!r}: it must end in $ or $V2.0")
    if groups:
        raise BetafoldError(f"HELM: groups ({groups[:40]!r}) are not read: one peptide polymer alone")
    chains = [chain for _, chain in split_outside(polymers, "|")]
    if len(chains) > 1:
        raise BetafoldError(f"HELM holds {len(chains)} polymers: fold one peptide at a time")
    match = _POLYMER.match(chains[0])
    if match is None or not chains[0].endswith("}"):
        raise BetafoldError(f"HELM: {chains[0][:40]!r} is not PEPTIDE1{{...}}")
    if match[1].upper() != "PEPTIDE":
        raise BetafoldError(f"HELM: {match[1]}{match[2]} is no peptide")
    reading = Reading(upper=True)
    first = _read_monomers(chains[0][match.end() : -1], reading)
    for connection in filter(None, connections.split("|")):
        _connect(connection, match[2], first, reading)
    if annotations and annotations != "{}":
        reading.notes.append(f"annotations of HELM are not read: {annotations[:40]}")
    return reading


def _read_monomers(text: str, reading: Reading) -> int:
    """Add the monomers of a polymer to a reading; return how many stand before the first residue: caps."""
    monomers = [monomer for _, monomer in split_outside(text, ".")]
    before = 0
    for number, monomer in enumerate(monomers):
        name = re.sub(r'"[^"]*"$', "", monomer)  # a comment
        bracketed = name.startswith("[") and name.endswith("]")
        if name.startswith("("):
            raise BetafoldError(f"HELM monomer {number + 1}: {name[:40]!r} is a choice of several: write one")
        if not bracketed:
            code = letter_code(name) if len(name) == 1 and name in ALPHABET else None
            code = {"U": "SEC", "O": "PYL"}.get(name, code)
            if code is None:
                hint = "names stand in [ ]" if len(name) > 1 else f"it is not one of {ALPHABET}"
                raise BetafoldError(f"HELM monomer {number + 1}: {name[:40]!r} is not known: {hint}")
            reading.residues.append(code)
            continue
        name = name[1:-1]
        if "*" in name or "@" in name or "=" in name:
            raise BetafoldError(f"HELM monomer {number + 1}: SMILES is not read: write the name of a residue")
        if number == 0 and len(monomers) > 1 and name != "H" and (group := end_group("n", name)):
            reading.n_cap, before = group, 1
        elif number and number == len(monomers) - 1 and (group := end_group("c", name)):
            reading.c_cap = group
        else:
            reading.add_name(name)
    return before


def _connect(connection: str, polymer: str, shift: int, reading: Reading) -> None:
    """Add a connection to a reading."""
    match = _CONNECTION.fullmatch(connection)
    if match is None:
        raise BetafoldError(f"HELM connection {connection[:40]!r}: write PEPTIDE1,PEPTIDE1,2:R3-5:R3")
    if {match[1], match[2]} != {polymer}:
        raise BetafoldError(
            f"HELM connection {connection[:40]!r}: there is no other polymer than PEPTIDE{polymer}"
        )
    length = len(reading.residues)
    ends = []
    for place, group in ((int(match[3]) - shift, match[4]), (int(match[5]) - shift, match[6])):
        if place == 0 and reading.n_cap in ("ACE", CHLOROACETYL) and group.upper() in ("R1", "R3"):
            ends.append((place, CAP_ATOM))
            continue
        if not 1 <= place <= length:
            raise BetafoldError(f"HELM connection {connection[:40]!r}: there is no residue there")
        ends.append((place, _atom(reading.residues[place - 1], group.upper(), connection)))
    one, other = sorted(ends)
    if one == (1, "N") and other == (length, "C"):
        reading.cyclic = True
    else:
        reading.bonds.append(StatedBond(*one, *other))


def _atom(code: str, group: str, connection: str) -> str:
    atom = {"R1": "N", "R2": "C", "R3": SIDE_CHAIN_ATOMS.get(code)}.get(group)
    if atom is None:
        what = "hydrogen bonds are not read" if group == "PAIR" else f"{code} has no {group}"
        raise BetafoldError(f"HELM connection {connection[:40]!r}: {what}")
    return atom


def helm(peptide: Peptide) -> str:
    """Return a peptide in HELM, which `Peptide.parse` reads back to the same peptide.

    BetafoldError for a bond of an atom that HELM has no name for.
    """
    letters = {code: letter for letter, code in THREE_LETTER.items()}
    letters |= {code: f"[d{letter}]" for letter, code in D_THREE_LETTER.items() if letter != "G"}
    monomers = [letters.get(code) or f"[{_MONOMERS.get(code, code)}]" for code in peptide.residues]
    name = CHLOROACETYL if has_cap_bond(peptide) else peptide.n_cap and _CAPS[peptide.n_cap]
    before = [f"[{name}]"] if name else []
    behind = [f"[{_CAPS[peptide.c_cap]}]"] if peptide.c_cap else []
    connections = []
    for bond in peptide.bonds:
        ends = []
        for place, atom in ((bond.i, bond.atom_i), (bond.j, bond.atom_j)):
            side_chain = SIDE_CHAIN_ATOMS.get(peptide.residues[place - 1])
            groups = {"N": "R1", "C": "R2", side_chain: "R3"} if place else {CAP_ATOM: "R1"}
            if atom not in groups:
                raise BetafoldError(f"HELM has no name for atom {atom} of residue {place}")
            ends.append(f"{place + len(before)}:{groups[atom]}")
        connections.append(f"PEPTIDE1,PEPTIDE1,{'-'.join(ends)}")
    return f"PEPTIDE1{{{'.'.join([*before, *monomers, *behind])}}}${'|'.join(connections)}$$$V2.0"
