"""Our mmCIF files against the ModelCIF dictionary, and the numbers by which viewers colour.

The rules below were read in the ModelCIF dictionary 1.4.9 and the PDBx dictionary on which it stands
(https://github.com/ihmwg/ModelCIF, https://mmcif.wwpdb.org): of the categories that we write, the mandatory items,
the keys, the parents of items that point elsewhere, and the allowed values. Where a whole dictionary is at hand gemmi
checks it all: ``BETAFOLD_MMCIF_DICTIONARY`` names a ``mmcif_ma.dic``, or Debian's package libcifpp-data brings one.
"""

import io
import os
import warnings
from pathlib import Path

import biotite.structure.io.pdbx as pdbx
import gemmi
import numpy as np
import pytest
from structure_helpers import KEYS, MANDATORY, PARENTS, prediction

from betafold_mlx.structure.writer import to_mmcif

D = {"d_amino_acids": True, "n_cap": "ACE", "c_cap": "NH2", "models": 2}
MODIFIED = {3: "AIB", 4: "ORN", 5: "HYP", 6: "DPN", 9: "SAR", 10: "PTR", 11: "BTR"}
CASES = {
    "linear": {},
    "one model": {"models": 1},
    "ring and disulfide": {"cyclic": True, "disulfides": ((2, 7),)},
    "disulfide alone": {"disulfides": ((2, 12),)},
    "D and caps": D,
    "all there is to say": {**D, "disulfides": ((2, 7),), "id": "a 'title' with; all", "model_name": "x y"},
    "nothing to say": {"model_name": "", "id": ""},
    "modified, with caps": {"residues": MODIFIED, "n_cap": "ACE", "c_cap": "NH2", "disulfides": ((2, 7),)},
    "modified ring": {"residues": MODIFIED, "cyclic": True, "disulfides": ((2, 7),)},
}
ALL = pytest.mark.parametrize("case", CASES)


# Rows of several items together point to a row of the parent.
BOND_PARENTS = [("_struct_conn.conn_type_id", "_struct_conn_type.id")] + [
    (
        f"_struct_conn.ptnr{end}_{label}_asym_id ptnr{end}_{label}_seq_id ptnr{end}_{label}_comp_id{atom}",
        f"_atom_site.{label}_asym_id {label}_seq_id {label}_comp_id{of}",
    )
    for end in (1, 2)
    for label, atom, of in (("label", f" ptnr{end}_label_atom_id", " label_atom_id"), ("auth", "", ""))
]

VALUES = {
    "_entity.type": {"polymer"},
    "_entity_poly.type": {"polypeptide(L)", "polypeptide(D)"},
    "_entity_poly.nstd_monomer": {"yes", "no"},
    "_entity_poly.nstd_linkage": {"no"},
    "_exptl.method": {"THEORETICAL MODEL"},
    "_atom_site.group_PDB": {"ATOM", "HETATM"},
    "_software.type": {"package"},
    "_chem_comp.type": {"L-peptide linking", "D-peptide linking", "peptide linking", "non-polymer"},
    "_struct_conn.conn_type_id": {"disulf", "covale"},
    "_chem_comp_bond.value_order": {"SING", "DOUB", "TRIP"},
    "_chem_comp_bond.pdbx_aromatic_flag": {"N"},
    "_ma_data.content_type": {"target", "model coordinates"},
    "_ma_target_entity.origin": {"designed"},
    "_ma_protocol_step.method_type": {"modeling"},
    "_ma_model_list.model_type": {"Ab initio model"},
    "_ma_qa_metric.type": {"pLDDT"},
    "_ma_qa_metric.mode": {"global", "local"},
}


def block_of(case):
    return gemmi.cif.read_string(to_mmcif(prediction(**CASES[case]))).sole_block()


def rows(block, items):
    """Return the rows of `_category.item item ...` as tuples of raw values."""
    category, _, names = items.partition(".")
    table = block.find(f"{category}.", names.split())
    assert len(table), items
    return [tuple(row) for row in table]


def null(row):
    return any(value in ("?", ".") for value in row)


