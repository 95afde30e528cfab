import io
import re
import string

import biotite.structure.io.pdb as biotite_pdb
import biotite.structure.io.pdbx as biotite_pdbx
import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structure_helpers import SEQUENCE, expected_atoms, gemmi_structure, prediction, read_biotite, read_gemmi

from betafold_mlx import __version__
from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import ALPHABET, THREE_LETTER
from betafold_mlx.structure.reader import read_structure
from betafold_mlx.structure.writer import block_name, clean_text, to_mmcif, to_pdb


def biotite_b_factors(text, form):
    """Return (M, A): a biotite stack keeps the annotations of the first model only."""
    if form is to_pdb:
        return biotite_pdb.PDBFile.read(io.StringIO(text)).get_b_factor()
    site = biotite_pdbx.CIFFile.read(io.StringIO(text)).block["atom_site"]
    models = site["pdbx_PDB_model_num"].as_array(int)
    return site["B_iso_or_equiv"].as_array(float).reshape(models.max(), -1)


@pytest.mark.parametrize("form", [to_pdb, to_mmcif])
@pytest.mark.parametrize("models", [1, 3])
def test_gemmi_reads_the_same_atoms(form, models):
    p = prediction(models=models)
    structure = read_gemmi(form(p), form)
    names, residues, numbers, coordinates, b_factors = expected_atoms(p)
    assert [model.num for model in structure] == list(range(1, models + 1))
    for model, xyz, b in zip(structure, coordinates, b_factors, strict=True):
        (chain,) = model
        assert chain.name == "A"
        found = [(residue, atom) for residue in chain for atom in residue]
        assert [atom.name for _, atom in found] == names
        assert [atom.element.name for _, atom in found] == [name[0] for name in names]
        assert [residue.name for residue, _ in found] == residues
        assert [residue.seqid.num for residue, _ in found] == numbers
        assert {atom.occ for _, atom in found} == {1.0}
        assert {atom.altloc for _, atom in found} == {"\0"}
        np.testing.assert_allclose([atom.pos.tolist() for _, atom in found], xyz, atol=6e-4)
        np.testing.assert_allclose([atom.b_iso for _, atom in found], b, atol=6e-3)
    (entity,) = structure.entities
    assert entity.full_sequence == [THREE_LETTER[letter] for letter in p.sequence]
    assert entity.polymer_type == gemmi.PolymerType.PeptideL
    if form is to_mmcif:
        assert [residue.label_seq for residue in structure[0][0]] == list(range(1, 13))
    assert structure.info["_exptl.method"] == "THEORETICAL MODEL"


@pytest.mark.parametrize("form", [to_pdb, to_mmcif])
@pytest.mark.parametrize("models", [1, 3])
def test_biotite_reads_the_same_atoms(form, models):
    p = prediction(models=models)
    text = form(p)
    stack = read_biotite(text, form)
    names, residues, numbers, coordinates, b_factors = expected_atoms(p)
    assert stack.stack_depth() == models
    assert stack.atom_name.tolist() == names
    assert stack.res_name.tolist() == residues
    assert stack.res_id.tolist() == numbers
    assert set(stack.chain_id) == {"A"}
    assert set(stack.occupancy) == {1.0}
    np.testing.assert_allclose(stack.coord, coordinates, atol=6e-4)
    np.testing.assert_allclose(stack.b_factor, b_factors[0], atol=6e-3)
    np.testing.assert_allclose(biotite_b_factors(text, form), b_factors, atol=6e-3)


@pytest.mark.parametrize(("form", "suffix"), [(to_pdb, "pdb"), (to_mmcif, "cif")])
def test_own_reader_reads_every_model(tmp_path, form, suffix):
    p = prediction()
    path = tmp_path / f"x.{suffix}"
    path.write_text(form(p))
    backbones = read_structure(path, first_model_only=False).backbones
    assert [backbone.sequence for backbone in backbones] == [SEQUENCE] * 3
    assert {backbone.method for backbone in backbones} == {"THEORETICAL MODEL"}
    for backbone, atoms in zip(backbones, p.coordinates, strict=True):
        np.testing.assert_allclose(backbone.coordinates, atoms[:, :4], atol=6e-4)


