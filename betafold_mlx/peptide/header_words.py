"""Words of FASTA headers that state the chemistry of a peptide."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.bonds import Disulfides, StatedBond, parse_bond, parse_pair
from betafold_mlx.peptide.chemistry import Chemistry

_SPELLINGS = {
    "cyclic": "cyclic cyclo cyclized cyclised head-to-tail head-to-tail-cyclic ring circular",
    "all-d": "all-d all-d-peptide d-amino-acids d-peptide",
    "disulfides": "disulfides disulfide disulphides disulphide disulfide-bond disulfide-bonds disulfide-bridge "
    "disulfide-bridges ss ssbond ssbonds ss-bond ss-bonds s-s bridge bridges",
    "n-cap": "n-cap n-term n-terminus n-terminal",
    "c-cap": "c-cap c-term c-terminus c-terminal",
    "bond": "bond bonds link lactam",
    "residues": "residues modified",
}
_KEYS = {spelling: key for key, spellings in _SPELLINGS.items() for spelling in spellings.split()}
_STATED = ("cyclic", "all-d")
"""Words that mean something without a value wherever they stand."""

_TRUE, _FALSE = ("", "true", "yes", "1"), ("false", "no", "0")
_ALIKE = 0.75  # `difflib` ratio: "ncap", "dissulfides" and "all.d" are meant, "type", "len" and UniProt's "OX" are not
# Patterns are compiled when they are first needed: `fold` of a bare sequence needs none.
_NOT = r"(?i)(not|no|non|without|un|never)-?$"
_CHEMISTRY = (
    r"(?i)ring|circular|cycl(o|ic|i[sz]ed|i[sz]ation)|macrocycl\w*|lactam|stapled?|acetyl(ated)?|amid(e|ated)|"
    r"disul(f|ph)ides?|disulfide-bonded|d-amino-acids?|pyroglutam\w*|myristoylated|lipidated|biotinylated|phospho\w*"
)
_PAIR = r"(?i)(?:C(?:ys)?)?(\d{1,4})\s*[-\u2013]\s*(?:C(?:ys)?)?(\d{1,4})$"


def header_chemistry(description: str) -> Chemistry:
    """Return the chemistry that the words of a FASTA header, after the id, state.

    The words are ``cyclic``, ``disulfides=1-15,5-19``, ``all-d``, ``n-cap=ACE``, ``c-cap=NH2``, ``bond=3:NZ-7:CD``
    and ``residues=3:DPN,5:AIB``, in either case, with ``_`` for ``-``, and with commas, semicolons or ``|`` between
    them. ``ring``, ``amidated`` and the like are read where they are a part of their own between these. Headers hold
    free text: other words mean nothing here, but those that look like chemistry get a note. BetafoldError for a value
    that cannot be, or a key that is almost a known one: a slip must not fold another molecule.
    """
    stated: Chemistry = {}
    passed: list[str] = []
    for part in _parts(description):
        words = _join_values(part.split())
        for number, word in enumerate(words):
            before = words[number - 1] if number else ""
            if not _read_word(word, before, len(words) == 1, stated) and re.fullmatch(
                _CHEMISTRY, word.strip(".()[]")
            ):
                passed.append(word.strip(".()[]")[:40])
    if passed:
        names = ", ".join(dict.fromkeys(passed))
        note = f"not read as chemistry in the header: {names}; the words that are: cyclic, disulfides=I-J, c-cap=NH2"
        stated["notes"] = [note]
    return stated


def _parts(description: str) -> Iterator[str]:
    """Yield the parts of a header between semicolons, ``|``, and commas that do not stand within a list of numbers."""
    for part in re.split(r"[|;]|,(?=\s|$)|,(?=[A-Za-z])", description):
        if part.strip():
            yield part.strip()


def _join_values(words: list[str]) -> list[str]:
    """Join a key with the pairs behind it: ``disulfide 3-11``, ``disulfides: 3-11``, ``disulfides=3-11, 5-9``."""
    joined: list[str] = []
    for word in words:
        if re.match(_PAIR, word) and joined:
            noun = joined[-1].strip(":").lower() in ("bond", "bonds", "bridge", "bridges") and len(joined) > 1
            key, _, value = _split(joined[-2 if noun else -1])
            if key == "disulfides" and not value and "=" not in joined[-1]:
                joined[-2 if noun else -1 :] = [f"disulfides={word}"]
                continue
        joined.append(word)
    return joined


def _split(word: str) -> tuple[str, str, str]:
    """Return key, ``=`` and value of a word; the key as it is known here, or as it is written."""
    key, equals, value = word.partition("=")
    if not equals:
        key, equals, value = word.partition(":")
    key = key.lower().replace("_", "-")
    return _KEYS.get(key, key), equals, value


def _read_word(word: str, before: str, alone: bool, stated: Chemistry) -> bool:
    """Take a word of a header; return whether it stated something."""
    key, equals, value = _split(word)
    spelling = word.partition("=")[0].partition(":")[0].lower().replace("_", "-")
    if key in _STATED and (equals == "=" or spelling == key or alone):
        if re.match(_NOT, before) and not equals:
            return False
        flag = _flag(word, key, value)
        if key == "cyclic":
            stated["cyclic"] = flag
        else:
            stated["d_amino_acids"] = flag
    elif key == "disulfides" and (equals == "=" or value):
        stated["disulfides"] = stated.get("disulfides", []) + [_pair(one) for one in value.split(",") if one]
    elif key == "n-cap" and equals == "=":
        stated["n_cap"] = value
    elif key == "c-cap" and equals == "=":
        stated["c_cap"] = value
    elif key == "bond" and equals == "=":
        stated["bonds"] = stated.get("bonds", []) + [parse_bond(bond) for bond in value.split(",") if bond]
    elif key == "residues" and equals == "=" and ":" in value:
        pairs = dict(_residue(one) for one in value.split(",") if one)
        stated["residues"] = stated.get("residues", {}) | pairs
    elif alone and not equals and word.lower() in ("acetylated", "acetyl", "amidated", "amide", "c-amidated"):
        if "amid" in word.lower():
            stated["c_cap"] = "NH2"
        else:
            stated["n_cap"] = "ACE"
    elif equals == "=" and (meant := _close(spelling)):
        raise BetafoldError(f"{word[:60]!r} in the header: is {meant} meant?")
    else:
        return False
    return True


def _close(key: str) -> str | None:
    import difflib  # for a slip alone

    known = ("cyclic", "disulfides", "disulfide", "all-d", "n-cap", "c-cap", "bond", "residues")
    return next(iter(difflib.get_close_matches(key, known, n=1, cutoff=_ALIKE)), None)


def _pair(text: str) -> tuple[int, int]:
    match = re.match(_PAIR, text)
    return (int(match[1]), int(match[2])) if match else parse_pair(text)


def _flag(word: str, key: str, value: str) -> bool:
    if value.lower() not in (*_TRUE, *_FALSE):
        raise BetafoldError(f"{word[:60]!r} in the header: write {key}, or leave it out")
    return value.lower() in _TRUE


def _residue(text: str) -> tuple[int, str]:
    place, colon, code = text.partition(":")
    if not (colon and code and place.isascii() and place.isdigit() and len(place) < 5):
        raise BetafoldError(f"residues={text[:40]!r}: write position and CCD code, for example 5:AIB")
    return int(place), code.upper()


def chemistry_words(
    cyclic: bool,
    disulfides: Disulfides,
    d_amino_acids: bool,
    n_cap: str | None,
    c_cap: str | None,
    bonds: tuple[StatedBond, ...],
    residues: Mapping[int, str],
) -> str:
    """Return the words by which `header_chemistry` reads this chemistry; empty where there is none."""
    words = [
        "cyclic" if cyclic else "",
        "disulfides=" + ",".join(f"{i}-{j}" for i, j in disulfides) if disulfides else "",
        "all-d" if d_amino_acids else "",
        f"n-cap={n_cap}" if n_cap else "",
        f"c-cap={c_cap}" if c_cap else "",
        "bond=" + ",".join(map(str, bonds)) if bonds else "",
        "residues=" + ",".join(f"{place}:{code}" for place, code in residues.items()) if residues else "",
    ]
    return " ".join(word for word in words if word)
