"""What is asked of a generator: read right, and refused in one line where it makes no sense."""

from dataclasses import replace

import numpy as np
import oracles
import pytest
from generate_fakes import chain_of
from structure_helpers import cif, edit, ideal, pdb, rows, without
from synthetic import HELIX, STRAND

from betafold_mlx.errors import BetafoldError
from betafold_mlx.generate.prompt import (
    check_motif,
    check_points,
    motif_of,
    read_motif,
    read_points,
    secondary_text,
)

SEQUENCE = "GCNAPFCKGYWCA"


def one_line(error):
    text = str(error.value)
    assert "\n" not in text and len(text) < 300
    return text


@pytest.mark.parametrize(
    "text",
    [
        "0,0,0\n1,2,3.5\n-4,5e0,6\n",
        "x,y,z\r\n0,0,0\r\n 1, 2,3.5\r\n\r\n-4,5,6",
        "\ufeff0,0,0\n1,2,3.5\n-4,5,6",
    ],
)
def test_points_are_read(tmp_path, text):
    path = tmp_path / "points.csv"
    path.write_bytes(text.encode())
    shape = read_points(path)
    assert shape.points.tolist() == [[0, 0, 0], [1, 2, 3.5], [-4, 5, 6]] and shape.points.dtype == np.float32


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0,0,0\nnan,1,1\n5,5,5\n", "line 2"),
        ("nan,nan,nan\n0,0,0\n5,5,5\n9,9,9\n", "line 1"),
        ("0,0,0\ninf,1,1\n5,5,5\n", "line 2"),
        ("0,0,0\n", "has 1 point:"),
        ("", "has 0 points"),
        ("x,y,z\n", "has 0 points"),
        ("0,0,0\n4,0,0\n", "has 2 points"),
        ("".join(f"{4 * n},0,0\n" for n in range(9)), "more than 8 points"),
        ("hello\n0,0,0\n4,0,0\n8,0,0\n", "line 1"),
        ("0,0,0\nx,y,z\n4,0,0\n8,0,0\n", "line 2"),
        ("0,0\n4,0\n8,0\n", "line 1"),
        ("0,0,0,0\n4,0,0,0\n8,0,0,0\n", "line 1"),
        ("0,0,0\n4,0,0\n0,0,0.1\n", "points 1 and 3 are the same"),
        ("0,0,0\n4,0,0\n1e9,0,0\n", "10000 A or more"),
    ],
)
def test_points_that_are_no_shape_are_refused(tmp_path, text, said):
    path = tmp_path / "points.csv"
    path.write_text(text)
    with pytest.raises(BetafoldError) as error:
        read_points(path)
    assert said in one_line(error) and "points.csv" in str(error.value)


def test_files_that_hold_no_text_are_refused(tmp_path):
    path = tmp_path / "points.csv"
    with pytest.raises(BetafoldError, match="points"):
        read_points(path)
    path.write_bytes(b"\xff\xfe\x00\x01,1,2\n")
    with pytest.raises(BetafoldError) as error:
        read_points(path)
    one_line(error)
    path.write_bytes(b"0,0,0\n" * 200_000)
    with pytest.raises(BetafoldError, match="more than 8 points"):
        read_points(path)


def test_a_shape_must_be_within_reach(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("0,0,0\n30,0,0\n60,0,0\n")
    shape = read_points(path)
    check_points(shape, 17)  # 60.8 A
    with pytest.raises(BetafoldError, match=r"60 A apart along their line, and 16 residues reach 57 A"):
        check_points(shape, 16)
    with pytest.raises(BetafoldError, match="3 points: more than the 2"):
        check_points(shape, 2)


def write(tmp_path, records, name="motif.pdb"):
    text = pdb(records) if name.endswith("pdb") else cif(records)
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["motif.pdb", "motif.cif"])
@pytest.mark.parametrize("spec", ["A:5-10", "5-10"])
def test_a_motif_is_read(tmp_path, name, spec):
    atoms = ideal(SEQUENCE)
    motif = read_motif(write(tmp_path, rows(SEQUENCE, atoms, start=1), name), spec, 3)
    assert motif.start == 2 and len(motif) == 6 and motif.source == f"{name} {spec}"
    expected = atoms[4:10, :4].reshape(-1, 3)
    assert oracles.kabsch(motif.coordinates.reshape(-1, 3), expected)[2] < 2e-3
    assert oracles.kabsch(motif.trace, atoms[4:10, 1])[2] < 2e-3
    assert np.isnan(motif.torsions[0, 0]) and np.isnan(motif.torsions[-1, 1:]).all()
    assert np.isnan(motif.torsions).sum() == 3
    np.testing.assert_allclose(motif.torsions[1:-1, :2], np.tile(HELIX[:2], (4, 1)), atol=0.15)


