import gzip
from dataclasses import replace

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structure_helpers import Row, cif, edit, ideal, pdb, ring, rows, without

from betafold_mlx import Predictor
from betafold_mlx.errors import BetafoldError
from betafold_mlx.structure.backbone import backbone_problem
from betafold_mlx.structure.reader import find_structure_files, read_structure

SEQUENCE = "GIGKFLHSAKKF"
HELIX = ideal(SEQUENCE)
ROWS = rows(SEQUENCE, HELIX)


def read(tmp_path, text, name="1abc.pdb", **options):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_structure(path, **options)


def single(structure):
    assert len(structure.backbones) == 1
    return structure.backbones[0]


def assert_helix(backbone, atoms=HELIX, places=5e-4):
    assert backbone.coordinates.dtype == np.float32
    np.testing.assert_allclose(backbone.coordinates, atoms[:, :4], atol=places)


@pytest.mark.parametrize("form", [pdb, cif])
@pytest.mark.parametrize("zipped", [False, True])
def test_plain_chain(tmp_path, form, zipped):
    name = ("1abc.pdb" if form is pdb else "1abc.cif") + (".gz" if zipped else "")
    text = form(ROWS).encode()
    structure = read(tmp_path, gzip.compress(text) if zipped else text, name)
    backbone = single(structure)
    assert (backbone.id, backbone.sequence, backbone.kind) == ("1abc_A", SEQUENCE, "free")
    assert (backbone.cyclic, backbone.disulfides, backbone.method, backbone.resolution) == (
        False,
        (),
        None,
        None,
    )
    assert structure.dropped == []
    assert_helix(backbone)


def test_contents_tell_the_format_not_the_name(tmp_path):
    assert single(read(tmp_path, cif(ROWS), "1abc.pdb")).sequence == SEQUENCE
    assert single(read(tmp_path, pdb(ROWS), "1abc.cif")).sequence == SEQUENCE


def test_header_gives_code_method_and_resolution(tmp_path):
    header = (
        f"{'HEADER    ANTIMICROBIAL PROTEIN':<50}{'09-APR-02   2MAG':<30}\n"
        f"{'EXPDTA    X-RAY DIFFRACTION':<80}\n{'REMARK   2 RESOLUTION.    1.45 ANGSTROMS.':<80}"
    )
    backbone = single(read(tmp_path, pdb(ROWS, header), "pdb9xyz.ent"))
    assert (backbone.id, backbone.pdb, backbone.chain) == ("9xyz_A", "2mag", "A")
    assert (backbone.method, backbone.resolution) == ("X-RAY DIFFRACTION", 1.45)


def alternatives(number, second, second_name=None):
    """Give one residue conformers A (as it is) and B (0.5 A away), atom by atom."""
    out = []
    for row in ROWS:
        if row.number != number:
            out.append(row)
            continue
        moved = tuple(x + 0.5 for x in row.xyz)
        out.append(replace(row, altloc="A", occupancy=round(1 - second, 2)))
        out.append(replace(row, altloc="B", occupancy=second, xyz=moved, residue=second_name or row.residue))
    return out


@pytest.mark.parametrize("form", [pdb, cif])
@pytest.mark.parametrize(("second", "shift"), [(0.4, 0.0), (0.6, 0.5), (0.5, 0.0)])
def test_altloc_of_highest_occupancy_then_first_label(tmp_path, form, second, shift):
    backbone = single(read(tmp_path, form(alternatives(5, second))))
    expected = HELIX.copy()
    expected[4] += shift
    assert_helix(backbone, expected)


def test_one_conformer_for_all_atoms_of_a_residue(tmp_path):
    # B has the higher occupancy but no O: its N must not be mixed with the O of A.
    records = [row for row in alternatives(5, 0.6) if not (row.atom == "O" and row.altloc == "B")]
    assert_helix(single(read(tmp_path, pdb(records))))


