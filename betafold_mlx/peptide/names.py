"""Names that chemists give residues, and the codes that they mean in the wwPDB Chemical Component Dictionary (CCD)."""

from __future__ import annotations

import re
from functools import cache

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import D_THREE_LETTER, THREE_LETTER

# Code, the name that `three_letter` writes, and others; case, hyphens, spaces and underscores do not matter.
_NAMES = """
ALA Ala alanine
CYS Cys cysteine
ASP Asp aspartate asparticacid
GLU Glu glutamate glutamicacid
PHE Phe phenylalanine
GLY Gly glycine
HIS His histidine
ILE Ile isoleucine
LYS Lys lysine
LEU Leu leucine
MET Met methionine
ASN Asn asparagine
PRO Pro proline
GLN Gln glutamine
ARG Arg arginine
SER Ser serine
THR Thr threonine
VAL Val valine
TRP Trp tryptophan
TYR Tyr tyrosine
AIB Aib aminoisobutyricacid aminoisobutyrate alphamealanine alphameala amea ameala
6ZS Iva isovaline
ABA Abu aminobutyricacid 2abu
AC5 Ac5c cycloleucine
SEC Sec selenocysteine
OCS Cya cysteicacid
YCM Cam carbamidomethylcysteine
LE1 Pen penicillamine
BHD hydroxyaspartate
CGU Gla carboxyglutamate carboxyglutamicacid gammacarboxyglutamicacid
HPE hPhe hph homophe homophenylalanine hf
004 Phg phenylglycine
NAL 2-Nal nal nal2 nal(2) naphthylalanine 2naphthylalanine
ALN 1-Nal nal1 nal(1) 1naphthylalanine
1MH 3-Pal pal pal(3) 3pyridylalanine 3pya pya
TIH Thi 2thi thienylalanine
PFF 4F-Phe pfphe fphe 4fluorophe 4fluorophenylalanine phe(4f) phe(pf)
F2F 34F2-Phe
WFP 35F2-Phe
PF5 F5-Phe pentafluorophe phe(f5)
200 4Cl-Phe cpa clphe pclphe 4chlorophe phe(4cl) phe(pcl)
FCL 3Cl-Phe phe(3cl)
PHI 4I-Phe iphe piphe phe(4i) phe(pi)
4BF 4Br-Phe brphe pbrphe phe(4br)
3CF 3CN-Phe
4CF 4CN-Phe pcnphe cnphe phe(4cn)
PPN 4NO2-Phe no2phe nitrophe phe(4no2) phe(no2) phe(pno2)
HOX 4NH2-Phe aph aminophe phe(4nh2)
4AF 4Ac-Phe pacphe acetylphe
PBF Bpa benzoylphenylalanine
SAR Sar sarcosine nmeglycine
HIC 3Me-His his(3me) his(taume)
ORN Orn ornithine
DAB Dab a2bu diaminobutyricacid
DPP Dap dpr a2pr diaminopropionicacid diaminopropanoicacid
ALY AcLys acetyllysine kac
MLZ methyllysine
MLY Me2-Lys dimethyllysine
M3L Me3-Lys trimethyllysine
KCX carboxylysine
LYZ Hyl hydroxylysine
PYL Pyl pyrrolysine
ALC Cha cyclohexylalanine
2ML aMeLeu alphameleu
HL2 hydroxyleucine
2AG Alg allylglycine agl gly(allyl) allylgly
LPH Pra propargylglycine
MSE Mse semet selenomethionine
SME Mso methioninesulfoxide
OMT methioninesulfone
NLE Nle norleucine
NVA Nva norvaline
AHP Ahp aminoheptanoicacid
HYP Hyp hydroxyproline 4hyp trans4hyp
HZP cis-Hyp cis4hyp
FP9 4F-Pro flp
MP8 4Me-Pro
YCP Pip pipecolicacid pipecolate
DI8 Tic tetrahydroisoquinoline3carboxylicacid
OIC Oic
PCA pGlu pyr glp pyroglu pyroe pyroglutamate pyroglutamicacid <glu <e <gln <q pe
CIR Cit citrulline
HRG hArg har homoarg homoarginine hr
2MR sdma
DA2 adma
SEP pSer ps phosphoser phosphoserine
HSE hSer homoser homoserine
TPO pThr pt phosphothr phosphothreonine
ALO aThr allothr allothreonine
BMT MeBmt bmt mebmt(e)
TBG Tle tertleucine tertleu tbugly tbu-gly
CHG Chg cyclohexylglycine
KYN Kyn kynurenine
BTR 6Br-Trp bromotrp bromotryptophan
6CW 6Cl-Trp
4PQ 5OH-Trp 5htp
TRX 6OH-Trp
PTR pTyr py phosphotyr phosphotyrosine
TYS sTyr sy sulfotyr sulfotyrosine tyrs
TYI I2-Tyr diiodotyr diiodotyrosine
IYR 3I-Tyr iodotyr iodotyrosine
YOF 3F-Tyr
0A1 OMe-Tyr tyrme methyltyrosine
MTY mTyr metatyrosine
DI7 Dmt 26dimethyltyr 2,6dimethyltyr dimethyltyr dimethyltyrosine
0XL Deg diethylglycine
Q78 3-Thi 3thienylalanine
4OG Bta 3bta benzothienylalanine
BIF Bip biphenylalanine 4phenylphe phe(4ph)
UY7 D-Hyp
D0C D-4Cl-Phe
2TL D-aThr
28J D-aIle dalloile
KCY D-Hcy
GHP D-Hpg hpg
"""

