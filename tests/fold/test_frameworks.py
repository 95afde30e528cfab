"""Cysteine frameworks against peptides of known bonds (UniProt and the papers that report them)."""

import re

import pytest

from betafold_mlx.fold.frameworks import known_frameworks, match_frameworks

PEPTIDES = [
    ("alpha-conotoxin ImI", "GCCSDPRCAWRC", "2-8 3-12"),
    ("alpha-conotoxin GI", "ECCNPACGRHYSC", "2-7 3-13"),
    ("alpha-conotoxin MII", "GCCSNPVCHLEHSNLC", "2-8 3-16"),
    ("chi-conotoxin MrIA", "NGVCCGYKLCHPC", "4-13 5-10"),
    ("mu-conotoxin GIIIA", "RDCCTPPKKCKDRQCKPQRCCA", "3-15 4-20 10-21"),
    ("epsilon-conotoxin TxVA", "ECCEDGWCCTAAP", "2-8 3-9"),
    ("omega-conotoxin MVIIA", "CKGKGAKCSRLMYDCCTGSCRSGKC", "1-16 8-20 15-25"),
    ("delta-conotoxin TxVIA", "WCKQSGEMCNLLDQNCCDGYCIVLVCT", "2-17 9-21 16-26"),
    ("huwentoxin-I", "ACKGVFDACTPGKNECCPNRVCSDKHKWCKWKL", "2-17 9-22 16-29"),
    ("EETI-II", "GCPRILMRCKQDSDCLAGCVCGPNGFCG", "2-19 9-21 15-27"),
    ("charybdotoxin", "EFTNVSCTTSKECWSVCQRLHNTSRGKCMNKKCRCYS", "7-28 13-33 17-35"),
    ("scyllatoxin", "AFCNLRMCQLSCRSLGLLGKCIGDKCECVKH", "3-21 8-26 12-28"),
    ("chlorotoxin", "MCMPCFTTDHQMARKCDDCCGGKGRGKCYGPQCLCR", "2-19 5-28 16-33 20-35"),
    ("HNP-1", "ACYCRIPACIAGERRYGTCIYQGRLWAFCC", "2-30 4-19 9-29"),
    ("HBD-1", "DHYNCVSSGGQCLYSACPIFTKIQGTCYRGKAKCCK", "5-34 12-27 17-35"),
    ("crotamine", "YKQCHKKGGHCFPKEKICLPPSSDFGKMDCRWRWKCCKKGSG", "4-36 11-30 18-37"),
    ("tachyplesin I", "KWCFRVCYRGICYRRCR", "3-16 7-12"),
    ("protegrin-1", "RGGRLCYCRRRFCVCVGR", "6-15 8-13"),
    ("endothelin-1", "CSCSSLMDKECVYFCHLDIIW", "1-15 3-11"),
    ("sarafotoxin S6b", "CSCKDMTDKECLYFCHQDVIW", "1-15 3-11"),
    ("apamin", "CNCKAPETALCARRCQQH", "1-11 3-15"),
    ("mast cell degranulating peptide", "IKCNCKRHVIKPHICRKICGKN", "3-15 5-19"),
    ("tertiapin", "ALCNCNRIIIPHMCWKKCGKK", "3-14 5-18"),
    ("guanylin", "PGTCEICAYAACTGC", "4-12 7-15"),
    ("heat-stable enterotoxin", "NSSNYCCELCCNPACTGCY", "6-11 7-15 10-18"),
    ("ShK", "RSCIDTIPKSRCTAFQCKHSMKYRLSFCRKTCGTC", "3-35 12-28 17-32"),
    ("hepcidin", "DTHFPICIFCCGCCHRSKCGMCCKT", "7-23 10-13 11-19 14-22"),
    ("orexin-A", "QPLPDCCRQKTCSCRLYELLHGAGNHAAGILTL", "6-12 7-14"),
    ("crambin", "TTCCPSIVARSNFNVCRLPGTPEALCATYTGCIIIPGATCPGDYAN", "3-40 4-32 16-26"),
    ("epidermal growth factor", "NSDSECPLSHDGYCLHDGVCMYIEALDKYACNCVVGYIGERCQYRDLKW", "6-20 14-31 33-42"),
    ("echistatin", "ECESGPCCRNCKFLKEGTICKRARGDDMDDYCNGKTCDCPRNPHKGPAT", "2-11 7-32 8-37 20-39"),
]
KALATA, KNOT = "GLPVCGETCVGGTCNTPGCTCSWPVCTRN", [(5, 19), (9, 21), (14, 26)]


@pytest.mark.parametrize(
    ("sequence", "bonds"), [row[1:] for row in PEPTIDES], ids=[row[0] for row in PEPTIDES]
)
def test_known_peptides_are_bonded_as_in_nature(sequence, bonds):
    native = tuple(tuple(int(end) for end in pair.split("-")) for pair in bonds.split())
    assert list(match_frameworks(sequence)) == [native]


@pytest.mark.parametrize("turn", range(0, len(KALATA), 3))
def test_a_ring_is_read_from_any_residue(turn):
    size = len(KALATA)
    moved = [sorted((end - 1 - turn) % size + 1 for end in pair) for pair in KNOT]
    native = tuple(sorted((i, j) for i, j in moved))
    found = match_frameworks(KALATA[turn:] + KALATA[:turn], cyclic=True)
    assert "cyclotide" in [framework.name for framework in found[native]]


def test_an_open_chain_is_read_from_its_first_cysteine():
    assert match_frameworks(KALATA[15:] + KALATA[:15]) == {}


def test_each_framework_bonds_all_its_cysteines_once():
    table = known_frameworks()
    assert len(table) > 50 and len({framework.name for framework in table}) == len(table)
    for framework in table:
        cysteines = len(re.sub(r"\[.*?\]", "", framework.pattern.pattern).replace("^", "").split("C")) - 1
        assert sorted(end for bond in framework.bonds for end in bond) == list(range(cysteines))
        assert framework.source


@pytest.mark.parametrize("sequence", ["", "GIGKFL", "C", "CC", "GCCSDPRCAWR", "ACACACACACACA"])
def test_nothing_known(sequence):
    assert match_frameworks(sequence) == {}