def test_the_torsions_of_a_motif_build_it():
    rng = np.random.default_rng(0)
    torsions = np.concatenate([np.tile(STRAND, (6, 1)), np.tile(HELIX, (6, 1))])
    native = chain_of(torsions + 0.1 * rng.normal(size=torsions.shape), "G")[:, :4]
    native = native + 0.05 * rng.normal(size=native.shape)
    motif = motif_of(native, 0, "x")
    built = oracles.build_backbone(np.nan_to_num(motif.torsions, nan=3.1), "A" * 12)
    assert oracles.kabsch(built[:, :3].reshape(-1, 3), native[:, :3].reshape(-1, 3))[2] < 0.35


def broken(records):
    """The chain with all behind residue 7 moved away."""
    return [
        replace(row, xyz=(row.xyz[0], row.xyz[1], row.xyz[2] + 5)) if row.number > 7 else row
        for row in records
    ]


@pytest.mark.parametrize(
    ("change", "spec", "said"),
    [
        (broken, "A:5-10", "the chain is broken between 7 and 8"),
        (lambda records: without(records, 7), "A:5-10", "the chain is broken between 6 and 8"),
        (lambda records: without(records, 7, "N"), "A:5-10", "residue 7 CYS"),
        (lambda records: edit(records, 7, residue="XYZ"), "A:5-10", "residue 7 XYZ"),
        (list, "B:5-10", "no protein chain 'B'"),
        (list, "A:5-20", "no residue 20 in chain A, which runs from 1 to 13"),
        (list, "A:0-9", "no residue 0"),
        (list, "A:10-5", "stands behind"),
        (list, "A:5-7", "3 residues: a motif has 4 or more"),
        (list, "A5", "write chain and residues, as A:5-12"),
        (list, "A:x-y", "write chain and residues"),
    ],
)
def test_what_is_no_motif_is_refused(tmp_path, change, spec, said):
    path = write(tmp_path, change(rows(SEQUENCE, ideal(SEQUENCE), start=1)))
    with pytest.raises(BetafoldError) as error:
        read_motif(path, spec, 1)
    assert said in one_line(error)


def test_of_two_chains_one_must_be_named(tmp_path):
    records = rows(SEQUENCE, ideal(SEQUENCE)) + rows(SEQUENCE, ideal(SEQUENCE) + 30, chain="B")
    path = write(tmp_path, records)
    with pytest.raises(BetafoldError, match=r"has the chains A, B: say which, as A:5-10"):
        read_motif(path, "5-10", 1)
    assert len(read_motif(path, "B:5-10", 1)) == 6
    with pytest.raises(BetafoldError, match="counted from 1"):
        read_motif(path, "A:5-10", 0)


def test_a_motif_must_lie_inside_the_chain(tmp_path):
    motif = motif_of(ideal("A" * 8)[:, :4], 4, "m")
    check_motif(motif, 12)
    with pytest.raises(
        BetafoldError, match=r"at 5 would end at 12, behind the end of the chain of 11: --at can be 1 to 4"
    ):
        check_motif(motif, 11)
    with pytest.raises(BetafoldError, match="has 8 residues, and the chain 7"):
        check_motif(motif, 7)


def test_ranges_of_secondary_structure():
    assert secondary_text(["2-6"], ["8-11"], 12) == "-HHHHH-EEEE-"
    assert secondary_text(["1-5,8-12"], [], 12) == "HHHHH--HHHHH"
    assert secondary_text([], [], 12) is None
    for helices, strands, said in (
        (["3"], [], "write a range"),
        (["a-b"], [], "write a range"),
        (["0-5"], [], "residues run from 1 to 12"),
        ([], ["8-13"], "residues run from 1 to 12"),
        (["8-5"], [], "the lower first"),
        (["3-6"], [], "5 residues or more"),
        ([], ["3-5"], "4 residues or more"),
        (["1-6"], ["6-12"], "--strand 6-12 overlaps"),
    ):
        with pytest.raises(BetafoldError) as error:
            secondary_text(helices, strands, 12)
        assert said in one_line(error)