# L residue and its D form, beyond the standard ones; residue and its N-methyl form.
_D_PAIRS = """
ABA DBB 6ZS DIV NLE DNE ORN ORD 004 PG9 NAL 4J2 ALC ZAL LE1 LEI LPH F9D ALO 2TL MAA 33X HYP UY7 200 D0C DPP 2RA DAB 4FO
"""
_N_METHYL_PAIRS = """
GLY SAR ALA MAA CYS NCY PHE MEA HIS E9V ILE IML LEU MLE GLN GNC GLU EME ARG MMO VAL MVA TRP E9M TYR YNM DAL 33X DNE DNM
DSN DSE
"""

_BACKBONE = "its backbone is not that of an alpha amino acid"
_SEVERAL = "it stands for several residues: write the one that is meant"
_REFUSED = {
    _BACKBONE: "bal bala betaala betaalanine aca ahx 6ahx eahx gaba gammaabu sta statine peg2 aeea minipeg ava 5ava "
    "gammaglu gglu isoglu isoasp gammad",
    _SEVERAL: "asx b glx z xle j xaa x unk",
}


def _pairs(text: str) -> dict[str, str]:
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


_D_FORMS = _pairs(_D_PAIRS) | {
    THREE_LETTER[letter]: D_THREE_LETTER[letter] for letter in THREE_LETTER if letter != "G"
}
_N_METHYL = _pairs(_N_METHYL_PAIRS)


def name_key(name: str) -> str:
    """Return a name without what does not matter: case, hyphens, spaces, underscores, and Greek letters."""
    for greek, latin in (("α", "alpha"), ("β", "b"), ("γ", "gamma"), ("ε", "e"), ("τ", "tau")):
        name = name.replace(greek, latin)
    return re.sub(r"[-_ ,]", "", name).lower()


@cache
def _codes() -> dict[str, str]:
    codes: dict[str, str] = {}
    for line in _NAMES.strip().splitlines():
        code, *names = line.split()
        codes |= {name_key(name): code for name in names}
    return codes


