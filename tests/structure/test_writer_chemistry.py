"""D residues and caps in PDB and mmCIF files, as gemmi and biotite read them."""

import re
from itertools import pairwise

import gemmi
import numpy as np
import oracles
import pytest
from structure_helpers import SEQUENCE, expected_atoms, prediction, read_biotite, read_gemmi

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.sequence import THREE_LETTER
from betafold_mlx.structure.caps import place_caps
from betafold_mlx.structure.reader import read_structure
from betafold_mlx.structure.writer import to_mmcif, to_pdb

D_NAMES = ["GLY", "DCY", "DSG", "DAL", "DPR", "DPN", "DCY", "DLY", "GLY", "DTY", "DTR", "DCY"]
MIRROR = np.array([1.0, 1.0, -1.0], np.float32)
FORMS = pytest.mark.parametrize("form", [to_pdb, to_mmcif])


def mirrored(**changes):
    """Return a prediction of D residues, and the one of L residues that it mirrors."""
    image = prediction(**changes)
    mirror = {"coordinates": image.coordinates * MIRROR, "atoms": image.atoms * MIRROR}
    return prediction(**mirror, d_amino_acids=True, **changes), image


def atoms_of(structure):
    """Return the coordinates (A, 3) of model 1."""
    return np.array([atom.pos.tolist() for residue in structure[0][0] for atom in residue])


@FORMS
def test_d_residues_have_their_own_names(form):
    p, _ = mirrored(models=2)
    structure = read_gemmi(form(p), form)
    (entity,) = structure.entities
    assert entity.full_sequence == D_NAMES and entity.entity_type == gemmi.EntityType.Polymer
    for model in structure:
        (chain,) = model
        assert [residue.name for residue in chain] == D_NAMES
        assert [residue.het_flag for residue in chain] == ["A" if n == "GLY" else "H" for n in D_NAMES]
        assert [residue.seqid.num for residue in chain] == list(range(1, 13))
        assert {residue.entity_type for residue in chain} == {gemmi.EntityType.Polymer}
    stack = read_biotite(form(p), form)
    names, _, numbers, coordinates, b_factors = expected_atoms(p)
    assert stack.atom_name.tolist() == names and stack.res_id.tolist() == numbers
    assert stack.res_name.tolist() == [D_NAMES[number - 1] for number in numbers]
    assert stack.hetero.tolist() == [D_NAMES[number - 1] != "GLY" for number in numbers]
    np.testing.assert_allclose(stack.coord, coordinates, atol=6e-4)
    np.testing.assert_allclose(stack.b_factor, b_factors[0], atol=6e-3)


@FORMS
def test_the_file_of_a_d_peptide_is_the_mirror_image_of_the_other_to_the_last_digit(form):
    p, image = mirrored(n_cap="ACE", c_cap="NH2")
    d, l_form = (read_gemmi(form(x), form) for x in (p, image))
    np.testing.assert_array_equal(atoms_of(d), atoms_of(l_form) * MIRROR.astype(float))
    assert not re.search(r"\s-0(\.0*)?\s", form(p))  # of the atoms in the mirror plane


