"""What is done to a residue, as in ``K[Acetyl]`` or ``Ser(PO3H2)``, and the residue that comes of it."""

from __future__ import annotations

from functools import cache

from betafold_mlx.peptide.names import name_key

# Residue, new residue, and names: those that peptide chemists use, and those of Unimod (unimod.org) with their numbers.
_CHANGES = """
LYS ALY ac acetyl acetylation unimod:1
LYS MLZ me methyl methylation unimod:34
LYS MLY me2 dimethyl dimethylation unimod:36
LYS M3L me3 trimethyl trimethylation unimod:37
LYS KCX carboxy carboxylation unimod:299
LYS LYZ oh hydroxy hydroxylation oxidation unimod:35
LYS PRK propionyl unimod:58
LYS BTK butyryl unimod:1289
LYS KCR crotonyl cr unimod:1363
LYS MYK myr myristoyl unimod:45
SER SEP p phospho phosphorylation po3h2 h2po3 po3 unimod:21
THR TPO p phospho phosphorylation po3h2 h2po3 po3 unimod:21
TYR PTR p phospho phosphorylation po3h2 h2po3 po3 unimod:21
TYR TYS sulfo sulfation so3h so3 unimod:40
TYR IYR 3i iodo unimod:129
TYR TYI i2 35i2 diiodo unimod:130
TYR 0A1 me ome
CYS CSO oh hydroxy oxidation unimod:35
CYS CSD so2h dioxidation unimod:425
CYS OCS so3h trioxidation unimod:345
CYS YCM cam carbamidomethyl ch2conh2 unimod:4
CYS P1L palm palmitoyl unimod:47
CYS BCS bzl
CYS SEC delta:s(-1)se(1) unimod:162
MET SME o oxidation sulfoxide unimod:35
MET OMT o2 dioxidation sulfone unimod:425
MET MSE delta:s(-1)se(1) unimod:162
MET NLE met->nle
PRO HYP oh hydroxy hydroxylation oxidation 4oh unimod:35
ASP BHD oh hydroxy hydroxylation oxidation unimod:35
GLU CGU carboxy carboxylation unimod:299
GLU PCA glu->pyroglu pyroglu unimod:27
GLN PCA gln->pyroglu pyroglu unimod:28
ASN ASP deamidated unimod:7
GLN GLU deamidated unimod:7
ARG CIR deamidated citrullination cit unimod:7
ARG NRG no2 nitro unimod:354
HIS HIC 3me taume
TRP BTR br 6br bromo unimod:340
TRP 6CW 6cl
TRP TRX 6oh
TRP 4PQ 5oh
PHE PFF 4f pf
PHE PF5 f5
PHE 200 4cl pcl cl
PHE FCL 3cl
PHE PHI 4i
PHE 4BF 4br br
PHE 4CF 4cn
PHE PPN 4no2 no2
PHE HOX 4nh2 nh2
GLY 2AG allyl
"""


@cache
def _changes() -> dict[tuple[str, str], str]:
    rows = (line.split() for line in _CHANGES.strip().splitlines())
    return {(code, name_key(name)): new for code, new, *names in rows for name in names}


def changed_residue(code: str, change: str) -> str | None:
    """Return the code of a residue after a modification by its name, or None where that is not known."""
    key = name_key(change).removeprefix("u:")
    key = f"unimod:{key}" if key.isdigit() and change.lower().startswith("u:") else key
    return _changes().get((code, key))
