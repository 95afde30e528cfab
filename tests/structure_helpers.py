"""Small structure files for tests: ideal coordinates, and PDB or mmCIF text with anything wrong on purpose."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, replace

import biotite.structure.io.pdb as biotite_pdb
import biotite.structure.io.pdbx as biotite_pdbx
import gemmi
import mlx.core as mx
import numpy as np

from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.geometry import build_backbone
from betafold_mlx.geometry.checks import Bond
from betafold_mlx.geometry.disulfides import CB_SG_SG, SG_SG, sulfur
from betafold_mlx.geometry.side_chains import build_side_chains, side_chains
from betafold_mlx.geometry.spread import superpose_models
from betafold_mlx.peptide.leaving import open_end
from betafold_mlx.peptide.sequence import D_THREE_LETTER, THREE_LETTER, Peptide, residue_ids
from betafold_mlx.structure.writer import _title, block_name, to_pdb

NAMES = ("N", "CA", "C", "O", "CB")
CIF_TAGS = (
    "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_seq_id "
    "pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy B_iso_or_equiv auth_seq_id auth_asym_id "
    "pdbx_PDB_model_num"
)


@dataclass(frozen=True)
class Row:
    """One atom record; text fields go into the file as they are."""

    atom: str
    residue: str
    number: int
    xyz: tuple
    chain: str = "A"
    insertion: str = ""
    altloc: str = ""
    occupancy: float = 1.0
    record: str = "ATOM"
    model: int = 1
    label_chain: str = ""
    label_number: str = ""


def ideal(sequence: str, phi: float = -63.0, psi: float = -42.0, seed: int | None = None) -> np.ndarray:
    """Return (L, 5, 3): a helix, or with a seed a chain of random torsions."""
    length = len(sequence)
    torsions = np.tile(np.radians([phi, psi, 180.0]), (length, 1))
    if seed is not None:
        torsions[:, :2] = np.random.default_rng(seed).uniform(-np.pi, np.pi, (length, 2))
    atoms = build_backbone(mx.array(torsions[None].astype(np.float32)), mx.array(residue_ids(sequence))[None])
    return np.array(atoms[0])


def ring(length: int) -> np.ndarray:
    """Return (L, 5, 3): backbone atoms on a regular polygon of side 1.45 A, so that the chain is closed."""
    angles = 2 * np.pi * np.arange(3 * length) / (3 * length)
    radius = 1.45 / (2 * np.sin(np.pi / (3 * length)))
    circle = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], axis=-1)
    atoms = (radius * circle).reshape(length, 3, 3)  # N, CA, C
    o = (radius + 1.23) * circle[2::3]
    cb = (radius + 0.9) * circle[1::3] + [0.0, 0.0, 1.2]
    return np.concatenate([atoms, o[:, None], cb[:, None]], axis=1)


def rows(sequence: str, atoms: np.ndarray, chain: str = "A", start: int = 1, model: int = 1) -> list[Row]:
    """Return the atom records of a chain; CB is left out for Gly."""
    return [
        Row(name, THREE_LETTER[letter], start + i, tuple(atoms[i, k].tolist()), chain=chain, model=model)
        for i, letter in enumerate(sequence)
        for k, name in enumerate(NAMES)
        if not (name == "CB" and letter == "G")
    ]


def edit(records: Iterable[Row], number: int, atom: str | None = None, **changes: object) -> list[Row]:
    """Return the records with changed fields in one residue, or in one atom of it."""
    return [
        replace(row, **changes) if row.number == number and atom in (None, row.atom) else row
        for row in records
    ]


def without(records: Iterable[Row], number: int, atom: str | None = None) -> list[Row]:
    """Return the records without one residue, or without one atom of it."""
    return [row for row in records if not (row.number == number and atom in (None, row.atom))]


def _coordinate(value: object, width: int) -> str:
    return f"{value:>{width}}" if isinstance(value, str) else f"{value:{width}.3f}"


def pdb(records: Iterable[Row], header: str = "") -> str:
    """Return PDB text with MODEL records where there are several models, TER after each chain."""
    records = list(records)
    several = len({row.model for row in records}) > 1
    lines, previous = [header] if header else [], None
    for serial, row in enumerate(records, start=1):
        if previous and (row.chain, row.model) != (previous.chain, previous.model):
            lines.append("TER")
        if several and (previous is None or row.model != previous.model):
            lines += ["ENDMDL"] * (previous is not None) + [f"MODEL     {row.model:>4}"]
        previous = row
        xyz = "".join(_coordinate(value, 8) for value in row.xyz)
        name = row.atom if len(row.atom) == 4 else f" {row.atom}"
        lines.append(
            f"{row.record:<6}{serial:>5} {name:<4}{row.altloc or ' '}{row.residue:>3} {row.chain or ' '}"
            f"{row.number:>4}{row.insertion or ' '}   {xyz}{row.occupancy:6.2f}{0:6.2f}          {row.atom[0]:>2}"
        )
    return "\n".join([*lines, "TER", *["ENDMDL"] * several, "END", ""])


def cif(records: Iterable[Row], head: str = "") -> str:
    """Return mmCIF text with nothing but atoms (and what `head` adds)."""
    lines = ["data_test", head, "loop_", *(f"_atom_site.{tag}" for tag in CIF_TAGS.split())]
    for serial, row in enumerate(records, start=1):
        fields = [row.record, serial, row.atom[0], row.atom, row.altloc or ".", row.residue]
        fields += [row.label_chain or row.chain, row.label_number or row.number, row.insertion or "?"]
        fields += [_coordinate(value, 1) for value in row.xyz]
        fields += [row.occupancy, 0.0, row.number, row.chain, row.model]
        lines.append(" ".join(str(field) for field in fields))
    return "\n".join([*lines, ""])


SEQUENCE = "GCNAPFCKGYWC"
ATOMS = ("N", "CA", "C", "O", "CB")


def side_chains_of(peptide, backbone, chi=(-1.1, 3.1, 3.1, 3.1, 3.1)):
    """Return the fields of a prediction for all heavy atoms of models (M, L, 5, 3), all of these chi angles."""
    count, length = backbone.shape[:2]
    chains = side_chains([peptide.residues] * count, [open_end(peptide)] * count, length)
    chi = mx.broadcast_to(mx.array(chi), (count, length, len(chi)))
    phi = mx.full((count, length), -1.1)
    built = np.array(build_side_chains(mx.array(np.nan_to_num(backbone)), chi, chains, phi))
    built[~np.array(chains.mask)] = np.nan
    built[:, :, 4][np.isnan(backbone[:, :, 4])] = np.nan
    return {"atoms": built, "atom_names": tuple(chains.names[0])}


def with_side_chains(prediction):
    """Return a folded prediction with all heavy atoms."""
    return replace(prediction, **side_chains_of(prediction.peptide, prediction.coordinates))


def prediction(sequence=SEQUENCE, models=3, seed=0, residues=None, bonds=(), **changes):
    """Return models of random torsions, superposed as files have them; every stated bond counts as formed.

    `residues` are codes that stand for others than the letters say, and `bonds` more bonds.
    """
    generator = np.random.default_rng(seed)
    coordinates = np.stack([ideal(sequence, seed=seed + model) for model in range(models)])
    coordinates[:, [letter == "G" for letter in sequence], 4] = np.nan
    names = ("cyclic", "disulfides", "d_amino_acids", "n_cap", "c_cap")
    stated = {name: changes.pop(name) for name in names if name in changes}
    peptide = Peptide.of(sequence, **stated)
    if residues or bonds:
        codes = [(residues or {}).get(place, code) for place, code in enumerate(peptide.residues, start=1)]
        peptide = replace(peptide, residues=tuple(codes), bonds=tuple(sorted([*peptide.bonds, *bonds])))
    coordinates = changes.pop("coordinates", superpose_models(coordinates.astype(np.float32)))
    bonds = [Bond("ring", (1, len(sequence)), 1.33, True)] if peptide.cyclic else []
    bonds += [Bond("disulfide", pair, 3.9, True) for pair in peptide.disulfides]
    made = {
        "id": "x",
        "peptide": peptide,
        "coordinates": coordinates,
        **side_chains_of(peptide, coordinates),
        "plddt": generator.uniform(0, 100, (models, len(sequence))).astype(np.float32),
        "torsions": np.zeros((models, len(sequence), 3), np.float32),
        "secondary_structure": ("C" * len(sequence),) * models,
        "bonds": (tuple(bonds),) * models,
        "clashes": (0,) * models,
        "through": (False,) * models,
        "templates": (),
        "threaded": (None,) * models,
        "seed": 0,
        "model_name": "betafold-mini",
        "model_sha256": "0" * 64,
        "embedder": {"kind": "residue", "label": "a residue embedding learned with the model"},
    }
    return Prediction(**made | changes)


def expected_atoms(p):
    """Return names, residue names, residue numbers, coordinates (M, A, 3) and B-factors (M, A) of the atoms.

    Of an L peptide without caps.
    """
    kept = [(i, k) for i, row in enumerate(p.atom_names) for k, name in enumerate(row) if name]
    i, k = np.array(kept).T
    names = [p.atom_names[residue][slot] for residue, slot in kept]
    residues = [THREE_LETTER[p.sequence[index]] for index in i]
    return names, residues, (i + 1).tolist(), p.atoms[:, i, k], p.plddt[:, i]


def gemmi_structure(p):
    """Return a prediction as a gemmi structure, atom by atom: what gemmi makes of it is another way to write it.

    Of a peptide without caps; without bonds, which gemmi does not write between atoms that are absent.
    """
    structure = gemmi.Structure()
    structure.name = structure.info["_entry.id"] = block_name(p.id)
    structure.info["_struct.title"] = _title(p)
    structure.info["_exptl.method"] = "THEORETICAL MODEL"
    structure.info["_cell.Z_PDB"] = "1"
    entity = gemmi.Entity("1")
    entity.entity_type = gemmi.EntityType.Polymer
    entity.polymer_type = (
        gemmi.PolymerType.PeptideD if p.peptide.d_amino_acids else gemmi.PolymerType.PeptideL
    )
    codes = D_THREE_LETTER if p.peptide.d_amino_acids else THREE_LETTER
    entity.full_sequence = [codes[letter] for letter in p.sequence]
    entity.subchains = ["A"]
    structure.entities.append(entity)
    for number, (atoms, plddt) in enumerate(zip(superpose_models(p.atoms), p.plddt, strict=True), start=1):
        model = gemmi.Model(number)
        model.add_chain(gemmi.Chain("A"))
        for place, letter in enumerate(p.sequence):
            residue = gemmi.Residue()
            residue.name, residue.seqid = codes[letter], gemmi.SeqId(place + 1, " ")
            residue.label_seq, residue.subchain, residue.entity_id = place + 1, "A", "1"
            residue.entity_type = gemmi.EntityType.Polymer
            residue.het_flag = "A" if codes[letter] == THREE_LETTER[letter] else "H"
            for name, position in zip(p.atom_names[place], atoms[place], strict=False):
                if not name:
                    continue
                atom = gemmi.Atom()
                atom.name, atom.element, atom.occ = name, gemmi.Element(name[0]), 1.0
                atom.pos = gemmi.Position(*(round(float(x), 3) + 0.0 for x in position))
                atom.b_iso = round(float(plddt[place]), 2)
                residue.add_atom(atom)
            model["A"].add_residue(residue)
        structure.add_model(model)
    structure.assign_serial_numbers()
    return structure


def read_gemmi(text, form):
    structure = (
        gemmi.read_pdb_string(text)
        if form is to_pdb
        else gemmi.make_structure_from_block(gemmi.cif.read_string(text).sole_block())
    )
    structure.setup_entities()
    return structure


def read_biotite(text, form):
    fields = ["b_factor", "occupancy"]
    if form is to_pdb:
        return biotite_pdb.PDBFile.read(io.StringIO(text)).get_structure(extra_fields=fields)
    return biotite_pdbx.get_structure(biotite_pdbx.CIFFile.read(io.StringIO(text)), extra_fields=fields)


MANDATORY = {
    "_entry": "id",
    "_entity": "id",
    "_entity_poly": "entity_id",
    "_entity_poly_seq": "entity_id mon_id num",
    "_exptl": "entry_id method",
    "_struct": "entry_id",
    "_struct_asym": "entity_id id",
    "_atom_type": "symbol",
    "_atom_site": "auth_asym_id id label_alt_id label_asym_id label_atom_id label_comp_id label_entity_id label_seq_id "
    "type_symbol",
    "_pdbx_poly_seq_scheme": "asym_id entity_id mon_id seq_id",
    "_audit_conform": "dict_name dict_version",
    "_software": "classification name pdbx_ordinal",
    "_chem_comp": "id type",
    "_chem_comp_bond": "atom_id_1 atom_id_2 comp_id",
    "_struct_conn": "conn_type_id id ptnr1_label_asym_id ptnr1_label_comp_id ptnr1_label_seq_id ptnr2_label_asym_id "
    "ptnr2_label_comp_id ptnr2_label_seq_id",
    "_struct_conn_type": "id",
    "_ma_software_group": "group_id ordinal_id software_id",
    "_ma_data": "content_type id name",
    "_ma_data_group": "data_id group_id ordinal_id",
    "_ma_target_entity": "data_id entity_id origin",
    "_ma_target_entity_instance": "asym_id entity_id",
    "_ma_protocol_step": "method_type ordinal_id protocol_id step_id",
    "_ma_model_list": "data_id model_id model_type ordinal_id",
    "_ma_qa_metric": "id mode name type",
    "_ma_qa_metric_global": "metric_id metric_value model_id ordinal_id",
    "_ma_qa_metric_local": "label_asym_id label_comp_id label_seq_id metric_id metric_value model_id ordinal_id",
}


KEYS = {
    "_entity_poly": "entity_id",
    "_chem_comp_bond": "comp_id atom_id_1 atom_id_2",
    "_entity_poly_seq": "entity_id num mon_id",
    "_exptl": "entry_id method",
    "_struct": "entry_id",
    "_atom_type": "symbol",
    "_pdbx_poly_seq_scheme": "asym_id entity_id seq_id mon_id",
    "_audit_conform": "dict_name dict_version",
    "_software": "pdbx_ordinal",
    "_ma_target_entity": "entity_id",
    "_ma_target_entity_instance": "asym_id",
    **dict.fromkeys(("_entry", "_entity", "_struct_asym", "_atom_site", "_chem_comp", "_struct_conn"), "id"),
    **dict.fromkeys(("_struct_conn_type", "_ma_data", "_ma_qa_metric"), "id"),
    **dict.fromkeys(("_ma_software_group", "_ma_data_group", "_ma_protocol_step"), "ordinal_id"),
    **dict.fromkeys(("_ma_model_list", "_ma_qa_metric_global", "_ma_qa_metric_local"), "ordinal_id"),
}


PARENTS = [
    ("_struct.entry_id", "_entry.id"),
    ("_exptl.entry_id", "_entry.id"),
    ("_entity_poly.entity_id", "_entity.id"),
    ("_entity_poly_seq.entity_id", "_entity_poly.entity_id"),
    ("_entity_poly_seq.mon_id", "_chem_comp.id"),
    ("_struct_asym.entity_id", "_entity.id"),
    ("_pdbx_poly_seq_scheme.entity_id seq_id mon_id", "_entity_poly_seq.entity_id num mon_id"),
    ("_pdbx_poly_seq_scheme.asym_id", "_struct_asym.id"),
    ("_atom_site.label_asym_id", "_struct_asym.id"),
    ("_atom_site.label_entity_id", "_entity.id"),
    ("_atom_site.type_symbol", "_atom_type.symbol"),
    ("_atom_site.label_entity_id label_seq_id label_comp_id", "_entity_poly_seq.entity_id num mon_id"),
    (
        "_atom_site.label_asym_id label_seq_id label_comp_id auth_asym_id auth_seq_id auth_comp_id",
        "_pdbx_poly_seq_scheme.asym_id seq_id mon_id pdb_strand_id pdb_seq_num pdb_mon_id",
    ),
    ("_atom_site.pdbx_PDB_model_num", "_ma_model_list.ordinal_id"),
    ("_atom_site.pdbx_PDB_model_num", "_ma_model_list.model_id"),  # before 1.4.7
    ("_ma_software_group.software_id", "_software.pdbx_ordinal"),
    ("_ma_data_group.data_id", "_ma_data.id"),
    ("_ma_target_entity.data_id", "_ma_data.id"),
    ("_ma_target_entity.entity_id", "_entity.id"),
    ("_ma_target_entity_instance.entity_id", "_ma_target_entity.entity_id"),
    ("_ma_target_entity_instance.asym_id", "_struct_asym.id"),
    ("_ma_protocol_step.input_data_group_id", "_ma_data_group.group_id"),
    ("_ma_protocol_step.output_data_group_id", "_ma_data_group.group_id"),
    ("_ma_protocol_step.software_group_id", "_ma_software_group.group_id"),
    ("_ma_model_list.data_id", "_ma_data.id"),
    ("_ma_qa_metric.software_group_id", "_ma_software_group.group_id"),
    ("_ma_qa_metric_global.metric_id", "_ma_qa_metric.id"),
    ("_ma_qa_metric_global.model_id", "_ma_model_list.ordinal_id"),
    ("_ma_qa_metric_local.metric_id", "_ma_qa_metric.id"),
    (
        "_ma_qa_metric_local.model_id label_asym_id label_seq_id label_comp_id",
        "_atom_site.pdbx_PDB_model_num label_asym_id label_seq_id label_comp_id",
    ),
]


def half_turned(residue: np.ndarray, chi1: float = 0.7, further: float = 0.0) -> np.ndarray:
    """Return the residue (5, 3) that an ideal disulfide joins to this one, chi3 at 90 degrees.

    It is the residue itself after half a turn about an axis through the middle of S-S, at right angles to it and half
    way between the two CB-SG; then moved further along S-S.
    """
    cb = residue[4]
    sg = sulfur(residue, np.array(chi1))
    along = (sg - cb) / np.linalg.norm(sg - cb)
    across = np.cross(along, residue[1] - cb)
    across /= np.linalg.norm(across)
    bond = -np.cos(CB_SG_SG) * along + np.sin(CB_SG_SG) * across
    middle = sg + 0.5 * SG_SG * bond
    back = cb - sg - ((cb - sg) @ bond) * bond
    back /= np.linalg.norm(back)
    about = (back + np.cross(bond, back)) / np.sqrt(2)
    turned = residue - middle
    return 2 * (turned @ about)[:, None] * about - turned + middle + further * bond