def test_sequences_of_d_peptides_in_mmcif():
    p, _ = mirrored(n_cap="ACE", c_cap="NH2")
    block = gemmi.cif.read_string(to_mmcif(p)).sole_block()
    poly = {
        key: block.find_value(f"_entity_poly.{key}") for key in ("type", "nstd_monomer", "pdbx_strand_id")
    }
    assert poly == {"type": "polypeptide(D)", "nstd_monomer": "yes", "pdbx_strand_id": "A"}
    code = "(ACE)G(DCY)(DSG)(DAL)(DPR)(DPN)(DCY)(DLY)G(DTY)(DTR)(DCY)(NH2)"
    assert block.find_value("_entity_poly.pdbx_seq_one_letter_code") == code
    assert block.find_value("_entity_poly.pdbx_seq_one_letter_code_can") == f"X{SEQUENCE}X"
    types = {row.str(0): row.str(1) for row in block.find("_chem_comp.", ["id", "type"])}
    assert types == dict.fromkeys(D_NAMES, "D-peptide linking") | {
        "GLY": "peptide linking",
        "ACE": "non-polymer",
        "NH2": "non-polymer",
    }
    details = gemmi.cif.as_string(block.find_value("_ma_protocol_step.details"))
    assert "mirror image" in details and "ACE and NH2: not modelled" in details

    plain = gemmi.cif.read_string(to_mmcif(prediction())).sole_block()
    assert plain.find_value("_entity_poly.type") == "polypeptide(L)"
    assert plain.find_value("_entity_poly.nstd_monomer") == "no"
    assert plain.find_value("_entity_poly.pdbx_seq_one_letter_code") == SEQUENCE
    assert plain.find_value("_entity_poly.pdbx_seq_one_letter_code_can") == SEQUENCE
    assert plain.find_value("_ma_protocol_step.details") == "?"


@FORMS
def test_bonds_of_d_peptides(form):
    p, _ = mirrored(cyclic=True, disulfides=((2, 7),))
    bonds = [
        tuple(
            (end.res_id.seqid.num, end.res_id.name, end.atom_name) for end in (link.partner1, link.partner2)
        )
        for link in read_gemmi(form(p), form).connections
    ]
    assert bonds[:2] == [((2, "DCY", "SG"), (7, "DCY", "SG")), ((12, "DCY", "C"), (1, "GLY", "N"))]
    # Those of the chain too, as in wwPDB files of residues that are not standard
    along = [((i, D_NAMES[i - 1], "C"), (i + 1, D_NAMES[i], "N")) for i in range(1, 12)]
    assert bonds[2:] == along


@FORMS
@pytest.mark.parametrize(("n_cap", "c_cap"), [("ACE", "NH2"), ("ACE", None), (None, "NH2")])
@pytest.mark.parametrize("hand", [False, True])
def test_caps_are_residues_of_their_own(form, n_cap, c_cap, hand):
    p = mirrored(models=2, n_cap=n_cap, c_cap=c_cap)[0 if hand else 1]
    structure = read_gemmi(form(p), form)
    names = D_NAMES if hand else [THREE_LETTER[letter] for letter in SEQUENCE]
    expected = [name for name in (n_cap, *names, c_cap) if name]
    assert structure.entities[0].full_sequence == expected
    for model, coordinates in zip(structure, p.coordinates, strict=True):
        (chain,) = model
        residues = {residue.seqid.num: residue for residue in chain}
        assert [residue.name for residue in chain] == expected
        assert sorted(residues) == list(range(0 if n_cap else 1, 14 if c_cap else 13))
        if form is to_mmcif:
            assert [residue.label_seq for residue in chain] == list(range(1, len(expected) + 1))
        caps = place_caps(p.sequence, coordinates, n_cap, c_cap, hand)
        for number, names, cap in ((0, ["C", "O", "CH3"], caps[0]), (13, ["N"], caps[1])):
            assert (number in residues) == bool(len(cap))
            if number in residues:
                residue = residues[number]
                assert residue.het_flag == "H" and residue.entity_type == gemmi.EntityType.Polymer
                assert [atom.name for atom in residue] == names
                assert [atom.element.name for atom in residue] == [name[0] for name in names]
                assert {(atom.b_iso, atom.occ) for atom in residue} == {(0.0, 1.0)}
                np.testing.assert_allclose([atom.pos.tolist() for atom in residue], cap, atol=6e-4)
    stack = read_biotite(form(p), form)
    for number, name in ((0, n_cap), (13, c_cap)):
        here = stack.res_id == number
        assert set(stack.res_name[here]) == ({name} if name else set())
        assert stack.hetero[here].all() and not stack.b_factor[here].any()