@pytest.mark.parametrize("form", [pdb, cif])
@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize(("second", "letter"), [(0.3, "F"), (0.7, "Y")])
def test_microheterogeneity_takes_one_residue(tmp_path, form, interleaved, second, letter):
    records = alternatives(5, second, "TYR")  # atom by atom
    if not interleaved:
        records.sort(key=lambda row: (row.number, row.altloc))
    backbone = single(read(tmp_path, form(records)))
    assert backbone.sequence == SEQUENCE[:4] + letter + SEQUENCE[5:]


@pytest.mark.parametrize("labelled", [None, 5, 6])
def test_repeated_number_without_alternatives_is_no_microheterogeneity(tmp_path, labelled):
    records = edit(ROWS, labelled, altloc="A") if labelled else ROWS
    records = [replace(row, number=5) if row.number == 6 else row for row in records]
    assert_helix(single(read(tmp_path, pdb(records))))


def test_insertion_codes_keep_the_chain_whole(tmp_path):
    records = ROWS
    for number, (new, code) in {5: (4, "A"), 6: (4, "B"), 7: (5, "")}.items():
        records = [
            replace(row, number=100 + new, insertion=code) if row.number == number else row for row in records
        ]
    assert_helix(single(read(tmp_path, pdb(records))))


@pytest.mark.parametrize("atom", ["N", "CA", "C", "O"])
def test_missing_backbone_atom_splits_the_chain(tmp_path, atom):
    structure = read(tmp_path, pdb(without(ROWS, 5, atom)))
    assert [backbone.id for backbone in structure.backbones] == ["1abc_A:1-4", "1abc_A:6-12"]
    assert [backbone.sequence for backbone in structure.backbones] == [SEQUENCE[:4], SEQUENCE[5:]]
    assert {backbone.kind for backbone in structure.backbones} == {"segment"}
    (dropped,) = structure.dropped
    assert (dropped.chain, dropped.residues) == ("A", "5")
    assert str(dropped) == f"chain A, residue 5: PHE: {atom} missing or without usable coordinates"


def test_missing_residue_is_a_chain_break(tmp_path):
    structure = read(tmp_path, pdb(without(ROWS, 5)))
    assert [backbone.sequence for backbone in structure.backbones] == [SEQUENCE[:4], SEQUENCE[5:]]
    (dropped,) = structure.dropped
    assert dropped.residues == "4-6"
    assert dropped.reason.startswith("chain break, C-N ")


def test_numbering_gap_without_a_gap_in_space_is_no_break(tmp_path):
    records = [replace(row, number=row.number + 40 * (row.number > 5)) for row in ROWS]
    assert_helix(single(read(tmp_path, pdb(records))))


def test_selenomethionine_is_methionine(tmp_path):
    backbone = single(read(tmp_path, pdb(edit(ROWS, 5, residue="MSE", record="HETATM"))))
    assert backbone.sequence == SEQUENCE[:4] + "M" + SEQUENCE[5:]
    assert_helix(backbone)


@pytest.mark.parametrize(("name", "letter"), [("HIE", "H"), ("HSD", "H"), ("CYX", "C"), ("GLH", "E")])
def test_force_field_names_are_the_residue(tmp_path, name, letter):
    assert single(read(tmp_path, pdb(edit(ROWS, 5, residue=name)))).sequence[4] == letter


@pytest.mark.parametrize(
    ("name", "reason"),
    [("DPN", "D residue"), ("SEP", "non-standard residue"), ("XYZ", "non-standard residue"), ("UNK", "non-")],
)
def test_other_residues_break_the_chain_and_are_reported(tmp_path, name, reason):
    structure = read(tmp_path, pdb(edit(ROWS, 5, residue=name, record="HETATM")))
    assert [backbone.sequence for backbone in structure.backbones] == [SEQUENCE[:4], SEQUENCE[5:]]
    assert structure.dropped[0].reason.startswith(f"{name}: {reason}")


