import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.fasta import count_fasta, parse_fasta, read_fasta
from betafold_mlx.peptide.sequence import ALPHABET, Peptide

SETTINGS = settings(derandomize=True, deadline=None, max_examples=200)
sequences = st.text(alphabet=ALPHABET, min_size=4, max_size=32)


def records(text):
    return list(parse_fasta(text.splitlines()))


def test_fasta_records():
    first, second = records(">one a peptide\nGIGK\n  fLHS \n; note\n\n>two\nACDE")
    assert (first.id, first.description, first.text, first.line) == ("one", "a peptide", "GIGKfLHS", 1)
    assert (second.id, second.text, second.line) == ("two", "ACDE", 6)


def test_each_line_before_the_first_header_is_a_record():
    first, second, third = records("GIGK\n\nFLHS\n>x\nACDE\nFGHI")
    assert (first.id, first.text, first.line) == ("", "GIGK", 1)
    assert (second.id, second.text, second.line) == ("", "FLHS", 3)
    assert (third.id, third.text) == ("x", "ACDEFGHI")


def test_lines_of_names_do_not_run_together():
    (record,) = records(">x\nGly Ile Gly\nLys-Phe Leu")
    assert record.peptide() == Peptide.of("GIGKFL")


def test_fasta_headers_without_sequence_stay_as_records():
    assert [record.text for record in records(">a\n>b\nACDE\n>c")] == ["", "ACDE", ""]
    assert records("") == [] and records("\n \n") == []


def test_fasta_chemistry():
    (record,) = records(">x kalata cyclic disulfides=1-15,17-5,10-22\nCGETCFGGTCNTPGCSCTWPICTRDGLPV")
    assert record.peptide() == Peptide.of(record.text, True, ((1, 15), (5, 17), (10, 22)))
    (plain,) = records(">x about cyclic_things disulfide bonds\nCGETCFGG")
    assert plain.peptide() == Peptide.of("CGETCFGG")
    (bad,) = records(">x disulfides=1:5\nCGETCFGG")
    with pytest.raises(BetafoldError, match="I-J"):
        bad.peptide()


def test_fasta_states_hand_and_caps():
    (record,) = records(">x magainin all-d n-cap=ace c-cap=NH2\nGIGKFLHSAKKF")
    assert record.peptide() == Peptide.of("GIGKFLHSAKKF", False, (), True, "ACE", "NH2")
    (ring,) = records(">x cyclic n-cap=ACE\nGIGKFLHSAKKF")
    with pytest.raises(BetafoldError, match="no ends to cap"):
        ring.peptide()


def test_a_tab_ends_the_id_and_chemistry_adds_up():
    (record,) = records(">x\tcyclic disulfides=1-15 disulfide=17-5\nCGETCFGGTCNTPGCSCTWPICTRDGLPV")
    assert record.id == "x"
    assert record.peptide() == Peptide.of(record.text, True, ((1, 15), (5, 17)))


def test_windows_line_ends_and_byte_order_mark():
    (record,) = list(parse_fasta(["\ufeff>a\r\n", "ACDE\r\n"]))
    assert (record.id, record.text) == ("a", "ACDE")


def test_binary_is_refused():
    with pytest.raises(BetafoldError, match="binary"):
        records(">a\nAC\0DE")


@SETTINGS
@given(st.lists(st.tuples(st.text(alphabet="abc123", min_size=1), sequences), max_size=6))
def test_fasta_round_trip(entries):
    text = "".join(f">{name} words\n{sequence[:10]}\n{sequence[10:]}\n" for name, sequence in entries)
    assert [(r.id, r.text) for r in records(text)] == entries


def test_a_file_plain_or_gzipped_and_what_is_whole_of_a_damaged_one(tmp_path):
    text = "".join(f">r{n}\nACDE{'G' * (n % 20)}\n" for n in range(3000)).encode()
    (tmp_path / "a").write_bytes(text)
    (tmp_path / "b").write_bytes(gzip.compress(text))
    (tmp_path / "c").write_bytes(gzip.compress(text)[:-9])
    (tmp_path / "d").write_bytes(b">odd\xff name\nACDE\n")
    whole = list(read_fasta(str(tmp_path / "a")))
    assert len(whole) == 3000 and list(read_fasta(str(tmp_path / "b"))) == whole
    damaged = read_fasta(str(tmp_path / "c"))
    assert next(damaged) == whole[0]
    with pytest.raises(BetafoldError, match="truncated or damaged gzip file"):
        list(damaged)
    assert [record.text for record in read_fasta(str(tmp_path / "d"))] == ["ACDE"]
    with pytest.raises(BetafoldError, match="cannot read"):
        list(read_fasta(str(tmp_path / "nowhere")))
    counts = [count_fasta(str(tmp_path / name)) for name in ("a", "b", "c", "nowhere")]
    assert [*counts, count_fasta("-")] == [3000, 3000, None, None, None]
