"""Peptides written in a line of letters or names: end groups, rings, and which of the two notations it is."""

from __future__ import annotations

import re

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.bonds import CAP_ATOM, THIOLS, checked_disulfides, disulfide_bond
from betafold_mlx.peptide.brackets import PAIRS, closing, split_outside
from betafold_mlx.peptide.end_groups import CHLOROACETYL, FREE, N_GROUPS, end_group
from betafold_mlx.peptide.names import residue_code
from betafold_mlx.peptide.one_letter import read_letters, settle_case
from betafold_mlx.peptide.reading import Reading
from betafold_mlx.peptide.sequence import THREE_LETTER
from betafold_mlx.peptide.side_chains import side_chain_bond
from betafold_mlx.peptide.three_letter import join_names, known_name, read_names

_RING = r"(?:(?i:cyclo|cyclic|cyc)|c)-?(?=[(\[](?!\d+(?::\w+)?[)\]]))"
"""The start of a ring; c(1) is a cysteine with the label of a bond."""

_WORD = r"(?:disulfide|disulphide|s-s)s?[\s-]*(?:bridges?|bonds?)?(?:\s*between)?\s*[:=]?\s*"
_PAIR = r"(?:Cys)?(\d{1,4})\s*(?:-|and|to|&)\s*(?:Cys)?(\d{1,4})"
_PAIRS = rf"(?:{_PAIR}[\s,;and&]*)+"
_BRIDGE = (
    rf"(?i)(?<![\s,;(\[])[\s,;(\[]*(?P<pairs>{_WORD}{_PAIRS}|(?<=[\s,;(\[]){_PAIRS}{_WORD}|"
    rf"(?<=[(\[])(?:Cys\d{{1,4}}\s*-\s*Cys\d{{1,4}}[\s,;]*)+|(?<=[\s,;(\[]){_WORD})[)\]]?\s*$"
)
"""What vendors write behind a sequence: (Disulfide bridge: Cys3-Cys14), [Cys3-Cys14], (disulfide bond)."""
_TAIL = 400
"""Characters at the end of a text in which it is looked for."""

_SALT = (
    r"[\s,;(\u00b7.]+(?:x?\s*\d*\s*)(?:(?i:(?:tri)?fluoroacetate|acetate|acetic acid|hydrochloride|formate)|TFA|HCl|"
    r"AcOH)(?i:\s+salt)?[)\]]?\s*$"
)
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-")