@FORMS
def test_bonds_to_caps_are_stated_with_their_lengths(form):
    p = prediction(n_cap="ACE", c_cap="NH2")
    ends = [
        [(end.res_id.seqid.num, end.res_id.name, end.atom_name) for end in (link.partner1, link.partner2)]
        for link in read_gemmi(form(p), form).connections
    ]
    assert ends == [[(0, "ACE", "C"), (1, "GLY", "N")], [(12, "CYS", "C"), (13, "NH2", "N")]]
    lengths = [link.reported_distance for link in read_gemmi(form(p), form).connections]
    ideal = [oracles.ideal("C-N", "G"), oracles.ideal("C-N", "A")]
    np.testing.assert_allclose(lengths, ideal, atol=6e-3)


def test_caps_have_no_plddt_and_leave_that_of_the_residues():
    p, plain = prediction(models=2, n_cap="ACE", c_cap="NH2"), prediction(models=2)
    tags = ["model_id", "label_seq_id", "label_comp_id", "metric_value"]
    capped, bare = (
        [
            list(row)
            for row in gemmi.cif.read_string(to_mmcif(x)).sole_block().find("_ma_qa_metric_local.", tags)
        ]
        for x in (p, plain)
    )
    assert capped == [[model, str(int(label) + 1), *rest] for model, label, *rest in bare]
    block = gemmi.cif.read_string(to_mmcif(p)).sole_block()
    site = {(row[0], row[1]) for row in block.find("_atom_site.", ["label_seq_id", "label_comp_id"])}
    assert {(row[1], row[2]) for row in capped} == site - {("1", "ACE"), ("14", "NH2")}
    for metric in block.find("_ma_qa_metric_global.", ["model_id", "metric_value"]):
        assert float(metric[1]) == pytest.approx(p.plddt[int(metric[0]) - 1].mean(), abs=0.01)


def test_pdb_records_of_d_residues_and_caps():
    p, _ = mirrored(models=1, n_cap="ACE", c_cap="NH2", disulfides=((2, 7),))
    lines = to_pdb(p).splitlines()
    assert {len(line) for line in lines} == {80}
    assert [line[15:70].rstrip() for line in lines if line.startswith("SEQRES")] == [
        "14  ACE GLY DCY DSG DAL DPR DPN DCY DLY GLY DTY DTR DCY",
        "14  NH2",
    ]
    assert next(line for line in lines if line.startswith("SSBOND"))[11:35] == "DCY A    2    DCY A    7"
    links = [(line[12:26], line[42:56], line[73:78]) for line in lines if line.startswith("LINK")]
    names = ["ACE", *D_NAMES, "NH2"]
    assert [link[:2] for link in links] == [
        (f" C   {one} A{number:>4}", f" N   {other} A{number + 1:>4}")
        for number, (one, other) in enumerate(pairwise(names))
    ]
    assert (links[0][2], links[-1][2]) == (" 1.33", " 1.34")
    assert sum(line.startswith("TER") for line in lines) == 1
    assert next(line for line in lines if line.startswith("TER"))[17:26] == "NH2 A  13"
    text = " ".join(line[11:].strip() for line in lines if line.startswith("REMARK"))
    assert "All residues with a hand are D: the mirror image" in text and "ACE and NH2: not modelled" in text


def test_own_reader_passes_caps_over_and_refuses_d_residues(tmp_path):
    path = tmp_path / "x.cif"
    p = prediction(models=1, n_cap="ACE", c_cap="NH2")
    for form in (to_mmcif, to_pdb):
        path.write_text(form(p))
        (backbone,) = read_structure(path).backbones
        assert backbone.sequence == SEQUENCE
        np.testing.assert_allclose(backbone.coordinates, p.coordinates[0, :, :4], atol=6e-4)
        path.write_text(form(mirrored()[0]))
        with pytest.raises(BetafoldError, match="no protein chain"):
            read_structure(path)
