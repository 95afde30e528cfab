"""One-letter notation: ``Ac-KLvffA[NLE]-NH2``; lower case is D, brackets hold other residues and changes."""

from __future__ import annotations

import re

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.bonds import ring_bond
from betafold_mlx.peptide.brackets import PAIRS, closing
from betafold_mlx.peptide.end_groups import CHLOROACETYL
from betafold_mlx.peptide.names import letter_code, residue_code
from betafold_mlx.peptide.reading import Reading
from betafold_mlx.peptide.sequence import ALPHABET, D_THREE_LETTER, THREE_LETTER, Peptide
from betafold_mlx.peptide.side_chains import SIDE_CHAIN_ATOMS, side_chain_bond

_MEANT = {
    "B": "stands for Asp or Asn: write the one that is meant",
    "Z": "stands for Glu or Gln: write the one that is meant",
    "J": "stands for Leu or Ile: write the one that is meant",
    "X": "stands for any residue: write the one that is meant",
    "U": "is selenocysteine: write [SEC]",
    "O": "is pyrrolysine, or hydroxyproline in collagen: write [PYL] or [HYP]",
    "*": "inside a sequence is a stop codon",
    "-": "is a gap, or joins two sequences: write the residues without it",
    ":": "starts a second chain: fold one peptide at a time",
    ">": "starts a FASTA header: give FASTA as a file or on standard input",
    "/": "starts a second chain: fold one peptide at a time",
    "|": "starts a second chain: fold one peptide at a time",
}

_N_METHYL = re.compile(r"[(\[]N-?Me[)\]]([A-Z])(?![a-z])")
"""N-methyl before a letter: RGDf(NMe)V."""


def read_letters(text: str, reading: Reading) -> None:
    """Add residues in one-letter code, without separators, to a reading.

    BetafoldError for a letter that is no residue, with its position.
    """
    place = 0
    while place < len(text):
        letter = text[place]
        if methyl := _N_METHYL.match(text, place):
            reading.add_name(f"NMe-{methyl[1]}")
            reading.upper = True
            place = methyl.end() - 1
        elif letter in PAIRS:
            end = closing(text, place)
            if letter == "{":
                raise BetafoldError(f"{text[place : end + 1][:40]!r}: write residues in [ ] or ( )")
            reading.add_group(text[place + 1 : end])
            place = end
        elif text.startswith(("pE", "<E", "<Q"), place) and not reading.residues:
            reading.add_name(text[place : place + 2])
            reading.upper = True
            if letter == "p":
                reading.notes.append("pE read as pyroglutamate (PCA); D-proline before Glu is [DPR]E")
            place += 1
        elif code := letter_code(letter):
            _check_word(text, place, reading)
            if letter.islower():
                reading.lower.append(reading.place)
            else:
                reading.upper = True
            reading.residues.append(code)
        else:
            raise BetafoldError(f"{letter!r} at position {reading.place} {_problem(text, place)}")
        place += 1


def _problem(text: str, place: int) -> str:
    letter = text[place]
    if word := _word(text, place):
        return f"is not one of the 20 standard residues: is [{word}] meant?"
    return _MEANT.get(letter.upper(), f"is not one of the 20 standard residues ({ALPHABET})")


def _word(text: str, place: int) -> str:
    """Return the three-letter name, as in Gly or Nle, that a lower-case letter stands in; empty where there is none."""
    for start in (place - 2, place - 1):
        match = re.match(r"[A-Z][a-z]{2}(?![a-z])", text[start:]) if start >= 0 else None
        try:
            if match and residue_code(match[0]):
                return match[0]
        except BetafoldError:
            return ""
    return ""


def _lower_word(text: str, place: int) -> str:
    """Return the name, as in nle or pyr, that three lower-case letters make here, with upper-case ones beside them."""
    match = re.compile(r"[a-z]{3}(?![a-z])").match(text, place)
    if match is None or text.islower() or (place and text[place - 1].islower()):
        return ""
    try:
        return match[0] if residue_code(match[0]) else ""
    except BetafoldError:
        return ""


