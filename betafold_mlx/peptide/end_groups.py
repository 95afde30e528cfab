"""Groups at the ends of a peptide, by the names that people give them."""

from __future__ import annotations

import re

from betafold_mlx.errors import BetafoldError

FREE = ""
"""A free end: the amine or the acid itself."""

CHLOROACETYL = "ClAc"
"""What stands for a chloroacetyl group until the thiol that it bonds to is found (`betafold_mlx.peptide.cap_bonds`)."""

N_GROUPS = {
    "ACE": "ace ac acetyl acetylation ch3co unimod:1",
    "FOR": "for formyl hco formylation unimod:122",
    "MYR": "myr myristoyl myristoylation unimod:45",
    CHLOROACETYL: "clac clch2co ch2co coch2 chloroacetyl 2-chloroacetyl clacetyl",
    FREE: "h h2n nh2 nh3+ none",
}
C_GROUPS = {
    "NH2": "nh2 nhe conh2 amide am amidated amidation amid unimod:2",
    "NME": "nme nma nhme nhch3 nhmethyl methylamide nmet",
    FREE: "oh cooh co2h coo acid none",
}
"""CCD codes of the groups before the first residue and after the last, and their names in lower case."""

_UNKNOWN = {
    "n": "biotin btn fitc fam 5fam tamra dansyl dns rhodamine cy5 cy3 fmoc boc z cbz bz benzoyl suc meosuc tfa palm "
    "palmitoyl palmitic pam stearoyl lauroyl octanoyl hexanoyl piv mpa dota nota abz mca dabcyl azido alkyne",
    "c": "ome oet obzl obn otbu pna amc afc cho al aldehyde cmk fmk ol nhet nhnh2 n3h2 biotin edans dnp sr sbzl "
    "thioester hydrazide",
}


def end_group(end: str, name: str) -> str | None:
    """Return the CCD code of a group by its name, `FREE` for a free end, or None for what is no name of a group.

    The end is ``n`` or ``c``; the name is as it is written, in any case, with or without brackets. BetafoldError for
    a group that is known by name, and cannot be used.
    """
    bare = re.sub(r"[-\s]", "", name.strip("()[]{}")).lower()
    bare = bare.removeprefix("u:") if bare.startswith("u:") else bare
    for code, names in (N_GROUPS if end == "n" else C_GROUPS).items():
        if bare in names.split():
            return code
    if bare in _UNKNOWN[end].split():
        known = " or ".join(code for code in (N_GROUPS if end == "n" else C_GROUPS) if code)
        raise BetafoldError(f"{end}-cap {name[:40]!r} is not in the table: leave it out, or write {known}")
    return None


def cap_code(end: str, name: str | None) -> str | None:
    """Return the CCD code of a stated cap by its name, None for a free end; BetafoldError for one that is not known."""
    if name is None or name.lower() in ("none", "free", {"n": "h", "c": "oh"}[end]):
        return None
    code = end_group(end, name)
    if not code:
        known = ", ".join(code for code in (N_GROUPS if end == "n" else C_GROUPS) if code)
        raise BetafoldError(f"{end}-cap {name[:40]!r} is not known: write {known} or none")
    return code
