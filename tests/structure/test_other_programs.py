"""Files of folded peptides in the programs that take them: gemmi, biotite, RDKit, MDAnalysis, OpenMM.

The bonds that a program finds are compared with those that the Chemical Component Dictionary has for the residues, as
biotite carries it. ``BETAFOLD_PEPTIDES=405`` lets the slow test take every peptide of ../shared/data.
"""

import gzip
import io
import json
import os
import subprocess
import sys
import warnings
from functools import cache
from itertools import pairwise

import biotite.structure.info as ccd
import biotite.structure.io.pdb as biotite_pdb
import biotite.structure.io.pdbx as biotite_pdbx
import gemmi
import pytest
from structure_helpers import ideal, prediction

from betafold_mlx import Peptide, Predictor
from betafold_mlx.evaluate.items import evenly_spread
from betafold_mlx.peptide.bonds import StatedBond

LINEAR, ENDOTHELIN, RING = "GIGKFLHSAKKFGKAFVGEIMNS", "CSCSSLMDKECVYFCHLDIIW", "GRCTKSIPPICFPD"
FOLDS = {
    "linear": (LINEAR, {}),
    "disulfides": (ENDOTHELIN, {"disulfides": [(1, 15), (3, 11)]}),
    "ring": (RING, {"cyclic": True, "disulfides": [(3, 11)]}),
    "D": (LINEAR, {"d_amino_acids": True}),
    "D ring": (RING, {"cyclic": True, "disulfides": [(3, 11)], "d_amino_acids": True}),
    "capped": ("KLAKLAKKLAKLAK", {"n_cap": "ACE", "c_cap": "NH2"}),
    "vicinal": ("GACCKAWG", {"disulfides": [(3, 4)]}),
    "oxytocin": ("CYIQNCPLG", {"disulfides": [(1, 6)], "c_cap": "NH2"}),
}
BUILT = {
    "NME": ("KLAKLAKK", {"n_cap": "ACE", "c_cap": "NME"}),
    "FOR": ("VGALAWLK", {"n_cap": "FOR"}),
    "MYR": ("GAKLSKFL", {"n_cap": "MYR"}),
    "modified": (
        "AEAMKSSTYAKFWCR",
        {
            "residues": {
                1: "AIB",
                3: "SAR",
                4: "MSE",
                5: "ALY",
                6: "SEP",
                8: "TPO",
                9: "PTR",
                11: "M3L",
                12: "PHI",
            }
        },
    ),
    "side chains bonded": (
        "AKAAEAGDAK",
        {"bonds": [StatedBond(2, "NZ", 5, "CD"), StatedBond(8, "CG", 10, "NZ")]},
    ),
}
NO_TEMPLATE = ("D", "D ring", "FOR", "MYR", "modified", "side chains bonded")  # in ff14SB
CASES = pytest.mark.parametrize("case", [*FOLDS, *BUILT])


@cache
def predictor():
    return Predictor.load()


@cache
def made(case):
    if case in FOLDS:
        sequence, chemistry = FOLDS[case]
        return predictor().fold(sequence, **chemistry)
    sequence, changes = BUILT[case]
    return prediction(sequence, 1, coordinates=ideal(sequence)[None], **changes)