@ALL
def test_mandatory_items_are_there_with_values(case):
    block = block_of(case)
    categories = {name.rstrip(".") for name in block.get_mmcif_category_names()}
    assert categories - set(MANDATORY) == set()  # what is new must be looked up
    assert set(MANDATORY) - categories <= {"_struct_conn", "_struct_conn_type", "_chem_comp_bond"}
    assert ("_chem_comp_bond" in categories) == bool(CASES[case].keys() & {"d_amino_acids", "residues"})
    assert ("_struct_conn" in categories) == bool(CASES[case].keys() & {"cyclic", "disulfides", "n_cap"})
    for category in categories:
        for item in MANDATORY[category].split():
            values = rows(block, f"{category}.{item}")
            assert item == "label_alt_id" or not any(map(null, values)), (category, item)


@ALL
def test_keys_are_unique(case):
    block = block_of(case)
    assert set(KEYS) == set(MANDATORY)
    for name in block.get_mmcif_category_names():
        found = rows(block, f"{name}{KEYS[name.rstrip('.')]}")
        assert len(set(found)) == len(found), name


@ALL
def test_every_reference_leads_to_a_row(case):
    block = block_of(case)
    bonds = "_struct_conn." in block.get_mmcif_category_names()
    components = "_chem_comp_bond." in block.get_mmcif_category_names()
    known = [("_chem_comp_bond.comp_id", "_chem_comp.id")]
    known += [
        (f"_chem_comp_bond.comp_id atom_id_{k}", "_atom_site.label_comp_id label_atom_id") for k in (1, 2)
    ]
    for child, parent in PARENTS + BOND_PARENTS * bonds + known * components:
        there = set(rows(block, parent))
        assert {row for row in rows(block, child) if not null(row)} <= there, (child, parent)


@ALL
def test_values_are_those_of_the_dictionary(case):
    block = block_of(case)
    for tag, allowed in VALUES.items():
        assert {gemmi.cif.as_string(value) for value in block.find_values(tag)} <= allowed, tag


def test_the_sequences_of_modified_residues():
    block = block_of("modified, with caps")
    assert block.find_value("_entity_poly.pdbx_seq_one_letter_code") == (
        "(ACE)GC(AIB)(ORN)(HYP)(DPN)CK(SAR)(PTR)(BTR)C(NH2)"
    )
    # "The codes of their parents if parent is specified in _chem_comp.mon_nstd_parent_comp_id", says the dictionary.
    parents = dict(rows(block, "_chem_comp.id mon_nstd_parent_comp_id"))
    sequence = rows(block, "_entity_poly_seq.mon_id")
    letters = [gemmi.find_tabulated_residue(parents[code].replace("?", code)) for (code,) in sequence]
    canonical = "".join(each.one_letter_code if each.is_amino_acid() else "X" for each in letters)
    assert canonical == block.find_value("_entity_poly.pdbx_seq_one_letter_code_can") == "XGCAKPFCKGYWCX"
    assert {parents[code] for code in ("GLY", "CYS", "LYS", "ACE", "NH2")} == {"?"}
    types = dict(rows(block, "_chem_comp.id type"))
    assert {gemmi.cif.as_string(types[code]) for code in ("AIB", "ORN", "PTR")} == {"L-peptide linking"}
    assert gemmi.cif.as_string(types["DPN"]) == "D-peptide linking"
    assert gemmi.cif.as_string(types["SAR"]) == "peptide linking"
    ends = rows(block, "_struct_conn.conn_type_id ptnr1_label_comp_id ptnr2_label_comp_id")
    assert ends[0] == ("disulf", "CYS", "CYS")
    assert {("covale", "ACE", "GLY"), ("covale", "CYS", "AIB"), ("covale", "CYS", "NH2")} <= set(ends)


def test_the_sulfurs_of_a_disulfide_are_named_where_they_are_in_the_file():
    atoms = rows(
        block_of("ring and disulfide"), "_struct_conn.conn_type_id ptnr1_label_atom_id ptnr2_label_atom_id"
    )
    assert atoms == [("disulf", "SG", "SG"), ("covale", "C", "N")]
    p = prediction(**CASES["ring and disulfide"]).backbone_only()
    block = gemmi.cif.read_string(to_mmcif(p)).sole_block()
    atoms = rows(block, "_struct_conn.conn_type_id ptnr1_label_atom_id ptnr2_label_atom_id")
    assert atoms == [("disulf", "?", "?"), ("covale", "C", "N")]
    details = [gemmi.cif.as_string(value) for value in block.find_values("_struct_conn.details")]
    assert "SG" in details[0] and not details[1]