def read_linear(text: str, d_amino_acids: bool) -> Reading:
    """Read one peptide in one-letter or three-letter notation; BetafoldError where it is neither."""
    reading = Reading()
    text = text.translate(_DASHES).strip()
    if salt := re.search(_SALT, text[-_TAIL:]):
        name = salt[0].strip(" ,;.()[]\u00b7")
        reading.notes.append(f"a salt is no part of the peptide: {name} is left out")
        text = text.removesuffix(salt[0])
    pairs = re.search(_BRIDGE, text[-_TAIL:])
    text = text.removesuffix(pairs[0]) if pairs else text.removesuffix(".")
    if word := re.match(r"(?i)(cyclo|cyclic)[\s-]+(?=\w)", text):
        raise BetafoldError(f"{word[0].strip(' -')!r}: put the ring in brackets, as in cyclo(RGDfV)")
    if repeated := re.search(r"\((?:\w+-)+\w+\)(?:n|\d+)\b|^\([A-Za-z]+\)\d+$", text):
        raise BetafoldError(f"{repeated[0][:40]!r}: write repeats out, residue by residue")
    tokens = [
        (before, token)
        for before, token in split_outside(text.removesuffix("*"), "- \t\r\f\v\xa0\n")
        if token
    ]
    if re.search(r"^-|--|-$", text.removesuffix("*").strip()):
        gap = text.index("-") + 1
        raise BetafoldError(f"'-' at position {gap} is a gap: write the residues without it")
    _take_ends(tokens, reading)
    words = _join_ring([token for _, token in tokens])
    rings = [n for n, word in enumerate(words) if _is_ring(word)]
    inner = _inside(words[0]) if rings == [0] and reading.n_cap is None else []
    if inner and inner[0].lower() in N_GROUPS[CHLOROACETYL].split():  # its bond to the cysteine is the ring
        reading.n_cap, rings, words = CHLOROACETYL, [], [*inner[1:], *words[1:]]
    if len(rings) > 1:
        raise BetafoldError("two rings in one peptide: name the atoms of their bonds, as in bond 3:NZ-7:CD")
    if rings and len(words) == 1 and not (reading.n_cap or reading.c_cap):
        reading.cyclic = True
        _read_words(_inside(words[0]), reading, text)
    elif rings:
        number = rings[0]
        inner = _inside(words[number])
        names = _are_names([*words[:number], *inner, *words[number + 1 :]])
        _read_words(words[:number], reading, text, names)
        first = reading.place
        _read_words(inner, reading, text, names)
        last = reading.place - 1
        _read_words(words[number + 1 :], reading, text, names)
        if last <= first:
            raise BetafoldError(f"cyclo(...) at position {first}: a ring has two residues or more")
        bond = side_chain_bond(reading.residues, first, last, "cyclo(...)")
        reading.bonds.append(bond)
        reading.notes.append(f"cyclo(...) inside the chain read as the bond {bond}")
    else:
        _read_words(words, reading, text)
    settle_case(reading, d_amino_acids)
    reading.bond_labels()
    if pairs:
        places = re.findall(_PAIR, pairs["pairs"], re.IGNORECASE)
        thiols = [n for n, code in enumerate(reading.residues, start=1) if code in THIOLS]
        if not places and len(thiols) != 2:
            raise BetafoldError(
                f"{pairs['pairs'].strip()!r}: {len(thiols)} cysteines: write which, as in 1-6"
            )
        places = places or [tuple(thiols)]
        checked = checked_disulfides(reading.residues, [(int(i), int(j)) for i, j in places])
        reading.bonds += [disulfide_bond(i, j) for i, j in checked]
    return reading


def _take_ends(tokens: list[tuple[str, str]], reading: Reading) -> None:
    """Take the groups at the ends out of the tokens; a hyphen joins them."""
    if len(tokens) > 1 and tokens[-1][0] == "-" and not known_name(tokens[-1][1]):
        reading.c_cap = end_group("c", tokens[-1][1])
    elif len(tokens) > 1 and tokens[-1][1].lower() in ("amide", "nh2", "conh2"):
        reading.c_cap = "NH2"
    if reading.c_cap is not None:
        tokens.pop()
    if len(tokens) > 1 and tokens[0][1] in ("Ac", "Acetyl", "acetyl", "H2N") and tokens[1][0] != "-":
        reading.n_cap = end_group("n", tokens.pop(0)[1])
    elif len(tokens) > 1 and tokens[1][0] == "-":
        first = tokens[0][1]
        single = all(len(token) == 1 for _, token in tokens)
        if first == "H" and single and reading.c_cap is None:
            reading.notes.append("H- read as histidine; the free N terminus needs no letter")
        elif not known_name(first):
            label = re.fullmatch(r"(.+)\((\d{1,2})\)", first)
            reading.n_cap = end_group("n", label[1] if label else first)
            if label and reading.n_cap == CHLOROACETYL:
                reading.labels[label[2]] = [(0, CAP_ATOM)]
            if first == "H" and reading.c_cap != FREE and not _are_names([token for _, token in tokens[1:]]):
                reading.notes.append("H- read as the free N terminus; histidine is written without a hyphen")
        if reading.n_cap is not None:
            tokens.pop(0)