@cache
def heavy_bonds(code):
    """Return the bonds between heavy atoms of a component by names, and its elements."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        atoms = ccd.residue(code, allow_missing_coord=True)
    elements = dict(zip(atoms.atom_name.tolist(), atoms.element.tolist(), strict=True))
    pairs = ccd.bonds_in_residue(code)
    return [pair for pair in pairs if "H" not in (elements[pair[0]], elements[pair[1]])], elements


def expected_bonds(p, atoms):
    """Return the bonds of a peptide between the atoms of its file, a list of (number, code, name)."""
    peptide, found = p.peptide, set()
    index = {(number, name): place for place, (number, _, name) in enumerate(atoms)}
    codes = {number: code for number, code, _ in atoms}
    pairs = [((n, a), (n, b)) for n, code in codes.items() for a, b in heavy_bonds(code)[0]]
    ends = {code: ("C1" if code == "MYR" else "C", "N") for code in codes.values()}
    pairs += [((i, ends[codes[i]][0]), (j, ends[codes[j]][1])) for i, j in pairwise(sorted(codes))]
    pairs += [((bond.i, bond.atom_i), (bond.j, bond.atom_j)) for bond in peptide.bonds]
    for a, b in pairs:
        if a in index and b in index:
            found.add(tuple(sorted((index[a], index[b]))))
    return found


def atoms_of(text):
    """Return number, component and name of every atom of PDB text."""
    lines = [line for line in text.splitlines() if line.startswith(("ATOM", "HETATM"))]
    return [(int(line[22:26]), line[17:20].strip(), line[12:16].strip()) for line in lines]


@CASES
def test_gemmi_and_biotite_read_all_atoms_and_bonds_without_a_word(case):
    p = made(case)
    atoms = atoms_of(p.text("pdb"))
    wanted = expected_bonds(p, atoms)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pdb = biotite_pdb.PDBFile.read(io.StringIO(p.text("pdb"))).get_structure(model=1, include_bonds=True)
        cif = biotite_pdbx.CIFFile.read(io.StringIO(p.text("cif")))
        cif = biotite_pdbx.get_structure(cif, model=1, include_bonds=True)
    for array in (pdb, cif):
        columns = (array.res_id.tolist(), array.res_name.tolist(), array.atom_name.tolist())
        assert list(zip(*columns, strict=True)) == atoms
        assert array.element.tolist() == [heavy_bonds(code)[1][name] for _, code, name in atoms]
        assert {tuple(sorted(map(int, row[:2]))) for row in array.bonds.as_array()} == wanted
    for structure in (gemmi.read_pdb_string(p.text("pdb")), p.to_gemmi()):
        found = [(r.seqid.num, r.name, a.name) for r in structure[0]["A"] for a in r]
        assert found == atoms


@CASES
def test_all_atoms_of_the_dictionary_are_there(case):
    p = made(case)
    lacking = {}
    for number, code in enumerate(p.peptide.residues, start=1):
        elements = heavy_bonds(code)[1]
        names = {name for n, _, name in atoms_of(p.text("pdb")) if n == number}
        lacking[number] = {name for name, element in elements.items() if element != "H"} - names
    last = len(p.peptide)
    free = p.peptide.c_cap is None and not p.peptide.cyclic
    expected = {number: set() if number == last and free else {"OXT"} for number in lacking}
    if case == "side chains bonded":
        expected[5].add("OE2")
        expected[8].add("OD2")
    assert lacking == expected


@CASES
def test_rdkit_finds_one_molecule_with_the_right_bonds_and_hands(case, capfd):
    chem = pytest.importorskip("rdkit.Chem")
    p = made(case)
    atoms = atoms_of(p.text("pdb"))
    molecule = chem.MolFromPDBBlock(p.text("pdb"))
    assert capfd.readouterr().err == ""
    assert len(chem.GetMolFrags(molecule)) == 1
    bonds = {tuple(sorted((b.GetBeginAtomIdx(), b.GetEndAtomIdx()))) for b in molecule.GetBonds()}
    assert bonds == expected_bonds(p, atoms)
    chem.AssignStereochemistryFrom3D(molecule)
    hands = dict(chem.FindMolChiralCenters(molecule, includeUnassigned=True, useLegacyImplementation=False))
    for place, (_, code, name) in enumerate(atoms):
        if name == "CA" and code not in ("GLY", "AIB", "SAR"):
            assert hands[place] == ("S" if (code in ("CYS", "DCY")) == p.peptide.d_amino_acids else "R"), code
        if code in ("ILE", "THR", "DIL", "DTH") and name == "CB":  # (2S,3S)-isoleucine, (2S,3R)-threonine
            assert hands[place] == ("S" if code in ("ILE", "DTH") else "R"), code
    # What the atoms alone do not say: orders, as in the dictionary
    double = {
        atom.GetPDBResidueInfo().GetName().strip()
        for atom in molecule.GetAtoms()
        if any(str(bond.GetBondType()) == "DOUBLE" for bond in atom.GetBonds())
    }
    assert "CA" not in double and "N" not in double and {"C", "O"} - {"C1", "O1"} <= double


@CASES
def test_mdanalysis_has_all_bonds_where_it_is_told_any(case, tmp_path):
    mda = pytest.importorskip("MDAnalysis")
    p = made(case)
    text = p.text("pdb")
    path = tmp_path / "x.pdb"
    path.write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="1 A.3 CRYST1 record, this is usually a placeholder")
        universe = mda.Universe(str(path))
    if "CONECT" in text:
        bonds = {tuple(sorted(map(int, pair))) for pair in universe.bonds.indices}
        assert bonds == expected_bonds(p, atoms_of(text)) and len(universe.atoms.fragments) == 1
    else:
        assert case == "linear" and not hasattr(universe, "bonds")  # so that it may guess them


@CASES
def test_openmm_takes_them(case):
    app = pytest.importorskip("openmm.app")
    p = made(case)
    atoms = atoms_of(p.text("pdb"))
    pdb, cif = app.PDBFile(io.StringIO(p.text("pdb"))), app.PDBxFile(io.StringIO(p.text("cif")))
    wanted = expected_bonds(p, atoms)
    # In mmCIF OpenMM takes DCY, D-cysteine, for another name of deoxycytidine
    for file in (pdb,) if "DCY" in p.peptide.residues else (pdb, cif):
        bonds = {tuple(sorted((a.index, b.index))) for a, b in file.topology.bonds()}
        assert bonds == wanted
    if case in NO_TEMPLATE:
        return
    system_of(app, p, pdb)


def system_of(app, p, file):
    """Return the system that OpenMM makes of a file."""
    modeller = app.Modeller(file.topology, file.positions)
    modeller.addHydrogens()
    if p.peptide.cyclic:  # OpenMM gives every first residue the hydrogens of an end
        first = next(modeller.topology.residues())
        modeller.delete([atom for atom in first.atoms() if atom.name in ("H2", "H3")])
    system = app.ForceField("amber14-all.xml").createSystem(modeller.topology)
    hydrogens = sum(atom.element.symbol == "H" for atom in modeller.topology.atoms())
    assert system.getNumParticles() == hydrogens + len(atoms_of(p.text("pdb")))
    return system


@pytest.mark.parametrize("case", ["ring", "linear"])
def test_pdb2pqr_gives_ends_to_chains_and_none_to_rings(case, tmp_path):
    pytest.importorskip("pdb2pqr")
    path = tmp_path / "x.pdb"
    path.write_text(made(case).text("pdb"))
    command = [sys.executable, "-m", "pdb2pqr", "--ff=AMBER", str(path), str(tmp_path / "x.pqr")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "ERROR" not in done.stderr and "non-standard" not in done.stderr
    lines = [
        line.split() for line in (tmp_path / "x.pqr").read_text().splitlines() if line.startswith("ATOM")
    ]
    ends = {name for _, _, name, *_ in lines} & {"H2", "H3", "OXT"}
    assert ends == (set() if case == "ring" else {"H2", "H3", "OXT"})
    charge = sum(float(words[-2]) for words in lines)
    assert charge == pytest.approx(round(charge), abs=1e-3)


@pytest.mark.slow
def test_peptides_of_the_data(shared_data, tmp_path):
    """Ten peptides of the data, or as many as ``BETAFOLD_PEPTIDES`` says, and every third one as D."""
    app, chem, mda = (pytest.importorskip(name) for name in ("openmm.app", "rdkit.Chem", "MDAnalysis"))
    with gzip.open(shared_data / "peptides.jsonl.gz", "rt") as lines:
        records = [json.loads(line) for line in lines]
    records = evenly_spread(records, int(os.environ.get("BETAFOLD_PEPTIDES", "10")))
    chemistry = [(r["seq"], r["cyclic"], [tuple(pair) for pair in r["disulfides"]]) for r in records]
    peptides = [Peptide.of(*one) for one in chemistry] + [Peptide.of(*one, True) for one in chemistry[::3]]
    unlike = []
    for p in predictor().fold_many(peptides):
        text = p.text("pdb")
        atoms = atoms_of(text)
        wanted = expected_bonds(p, atoms)
        (tmp_path / "x.pdb").write_text(text)
        file = app.PDBFile(io.StringIO(text))
        found = [[(a.index, b.index) for a, b in file.topology.bonds()]]
        for array in (
            biotite_pdb.PDBFile.read(io.StringIO(text)).get_structure(model=1, include_bonds=True),
            p.to_biotite(),
        ):
            found.append([row[:2] for row in array.bonds.as_array().tolist()])
        if "CONECT" in text:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="1 A.3 CRYST1 record")
                found.append(mda.Universe(str(tmp_path / "x.pdb")).bonds.indices.tolist())
        # RDKit bonds atoms that are near enough, so that a clash can be a bond of its own
        molecule = chem.MolFromPDBBlock(text)
        pairs = (
            []
            if molecule is None
            else [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in molecule.GetBonds()]
        )
        if {tuple(sorted(pair)) for pair in pairs} != wanted:
            unlike.append((p.id, p.clashes[0], p.side_chain_clashes[0]))
        for bonds in found:
            assert {tuple(sorted(pair)) for pair in bonds} == wanted, p.id
        if not p.peptide.d_amino_acids:
            system_of(app, p, file)
    assert len(unlike) <= len(peptides) / 50, unlike