@ALL
def test_biotite_reads_every_model_without_a_word(case):
    p = prediction(**CASES[case])
    file = pdbx.CIFFile.read(io.StringIO(to_mmcif(p)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for model in range(1, len(p.coordinates) + 1):
            atoms = pdbx.get_structure(file, model=model, extra_fields=["b_factor"], include_bonds=True)
            names = (atoms.atom_name == "CA") & ~np.isin(atoms.res_name, ["ACE", "NH2"])
            assert atoms.res_id[names].tolist() == list(range(1, 13))
            np.testing.assert_allclose(atoms.b_factor[names], p.plddt[model - 1], atol=6e-3)
    by_author, by_label = (
        pdbx.get_structure(file, model=1, use_author_fields=author) for author in (True, False)
    )
    shift = int(p.peptide.n_cap is not None)
    np.testing.assert_array_equal(by_author.res_id + shift, by_label.res_id)
    for annotation in ("chain_id", "res_name", "atom_name"):
        np.testing.assert_array_equal(getattr(by_author, annotation), getattr(by_label, annotation))


@ALL
def test_b_factors_and_local_metrics_are_the_plddt(case):
    """What ChimeraX and PyMOL colour by (B-factors), and what Mol* does (``_ma_qa_metric_local``)."""
    p = prediction(**CASES[case])
    block = gemmi.cif.read_string(to_mmcif(p)).sole_block()
    metrics = {row[0]: row[1:] for row in rows(block, "_ma_qa_metric.id name type mode")}
    local = {
        (int(model), int(seq)): float(value)
        for model, seq, metric, value in rows(
            block, "_ma_qa_metric_local.model_id label_seq_id metric_id metric_value"
        )
        if metrics[metric] == ("pLDDT", "pLDDT", "local")
    }
    structure = gemmi.make_structure_from_block(block)
    seen = {}
    for model in structure:
        for residue in model["A"]:
            if residue.name in ("ACE", "NH2"):
                assert {atom.b_iso for atom in residue} == {0.0}
                continue
            (b,) = {round(atom.b_iso, 2) for atom in residue}
            assert b == pytest.approx(p.plddt[model.num - 1, residue.seqid.num - 1], abs=6e-3)
            seen[model.num, residue.label_seq] = b
    assert seen == pytest.approx(local, abs=6e-3) and len(seen) == p.plddt.size


DICTIONARY = Path(os.environ.get("BETAFOLD_MMCIF_DICTIONARY") or "/usr/share/libcifpp/mmcif_ma.dic")
# Not of our file: that a category comes from ModelCIF, an inconsistency of the dictionary with itself, and that the
# atoms of the components are listed in the Chemical Component Dictionary and not here.
NOT_OURS = ("category indicated as CONTRIBUTED", "Bad DDL2: different parents", "_chem_comp_atom.")


@pytest.fixture(scope="module")
def complaints():
    """Return what gemmi says of a file against the whole dictionary."""
    if not DICTIONARY.exists():
        pytest.skip(
            f"no {DICTIONARY}: name one in BETAFOLD_MMCIF_DICTIONARY, or apt-get install libcifpp-data"
        )
    said = []
    ddl = gemmi.cif.Ddl(said.append, print_unknown_tags=True)
    ddl.read_ddl(gemmi.cif.read(str(DICTIONARY)))

    def check(text):
        said.clear()
        valid = ddl.validate_cif(gemmi.cif.read_string(text))
        return valid, [line for line in said if not any(known in line for known in NOT_OURS)]

    return check


@ALL
def test_gemmi_finds_nothing_against_the_whole_dictionary(complaints, case):
    assert complaints(to_mmcif(prediction(**CASES[case]))) == (True, [])


@pytest.mark.parametrize(
    ("tag", "value", "complaint"),
    [
        ("_struct_conn.ptnr1_label_seq_id", "99", "missing parent"),
        ("_ma_data.content_type", "guesses", "guesses"),
        ("_ma_qa_metric_local.metric_value", "high", "high"),
        ("_ma_model_list.model_type", None, "missing mandatory"),
    ],
)
def test_and_would_find_what_is_wrong(complaints, tag, value, complaint):
    block = gemmi.cif.read_string(to_mmcif(prediction(cyclic=True, disulfides=((2, 7),)))).sole_block()
    column = block.find_values(tag)
    if value is None:
        column.get_loop().remove_column(tag)
    else:
        column[0] = value
    _, found = complaints(block.as_string())
    assert any(complaint in line for line in found), found