def _check_word(text: str, place: int, reading: Reading) -> None:
    """Refuse lower-case letters that are more likely something else than D residues."""
    letter = text[place]
    if not letter.islower():
        return
    if word := _lower_word(text, place) or (
        _word(text, place) if place and text[place - 1].isupper() else ""
    ):
        codes = [letter_code(each) for each in word]
        start = reading.place - (0 if word.islower() else 1)
        if None in codes:
            raise BetafoldError(f"{word!r} at position {start}: is [{word}] meant?")
        apart = "".join(f"[{code}]" for code in codes)
        raise BetafoldError(
            f"{word!r} at position {start} can be one residue or three: write [{word}] or {apart}"
        )
    if letter != "p":
        return
    bare = re.sub(r"\[[^]]*\]|\([^)]*\)", "", text)
    if not re.search("[a-oq-z]|p(?![STY])", bare):
        after = bare[bare.index("p") + 1]
        raise BetafoldError(
            f"'p{after}' at position {reading.place} can be phosphorylated {after} or D-Pro and {after}: "
            f"write [p{after}] or [DPR]{after}"
        )


def settle_case(reading: Reading, d_amino_acids: bool) -> None:
    """Decide what lower-case letters mean: D residues among upper-case ones, and nothing where all are lower."""
    chiral = [place for place in reading.lower if reading.residues[place - 1] != "GLY"]
    if reading.upper:
        if chiral:
            places = ", ".join(map(str, chiral))
            reading.notes.append(f"lower-case letters read as D residues: {places}")
            if reading.lower[0] == 1 and reading.residues[0] == "DCY" and not reading.labels:
                reading.notes[-1] += "; if c is a ring, write cyclo(...)"
        return
    letters = {code: letter for letter, code in D_THREE_LETTER.items()}
    for place in reading.lower:
        code = reading.residues[place - 1]
        reading.residues[place - 1] = THREE_LETTER[letters[code]] if code in letters else code
    if chiral and not d_amino_acids:
        reading.notes.append("all letters are lower case: read as L residues; say so if they are D (all-d)")


def one_letter(peptide: Peptide) -> str:
    """Return a peptide in one-letter notation, which `Peptide.parse` reads back to the same peptide."""
    return with_ends(peptide, residue_letters(peptide), "")


def residue_letters(peptide: Peptide) -> list[str]:
    """Return the residues as letters, lower case for D, and codes in brackets."""
    letters = {code: letter for letter, code in THREE_LETTER.items()}
    d_letters = {code: letter.lower() for letter, code in D_THREE_LETTER.items() if letter != "G"}
    plain = [letters.get(code, f"[{code}]") for code in peptide.residues]
    mixed = [d_letters.get(code, text) for code, text in zip(peptide.residues, plain, strict=True)]
    return mixed if _reads_back("".join(mixed), peptide) else plain


def _reads_back(text: str, peptide: Peptide) -> bool:
    """Tell whether letters are read as these residues: lower case can mean L, or make a word as pE, pS and Gly."""
    reading = Reading()
    try:
        read_letters(text, reading)
    except BetafoldError:
        return False
    settle_case(reading, False)
    return tuple(reading.residues) == peptide.residues


def labels(peptide: Peptide) -> list[str]:
    """Return what stands behind the n-cap and each residue for its bonds: ``(1)``, or ``(1:NZ)`` of an unusual atom."""
    marks = [""] * (len(peptide) + 1)
    others = [bond for bond in peptide.bonds if bond != ring_bond(len(peptide))]
    for number, bond in enumerate(others, start=1):
        if not bond.i:
            marks[0] = f"({number})"
            usual = SIDE_CHAIN_ATOMS.get(peptide.residues[bond.j - 1]) == bond.atom_j
            marks[bond.j] += f"({number})" if usual else f"({number}:{bond.atom_j})"
            continue
        try:
            usual = side_chain_bond(list(peptide.residues), bond.i, bond.j, "") == bond
        except BetafoldError:
            usual = False
        marks[bond.i] += f"({number})" if usual else f"({number}:{bond.atom_i})"
        marks[bond.j] += f"({number})" if usual else f"({number}:{bond.atom_j})"
    return marks


def with_ends(peptide: Peptide, texts: list[str], separator: str) -> str:
    """Join residues with the labels of their bonds, and the groups at the ends or the ring around them."""
    of_cap, *marks = labels(peptide)
    joined = separator.join(text + mark for text, mark in zip(texts, marks, strict=True))
    if peptide.cyclic:
        return f"cyclo({joined})"
    before = {None: "", "ACE": "Ac-", "FOR": "For-", "MYR": "Myr-"}[peptide.n_cap]
    before = f"{CHLOROACETYL}{of_cap}-" if of_cap else before
    behind = {None: "", "NH2": "-NH2", "NME": "-NHMe"}[peptide.c_cap]
    return f"{before}{joined}{behind}"