def test_mirrored_residue_under_a_standard_name_is_reported(tmp_path):
    n, ca, c = HELIX[4, :3]
    normal = np.cross(n - ca, c - ca)
    normal /= np.linalg.norm(normal)
    cb = HELIX[4, 4] - 2 * np.dot(HELIX[4, 4] - ca, normal) * normal
    structure = read(tmp_path, pdb(edit(ROWS, 5, "CB", xyz=tuple(cb.tolist()))))
    assert structure.dropped[0].reason == "PHE: CB is on the D side"
    assert len(structure.backbones) == 2


def test_caps_are_no_part_of_the_chain(tmp_path):
    acetyl = [Row("C", "ACE", 0, (-1.0, 2.0, 0.0), record="HETATM")]
    acetyl += [Row("O", "ACE", 0, (-1.0, 3.0, 0.0), record="HETATM")]
    amide = [Row("N", "NH2", 13, tuple((HELIX[-1, 2] + 0.7).tolist()), record="HETATM")]
    structure = read(tmp_path, pdb([*acetyl, *ROWS, *amide]))
    assert_helix(single(structure))
    assert structure.backbones[0].kind == "free"
    assert structure.dropped == []


def test_waters_ligands_and_nucleotides_are_passed_over(tmp_path):
    rest = [Row("O", "HOH", 101, (30.0, 0.0, 0.0), record="HETATM"), Row("P", "DA", 1, (40.0, 0.0, 0.0), "B")]
    rest += [
        Row(name, "GOL", 102, (50.0 + k, 0.0, 0.0), record="HETATM") for k, name in enumerate(("C1", "O1"))
    ]
    # A ligand that gemmi knows is none of the chain, even with the atom names of a residue.
    rest += [replace(row, number=103, residue="GOL", record="HETATM") for row in ROWS[:4]]
    structure = read(tmp_path, pdb([*ROWS, *rest]))
    assert_helix(single(structure))
    assert structure.dropped == []


@pytest.mark.parametrize("form", [pdb, cif])
def test_models(tmp_path, form):
    second = rows(SEQUENCE, HELIX + 7.0, model=2)
    text = form([*ROWS, *second])
    assert_helix(single(read(tmp_path, text)))
    both = read(tmp_path, text, first_model_only=False).backbones
    assert [backbone.id for backbone in both] == ["1abc_A.m1", "1abc_A.m2"]
    assert_helix(both[1], HELIX + 7.0)


def test_ring_is_cyclic(tmp_path):
    atoms = ring(10)
    assert single(read(tmp_path, pdb(rows("GAKLFGAKLF", atoms)))).cyclic
    assert not single(read(tmp_path, pdb(ROWS))).cyclic
    opened = atoms[1:]  # one residue less: the ends are 4 A apart
    assert not single(read(tmp_path, pdb(rows("AKLFGAKLF", opened)))).cyclic


CYSTEINES = "GCAAACAAACAAAC"