BY_GEMMI = st.builds(
    prediction,
    sequence=st.text(alphabet=ALPHABET, min_size=1, max_size=32),
    models=st.integers(1, 3),
    seed=st.integers(0, 10**6),
    id=st.sampled_from(["x", "it's", 'a "b" c', "loop_", "#1", "P01501 melittin"]),
    d_amino_acids=st.booleans(),
)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(p=BY_GEMMI)
def test_atoms_are_written_as_gemmi_writes_them(p):
    structure = gemmi_structure(p)
    groups = gemmi.MmcifOutputGroups(True)
    groups.cell = groups.symmetry = groups.conn = groups.chem_comp = groups.software = False
    groups.auth_all = True
    want = structure.make_mmcif_block(groups)
    made = gemmi.cif.read_string(to_mmcif(p)).sole_block()
    assert made.name == want.name
    for category in ("_atom_site.", "_atom_type.", "_struct_asym.", "_struct.", "_exptl."):
        assert made.get_mmcif_category(category, raw=True) == want.get_mmcif_category(category, raw=True)
    options = gemmi.PdbWriteOptions()
    options.seqres_records = options.ssbond_records = options.link_records = False
    options.minimal_file = options.cryst1_record = options.end_record = True
    text = to_pdb(p)
    text = re.sub("CONECT.*\n", "", text[text.index("CRYST1") :])  # which gemmi does not make of itself
    assert text == structure.make_pdb_string(options)


def test_modelcif_categories():
    p = prediction(models=2)
    block = gemmi.cif.read_string(to_mmcif(p)).sole_block()
    for tag, value in {"_audit_conform.dict_name": "mmcif_ma.dic", "_software.name": "betafold-mlx"}.items():
        assert gemmi.cif.as_string(block.find_value(tag)) == value
    assert gemmi.cif.as_string(block.find_value("_software.version")) == __version__
    metrics = block.find("_ma_qa_metric.", ["id", "name", "type", "mode", "software_group_id"])
    assert [list(row) for row in metrics] == [
        ["1", "pLDDT", "pLDDT", "global", "1"],
        ["2", "pLDDT", "pLDDT", "local", "1"],
    ]
    tags = ["ordinal_id", "model_id", "label_asym_id", "label_seq_id"]
    tags += ["label_comp_id", "metric_id", "metric_value"]
    local = [list(row) for row in block.find("_ma_qa_metric_local.", tags)]
    assert [row[:6] for row in local] == [
        [str(model * 12 + i + 1), str(model + 1), "A", str(i + 1), THREE_LETTER[SEQUENCE[i]], "2"]
        for model in range(2)
        for i in range(12)
    ]
    values = np.array([float(row[6]) for row in local]).reshape(2, 12)
    np.testing.assert_allclose(values, p.plddt, atol=6e-3)
    overall = [
        list(row) for row in block.find("_ma_qa_metric_global.", ["model_id", "metric_id", "metric_value"])
    ]
    assert [row[:2] for row in overall] == [["1", "1"], ["2", "1"]]
    np.testing.assert_allclose([float(row[2]) for row in overall], p.plddt.mean(1), atol=0.01)
    assert [row.str(1) for row in block.find("_ma_model_list.", ["ordinal_id", "model_type"])] == [
        "Ab initio model"
    ] * 2


@pytest.mark.parametrize("form", [to_pdb, to_mmcif])
def test_stated_chemistry_is_written_as_bonds(form):
    p = prediction(cyclic=True, disulfides=((2, 7),))
    connections = {connection.type: connection for connection in read_gemmi(form(p), form).connections}
    assert set(connections) == {gemmi.ConnectionType.Disulf, gemmi.ConnectionType.Covale}
    ends = [
        (end.chain_name, end.res_id.seqid.num, end.res_id.name, end.atom_name)
        for kind in (gemmi.ConnectionType.Disulf, gemmi.ConnectionType.Covale)
        for end in (connections[kind].partner1, connections[kind].partner2)
    ]
    disulfide = [("A", 2, "CYS", "SG"), ("A", 7, "CYS", "SG")]
    assert ends == [*disulfide, ("A", 12, "CYS", "C"), ("A", 1, "GLY", "N")]
    length = np.linalg.norm(p.coordinates[0, -1, 2] - p.coordinates[0, 0, 0])
    assert connections[gemmi.ConnectionType.Covale].reported_distance == pytest.approx(length, abs=0.006)


HEAVY = {
    code: kind.parent for code, kind in RESIDUES.items() if {"Se", "Br", "Cl"} & set(kind.elements.values())
}


