"""Residues that a peptide may have, by their codes in the wwPDB Chemical Component Dictionary."""

from __future__ import annotations

_L = dict(
    zip(
        "ACDEFGHIKLMNPQRSTVWY",
        [
            *("ALA", "CYS", "ASP", "GLU", "PHE", "GLY", "HIS", "ILE", "LYS", "LEU"),
            *("MET", "ASN", "PRO", "GLN", "ARG", "SER", "THR", "VAL", "TRP", "TYR"),
        ],
        strict=True,
    )
)
_D = dict(
    zip(
        "ACDEFGHIKLMNPQRSTVWY",
        [
            *("DAL", "DCY", "DAS", "DGL", "DPN", "GLY", "DHI", "DIL", "DLY", "DLE"),
            *("MED", "DSG", "DPR", "DGN", "DAR", "DSN", "DTH", "DVA", "DTR", "DTY"),
        ],
        strict=True,
    )
)

_MODIFIED = """
A L: ABA DAB DPP MAA NAL ALN ALC HAC 02A      A D: ZAL 4J2      A -: AIB BAL DHA
V L: NVA MVA TBG CHG 6ZS                      V D: DIV
L L: NLE MLE XC0                              L D: DNE
I L: IML
F L: MEA HPE PGY PHI PFF 200 4BF 4CF HOX DI8 1MH PPN PBF     F D: PG9 D0C BF7 IOY
G -: SAR
P L: HYP HY3 YCP OIC
Q L: PCA
R L: CIR HRG DA2
K L: ORN ALY MLY MLZ M3L KCX                  K D: ORD
E L: CGU
S L: SEP HSE
T L: TPO ALO BMT
Y L: PTR TYS IYR TYI DAH
M L: MSE
C L: CSO CSD OCS LE1 SEC                      C D: LEI
O L: PYL
"""


def _known() -> dict[str, tuple[str, str]]:
    known = {code: (letter, "L" if letter != "G" else "") for letter, code in _L.items()}
    known |= {code: (letter, "D" if letter != "G" else "") for letter, code in _D.items()}
    parent, hand = "", ""
    for word in _MODIFIED.split():
        if word in ("L:", "D:", "-:"):
            hand = word[0].strip("-")
        elif len(word) == 1:
            parent = "K" if word == "O" else word
        else:
            known[word] = (parent, hand)
    return known


KNOWN_RESIDUES = _known()
"""CCD code -> one-letter code of the standard residue that stands for it, and its hand: ``L``, ``D`` or none."""