def sulfurs(*positions):
    """Add SG to the given residues, two and two 2.05 A apart."""
    extra = []
    for k, number in enumerate(positions):
        extra.append(Row("SG", "CYS", number, (20.0 * (k // 2) + 2.05 * (k % 2), 30.0, 0.0)))
    records = [*rows(CYSTEINES, ideal(CYSTEINES)), *extra]
    return sorted(records, key=lambda row: row.number)


def test_disulfides_from_sulfur_distances(tmp_path):
    assert single(read(tmp_path, pdb(sulfurs(2, 10, 14, 6)))).disulfides == ((2, 10), (6, 14))
    assert single(read(tmp_path, pdb(sulfurs(2, 10, 6)))).disulfides == ((2, 10),)


def test_alternatives_of_the_sulfur_alone(tmp_path):
    records = edit(sulfurs(2, 10), 2, "SG", altloc="A", occupancy=0.6)
    assert single(read(tmp_path, pdb(records))).disulfides == ((2, 10),)


def test_disulfide_positions_count_within_the_segment(tmp_path):
    structure = read(tmp_path, pdb(without(sulfurs(6, 10, 2, 14), 4)))
    assert [backbone.disulfides for backbone in structure.backbones] == [(), ((2, 6),)]


def test_disulfides_without_sulfur_are_guessed_only_when_asked(shared_data, tmp_path):
    lines = (shared_data / "structures" / "1jbl.pdb").read_text().splitlines(keepends=True)
    bare = "".join(line for line in lines if line[12:16].strip() in ("N", "CA", "C", "O"))
    assert single(read(tmp_path, bare)).disulfides == ()
    assert single(read(tmp_path, bare, guess_disulfides=True)).disulfides == ((3, 11),)


@pytest.mark.parametrize("form", [pdb, cif])
@pytest.mark.parametrize("value", ["nan", "inf", "1e5", "-10000.0", "abc", "********"])
@pytest.mark.parametrize("atom", ["N", "O"])
def test_unusable_coordinate_costs_its_residue_only(tmp_path, form, value, atom):
    structure = read(tmp_path, form(edit(ROWS, 5, atom, xyz=(value, 1.0, 2.0))))
    assert [backbone.sequence for backbone in structure.backbones] == [SEQUENCE[:4], SEQUENCE[5:]]
    assert structure.dropped[0].residues == "5"


def test_unusable_side_chain_coordinate_costs_nothing(tmp_path):
    records = edit(sulfurs(2, 10), 2, "SG", xyz=("inf", "nan", 1.0))
    records = edit(records, 3, "CB", xyz=("1e9", 0.0, 0.0))
    backbone = single(read(tmp_path, cif(records)))
    assert (backbone.sequence, backbone.disulfides) == (CYSTEINES, ())


BAD_FILES = {
    "unusable": (
        pdb([replace(row, xyz=("nan",) * 3) for row in ROWS]),
        r"\(chain A, residue 1: GLY: N, CA, C, O mis",
    ),
    "one place": (pdb([replace(row, xyz=(1.0, 2.0, 3.0)) for row in ROWS]), "not at bond length"),
    "mirrored": (pdb(rows("AKLFAKLF", ideal("AKLFAKLF") * [1, 1, -1])), "CB is on the D side"),
    "nucleic": (
        pdb([Row("P", "DA", 1, (1.0, 2.0, 3.0)), Row("P", "DC", 2, (7.0, 2.0, 3.0))]),
        "no protein chain",
    ),
    "lone residue": (pdb(ROWS[:4]), "no protein chain.*lone residue GLY"),
    "empty": ("", "is empty"),
    "blank": (" \n\n", "is empty"),
    "binary": (bytes(range(256)) * 8, "binary file"),
    "text": ("hello world\n" * 5, "no atoms"),
    "other cif": ("data_x\n_cell.length_a 10\n", "no atoms"),
    "cif without atoms": ("data_x\nloop_\n_atom_site.id\n_atom_site.Cartn_x\n", "no atoms"),
    "truncated cif": (cif(ROWS)[:-20], "damaged"),
    "cif without columns": ("data_x\nloop_\n_atom_site.Cartn_x\n1.0\n", "damaged|no atoms"),
    "truncated gzip": (gzip.compress(pdb(ROWS).encode())[:-30], "truncated or damaged gzip"),
    "no gzip": (b"\x1f\x8b" + b"garbage", "truncated or damaged gzip"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file_gives_one_line(tmp_path, case):
    text, message = BAD_FILES[case]
    with pytest.raises(BetafoldError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert "1abc.pdb" in str(caught.value)


@pytest.mark.parametrize("name", ["missing.pdb", "."])
def test_unreadable_path(tmp_path, name):
    with pytest.raises(BetafoldError, match="cannot read"):
        read_structure(tmp_path / name)


def test_truncated_pdb_gives_what_is_whole(tmp_path):
    text = pdb(ROWS)
    structure = read(tmp_path, text[: text.index("LYS A  11") + 28])
    assert single(structure).sequence == SEQUENCE[:10]
    assert (structure.backbones[0].id, structure.backbones[0].kind) == ("1abc_A:1-10", "segment")
    assert [dropped.residues for dropped in structure.dropped] == ["11"]


def test_author_numbering_names_residues_and_label_chains_part_molecules(tmp_path):
    # Author's chain H, numbers from 101, label chain A, numbers from 1; a glycine ligand in the same chain.
    records = [replace(row, chain="H", label_chain="A", number=row.number + 100) for row in ROWS]
    records = [replace(row, label_number=str(row.number - 100)) for row in records]
    ligand = [
        Row(name, "GLY", 201, tuple((HELIX[0, k] + 30.0).tolist()), "H", record="HETATM", label_chain="B")
        for k, name in enumerate(("N", "CA", "C", "O"))
    ]
    records = [*without(records, 105, "O"), *(replace(row, label_number=".") for row in ligand)]
    structure = read(tmp_path, cif(records), "1abc.cif")
    assert [backbone.id for backbone in structure.backbones] == ["1abc_H:101-104", "1abc_H:106-112"]
    assert [dropped.residues for dropped in structure.dropped] == ["105", "201"]
    assert structure.dropped[1].reason == "lone residue GLY"


def test_ligand_that_the_file_calls_non_polymer_is_passed_over(tmp_path):
    head = "loop_\n_entity.id\n_entity.type\n1 polymer\n2 non-polymer\n"
    head += "loop_\n_struct_asym.id\n_struct_asym.entity_id\nA 1\nB 2\n"
    ligand = rows("GG", HELIX + 30.0)
    ligand = [
        replace(row, record="HETATM", label_chain="B", label_number=".", number=201) for row in ligand[:4]
    ]
    structure = read(tmp_path, cif([*ROWS, *ligand], head), "1abc.cif")
    assert single(structure).sequence == SEQUENCE
    assert structure.dropped == []


def test_two_chains_of_one_name_stay_apart(tmp_path):
    both = pdb(ROWS).replace("END\n", "") + pdb(rows(SEQUENCE, HELIX + 40.0))
    assert [backbone.id for backbone in read(tmp_path, both).backbones] == ["1abc_A", "1abc_A~2"]


def test_blank_chain_name(tmp_path):
    backbone = single(read(tmp_path, pdb([replace(row, chain="") for row in ROWS])))
    assert (backbone.id, backbone.chain) == ("1abc", None)


@pytest.mark.parametrize(
    ("partner", "distance", "kinds"),
    [
        ("AKLFAKLF", 12.0, ["oligomer", "oligomer"]),
        ("AKLFAKLF", 60.0, ["free", "free"]),
        ("A" * 60, 12.0, ["bound", "chain"]),
        ("A" * 60, 90.0, ["free", "chain"]),
    ],
)
def test_kind(tmp_path, partner, distance, kinds):
    other = ideal(partner)
    other += HELIX[:, 1].mean(0) - other[:, 1].mean(0) + [0.0, distance, 0.0]
    side = np.linalg.norm(other[:, None, :, None] - HELIX[None, :, None], axis=-1).min()
    assert (side < 8.0) == (distance < 20.0)
    structure = read(tmp_path, pdb([*ROWS, *rows(partner, other, chain="B")]))
    assert [backbone.kind for backbone in structure.backbones] == kinds


def test_find_structure_files(tmp_path):
    for name in ("b.pdb", "a.cif.gz", "deep/c.ENT", "deep/d.mmcif", "e.txt", ".hidden.pdb", "f.jsonl.gz"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    found = [path.relative_to(tmp_path).as_posix() for path in find_structure_files(tmp_path)]
    assert found == ["a.cif.gz", "b.pdb", "deep/c.ENT", "deep/d.mmcif"]
    assert find_structure_files(tmp_path / "e.txt") == [tmp_path / "e.txt"]
    with pytest.raises(BetafoldError, match="no such file"):
        find_structure_files(tmp_path / "none")
    (tmp_path / "bare").mkdir()
    with pytest.raises(BetafoldError, match="holds no structure file"):
        find_structure_files(tmp_path / "bare")


@settings(derandomize=True, deadline=None, max_examples=150)
@given(data=st.data(), form=st.sampled_from([pdb, cif]))
def test_damaged_text_never_crashes_and_never_gives_a_broken_backbone(tmp_path_factory, data, form):
    text = form(ROWS[:24])
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        length = data.draw(st.sampled_from([0, 1, 3, 8, 80]))
        junk = data.draw(st.text(alphabet="0123456789.- \nAXnaif'\";#_\t*é", max_size=8))
        text = text[:start] + junk + text[start + length :]
    try:
        structure = read(tmp_path_factory.mktemp("fuzz"), text)
    except BetafoldError as error:
        assert "\n" not in str(error)
    else:
        for backbone in structure.backbones:
            assert backbone_problem(backbone.sequence, backbone.coordinates, backbone.disulfides) is None


# --- Files of other programs: docs/robustness.md.


@pytest.mark.parametrize("names", [("OT1", "OT2"), ("O1", "O2"), ("OT", "OXT"), ("OC1", "OC2"), ("OXT",)])
@pytest.mark.parametrize("form", [pdb, cif])
def test_the_last_oxygen_has_other_names(tmp_path, form, names):
    last = next(row for row in ROWS if (row.number, row.atom) == (12, "O"))
    records = [replace(row, atom=names[0]) if row is last else row for row in ROWS]
    records += [replace(last, atom=name, xyz=(50.0, 50.0, 50.0)) for name in names[1:]]
    structure = read(tmp_path, form(records))
    assert_helix(single(structure))
    assert (structure.backbones[0].kind, structure.dropped) == ("free", [])


def test_names_of_ends_in_four_columns(tmp_path):
    """AMBER's NGLY and CCYS, GROMACS's LYSH, in columns 18 to 21."""
    text = pdb(ROWS)
    for number, old, new in ((1, "GLY A", "NGLYA"), (10, "LYS A", "LYSHA"), (12, "PHE A", "CPHEA")):
        text = text.replace(f"{old}{number:>4}", f"{new}{number:>4}")
    structure = read(tmp_path, text)
    assert_helix(single(structure))
    assert structure.backbones[0].sequence == SEQUENCE and structure.dropped == []
    records = edit(edit(ROWS, 1, residue="NGLY"), 12, residue="CCYX")
    assert single(read(tmp_path, cif(records))).sequence == f"{SEQUENCE[:-1]}C"


def test_a_second_copy_of_the_same_name_without_ter_is_a_chain(tmp_path):
    copy = rows(SEQUENCE, HELIX + 40.0)
    text = "\n".join(line for line in pdb([*ROWS, *copy]).splitlines() if line != "TER")
    structure = read(tmp_path, text)
    assert [backbone.id for backbone in structure.backbones] == ["1abc_A", "1abc_A~2"]
    assert [backbone.sequence for backbone in structure.backbones] == [SEQUENCE] * 2


def test_doubled_atoms_are_no_second_chain(tmp_path):
    doubled = [copy for row in ROWS for copy in (row, replace(row, xyz=(90.0, 90.0, 90.0)))]
    assert_helix(single(read(tmp_path, pdb(doubled))))


@pytest.mark.parametrize("tag", ["id", "type_symbol", "label_alt_id", "label_asym_id", "Cartn_y"])
def test_a_column_that_mmcif_lacks_is_named(tmp_path, tag):
    block = gemmi.cif.read_string(cif(ROWS)).sole_block()
    block.find_loop("_atom_site.label_comp_id").get_loop().remove_column(f"_atom_site.{tag}")
    with pytest.raises(BetafoldError, match=f"lacks the column _atom_site.{tag}$"):
        read(tmp_path, block.as_string(), "1abc.cif")


@pytest.mark.parametrize("tag", ["group_PDB", "label_seq_id", "auth_seq_id", "auth_asym_id", "occupancy"])
def test_columns_that_mmcif_can_do_without(tmp_path, tag):
    block = gemmi.cif.read_string(cif(ROWS)).sole_block()
    block.find_loop("_atom_site.label_comp_id").get_loop().remove_column(f"_atom_site.{tag}")
    assert_helix(single(read(tmp_path, block.as_string(), "1abc.cif")))


def test_the_second_alternative_alone(tmp_path):
    assert_helix(single(read(tmp_path, pdb([replace(row, altloc="B", occupancy=0.4) for row in ROWS]))))


def test_alternatives_beside_insertion_codes(tmp_path):
    records = [replace(row, number=4, insertion="A") if row.number == 5 else row for row in ROWS]
    first = [row for row in records if row.insertion]
    other = [replace(row, altloc="B", occupancy=0.3, xyz=(9.0, 9.0, 9.0)) for row in first]
    records = [replace(row, altloc="A", occupancy=0.7) if row.insertion else row for row in records]
    at = records.index(next(row for row in records if row.number == 6))
    assert_helix(single(read(tmp_path, pdb([*records[:at], *other, *records[at:]]))))


def test_negative_numbers_hydrogens_first_and_large_serials(tmp_path):
    hydrogens = [
        replace(row, atom="H", xyz=(row.xyz[0] + 1.0, row.xyz[1], row.xyz[2]))
        for row in ROWS
        if row.atom == "N"
    ]
    records = []
    for row in ROWS:
        records += [one for one in hydrogens if row.atom == "N" and one.number == row.number]
        records.append(row)
    text = pdb([replace(row, number=row.number - 15) for row in records])
    text = "\n".join(
        f"{line[:6]}A{line[7:]}" if line.startswith("ATOM") else line for line in text.splitlines()
    )
    assert_helix(single(read(tmp_path, text)))


def test_models_out_of_order_and_names_of_two_letters(tmp_path):
    second = rows(SEQUENCE, HELIX + 20.0, model=1)
    structure = read(tmp_path, pdb([*(replace(row, model=2) for row in ROWS), *second]))
    assert_helix(single(structure))  # the first one in the file
    two = cif([replace(row, chain="AB") for row in ROWS])
    assert read(tmp_path, two).backbones[0].id == "1abc_AB"
    lines = [f"{line[:20]}AB{line[22:]}" if line[:4] == "ATOM" else line for line in pdb(ROWS).splitlines()]
    assert single(read(tmp_path, "\n".join(lines))).id == "1abc_AB"  # HIS of AB is not HISA of B


def test_records_of_bonds_alone_are_no_structure(tmp_path):
    with pytest.raises(BetafoldError, match="has no atoms"):
        read(tmp_path, "CONECT    1    2\nCONECT    2    1    3\nEND\n")


def test_a_second_copy_under_one_name_in_mmcif_is_a_chain(tmp_path):
    """All are chain A in `label_asym_id` and in `auth_asym_id`, and their numbers are repeated."""
    copies = [row for move in (0.0, 40.0, 80.0) for row in rows(SEQUENCE, HELIX + move)]
    structure = read(tmp_path, cif(copies), "1abc.cif")
    assert [backbone.id for backbone in structure.backbones] == ["1abc_A", "1abc_A~2", "1abc_A~3"]
    assert [backbone.sequence for backbone in structure.backbones] == [SEQUENCE] * 3


@pytest.mark.parametrize("ring_closed", [False, True])
def test_a_disulfide_of_the_ends_is_no_closed_backbone(tmp_path, ring_closed):
    sequence = "CAIGKFLHSC"
    folded = Predictor.load().fold(sequence, cyclic=ring_closed, disulfides=[(1, 10)], candidates=2)
    for kind in ("pdb", "cif"):
        text = folded.text(kind)
        backbone = single(read(tmp_path, text, f"1abc.{kind}"))
        assert (backbone.sequence, backbone.cyclic, backbone.disulfides) == (
            sequence,
            ring_closed,
            ((1, 10),),
        )
        assert ("OXT" in text) is not ring_closed