def _join_ring(words: list[str]) -> list[str]:
    """Join the word cyclo with the brackets behind it."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1].lower() in ("cyclo", "cyclic", "cyc", "c") and word[:1] in "([":
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def _is_ring(word: str) -> bool:
    """Tell whether a word is cyclo(...); c(...) is where nothing follows, else a D-cysteine."""
    match = re.match(_RING, word)
    if match is None:
        return False
    return match[0] not in ("c", "c-") or closing(word, match.end()) == len(word) - 1


def _inside(word: str) -> list[str]:
    """Return the words inside of cyclo(...)."""
    match = re.match(_RING, word)
    start = match.end() if match else 0
    end = closing(word, start)
    if end != len(word) - 1:
        raise BetafoldError(f"{word[end + 1 :][:40]!r} behind cyclo(...): put a hyphen between them")
    return [token for _, token in split_outside(word[start + 1 : end], "- \t\n") if token]


_LABEL = re.compile(r"\([0-9].*", flags=re.DOTALL)
"""The label of a bond behind a name, as in ``Lys(1:NZ)``."""


def _are_names(words: list[str]) -> bool:
    """Tell whether words are names of residues: two or more, and at least half of those that are not in brackets."""
    words = join_names(words)  # D and aIle are one name
    groups, words = len(words), [_LABEL.sub("", word) for word in words if word[:1] not in PAIRS]
    names = sum(len(word) > 2 and known_name(word) for word in words)
    names += sum(bool(re.fullmatch(r"[A-Z][a-z]{2}", word)) and not known_name(word) for word in words)
    return (names > 1 or (names == len(words) == 1 and groups > 1)) and 2 * names >= len(words)


def _read_words(words: list[str], reading: Reading, text: str, names: bool | None = None) -> None:
    """Read the residues of a chain, or of a part of it."""
    if _are_names(words) if names is None else names:
        joined = join_names(words)
        if all(re.fullmatch(r"[A-Z]{3}", word) for word in joined) and not {"-"} & set(text):
            reading.notes.append(f"read as three-letter codes: {len(joined)} residues")
        read_names(joined, reading)
        return
    if len(words) == 1 and re.fullmatch(r"(?:[A-Z][a-z]{2}){2,}", words[0]):
        triples = re.findall("...", words[0])
        if 2 * sum(map(known_name, triples)) > len(triples):
            reading.notes.append(f"read as three-letter codes: {len(triples)} residues")
            read_names(triples, reading)
            return
    joined = join_names(words)
    if len(words) == 1 and _could_be_triples(words[0]):
        count = len(words[0]) // 3
        reading.notes.append(f"read as one-letter codes; three-letter codes of {count} residues take hyphens")
    letters, runs = "", [re.sub(r"[(\[].*", "", word, flags=re.DOTALL) for word in joined]
    single = all(len(run) < 2 or _is_title(run) for run in runs)
    for number, (word, run) in enumerate(zip(joined, runs, strict=True)):
        if len(joined) > 1 and (_is_title(run) or (not run and closing(word, 0) == len(word) - 1)):
            read_letters(letters, reading)
            read_names([word], reading)
            letters = ""
            continue
        if letters and not single and f"{joined[number - 1]}-{word}" in text:
            raise BetafoldError(
                f"'-' behind {joined[number - 1][-20:]!r} is a gap, joins two sequences, or names a group that is not "
                "known: write the residues without it"
            )
        letters += word
    read_letters(letters, reading)


def _is_title(word: str) -> bool:
    """Tell whether a word is a name as Nle, D-Phe or pGlu, and not letters."""
    if not (re.search(r"[A-Z][a-z]{2}", word) or re.fullmatch(r"p[ESTY]", word)):
        return False
    try:
        return residue_code(word) is not None
    except BetafoldError:
        return True


def _could_be_triples(word: str) -> bool:
    codes = set(THREE_LETTER.values())
    return len(word) >= 12 and len(word) % 3 == 0 and all(code in codes for code in re.findall("...", word))