@pytest.mark.parametrize("form", [to_pdb, to_mmcif])
def test_elements_of_two_letters(form):
    sequence = "AC" + "".join(HEAVY.values())
    p = prediction(sequence, 1, residues=dict(enumerate(HEAVY, start=3)))
    assert len(HEAVY) >= 5
    for residue in read_gemmi(form(p), form)[0]["A"]:
        elements = RESIDUES[residue.name].elements
        assert {a.name: a.element.name for a in residue if a.name != "OXT"} == dict(elements)
    if form is to_pdb:
        assert "HETATM" in form(p) and re.search(r"^HETATM *[0-9]+ SE   MSE A", form(p), flags=re.M)


def test_pdb_lines_keep_to_the_format():
    text = to_pdb(prediction("A" * 30 + "CC", cyclic=True, disulfides=((31, 32),), id="long name " * 20))
    lines = text.splitlines()
    assert {len(line) for line in lines} == {80}
    assert text.isascii()
    order = ["TITLE", "EXPDTA", "NUMMDL", "REMARK", "SEQRES", "SSBOND", "LINK", "CRYST1", "MODEL", "ATOM"]
    records = [line[:6].strip() for line in lines]
    assert sorted(order, key=records.index) == order
    assert f"betafold-mlx {__version__}, model betafold-mini." in text
    assert "OXT" not in text  # of a ring
    assert records[-1] == "END"
    assert records.count("TER") == records.count("ENDMDL") == 3
    link = next(line for line in lines if line.startswith("LINK"))
    assert (link[12:26], link[42:56], link[59:65]) == (" C   CYS A  32", " N   ALA A   1", "  1555")
    ssbond = next(line for line in lines if line.startswith("SSBOND"))
    fields = [ssbond[start:end] for start, end in ((17, 21), (31, 35), (59, 65), (66, 72))]
    assert fields == ["  31", "  32", "  1555", "  1555"]


def test_cb_of_glycine_is_never_written():
    p = prediction()
    filled = np.where(np.isnan(p.atoms), 1.0, p.atoms).astype(np.float32)
    assert to_pdb(prediction(atoms=filled)) == to_pdb(p)


def test_cb_may_be_absent_anywhere():
    atoms = prediction(models=1).atoms.copy()
    atoms[:, :, 4:] = np.nan
    (chain,) = read_gemmi(to_mmcif(prediction(models=1, atoms=atoms)), to_mmcif)[0]
    assert {len(residue) for residue in chain} == {4}


NASTY = st.text(
    alphabet=st.one_of(
        st.sampled_from("'\"#;_$[]?.\\/ \t\r\n\0\x7f{}()<>|&%"),
        st.sampled_from(string.ascii_letters),
        st.characters(),
    ),
    max_size=120,
)
RESERVED = [
    *("?", ".", "data_x", "loop_", "stop_", "global_", "save_x", "_tag", "; text"),
    "a' b\" c",
    "#",
    "x" * 3000,
]


@settings(derandomize=True, deadline=None, max_examples=120)
@given(
    identifier=st.one_of(st.sampled_from(RESERVED), NASTY),
    name=st.one_of(st.sampled_from(RESERVED), NASTY),
    sequence=st.text(alphabet=ALPHABET, min_size=1, max_size=33),
    models=st.integers(1, 2),
)
def test_any_text_keeps_the_files_readable(identifier, name, sequence, models):
    p = prediction(sequence, models, id=identifier, model_name=name)
    for form in (to_pdb, to_mmcif):
        text = form(p)
        assert text.isascii()
        assert text.isprintable() or set(text) - set(string.printable) == set()
        structure = read_gemmi(text, form)
        assert len(structure) == models
        one_letter = gemmi.one_letter_code([residue.name for residue in structure[0][0]])
        assert one_letter == sequence
        assert structure[0].count_atom_sites() == len(expected_atoms(p)[0])
    block = gemmi.cif.read_string(to_mmcif(p)).sole_block()
    expected = clean_text(f"{identifier}: predicted by betafold-mlx {__version__}, model {name}")
    assert gemmi.cif.as_string(block.find_value("_struct.title")).strip("\n") == expected
    assert block.name == block_name(identifier)
    assert block.find_value("_struct.title") not in ("?", ".")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("P01501 melittin", "P01501_melittin"),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("μ-conotoxin", "-conotoxin"),
        ("Magaïnin 2", "Magainin_2"),
        ("", "peptide"),
        ("日本", "peptide"),
        ("x" * 100, "x" * 75),
    ],
)
def test_block_name(text, name):
    assert block_name(text) == name