@cache
def preferred_names() -> dict[str, str]:
    """Return the name of each residue in three-letter notation: as chemists write it, or its code."""
    names = {code: code for code in RESIDUES}
    names |= {line.split()[0]: line.split()[1] for line in _NAMES.strip().splitlines()}
    for known, prefix in ((_N_METHYL, "NMe"), (_D_FORMS, "D"), (_N_METHYL, "NMe")):
        named = {code: new for code, new in known.items() if names[code] != code and names[new] == new}
        names |= {new: f"{prefix}-{names[code]}" for code, new in named.items()}
    return names


def d_form(code: str) -> str | None:
    """Return the code of the D form of a residue: its own where it has no hand, None where the table has none."""
    return _D_FORMS.get(code) if RESIDUES[code].hand == "L" else code


def letter_code(letter: str) -> str | None:
    """Return the code of a residue by its letter, lower case for the D form."""
    names = THREE_LETTER if letter.isupper() else D_THREE_LETTER
    return names.get(letter.upper()) if letter.isascii() else None


def residue_code(name: str) -> str | None:
    """Return the CCD code of a residue by any of its names, or None.

    BetafoldError for a name that is known, and no residue of this package.
    """
    name = name.strip()
    if name in RESIDUES:
        return name
    if match := re.fullmatch(r"(?:[mM]e|NMe-)([A-Z])", name):  # HELM's meA: MEA of the CCD is N-methyl-Phe
        return _N_METHYL.get(THREE_LETTER.get(match[1], ""))
    if match := re.fullmatch(r"(?:d-?|D-)([A-Z])", name):
        return letter_code(match[1].lower())
    if len(name) == 1:
        return letter_code(name) if name.islower() else None
    return _code_by_key(name_key(name), name)


def _code_by_key(key: str, name: str) -> str | None:
    codes = _codes()
    if found := codes.get(key) or (key.upper() if key.upper() in RESIDUES else None):
        return found if found in RESIDUES else None
    why = next((why for why, names in _REFUSED.items() if key in names.split()), None)
    why = _BACKBONE if re.match(r"b(eta)?[23]-?h?[a-z]|b(eta)?h[a-z]{3}$", key) else why
    if why:
        raise BetafoldError(f"{name[:40]!r} cannot be used: {why}")
    if key.startswith("dl") and codes.get(key[2:]):
        raise BetafoldError(f"{name[:40]!r} is a mixture: write D or L")
    if key.startswith("l") and (base := _base(key[1:], name)):
        return base
    if key.startswith("d") and (base := _base(key[1:], name)):
        if not RESIDUES[base].hand:
            raise BetafoldError(f"{name[:40]!r}: {base} has no hand: leave out the D")
        new = None if RESIDUES[base].hand != "L" else d_form(base)
        if new is None:
            raise BetafoldError(f"{name[:40]!r}: the D form of {base} is not in the table")
        return new
    for start in ("nalphame", "nme", "n(me)", "me"):
        if key.startswith(start) and (base := _base(key[len(start) :], name)):
            if base not in _N_METHYL:
                raise BetafoldError(f"{name[:40]!r}: N-methyl {base} is not in the table")
            return _N_METHYL[base]
    return None


def _base(key: str, name: str) -> str | None:
    """Return the code of what stands behind a prefix: a name of three letters or more, or another prefix."""
    return _code_by_key(key, name) if len(key) > 2 else None


def nearest_name(name: str) -> str:
    """Return the known name that is most like one that is not known, as the end of a sentence; empty where none is."""
    import difflib

    known = {name_key(code): code for code in RESIDUES} | {
        key: preferred_names()[code] for key, code in _codes().items()
    }
    known |= {name_key(preferred): preferred for preferred in preferred_names().values()}
    wanted = name_key(name[:40])
    alike = difflib.get_close_matches(wanted, known, n=9, cutoff=0.6)
    nearest = max(
        alike, key=lambda key: (difflib.SequenceMatcher(None, key, wanted).ratio(), -len(key)), default=None
    )
    return f": is {known[nearest]} meant?" if nearest else ""
