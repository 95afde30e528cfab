"""mmCIF text of a predicted or generated chain: entry, entity, sequence and atoms, and the ModelCIF categories.

These say who made the models, how sure they are, and which bonds are stated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import gemmi
import numpy as np

from betafold_mlx._version import __version__
from betafold_mlx.structure.components import CHAIN, End, Monomer, WrittenChain

_DICTIONARY = (
    "mmcif_ma.dic",
    "1.4.9",
    "https://raw.githubusercontent.com/ihmwg/ModelCIF/fece26d/dist/mmcif_ma.dic",
)
_GLOBAL, _LOCAL = 1, 2  # ids of the two metrics
_TARGET, _FIRST_MODEL = 1, 2  # ids in _ma_data
_ORDERS = {1: "SING", 2: "DOUB", 3: "TRIP"}
_ATOM_TAGS = (
    *("group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id", "label_asym_id"),
    *("label_entity_id", "label_seq_id", "pdbx_PDB_ins_code", "Cartn_x", "Cartn_y", "Cartn_z", "occupancy"),
    *("B_iso_or_equiv", "pdbx_formal_charge", "auth_seq_id", "auth_comp_id", "auth_asym_id", "auth_atom_id"),
    "pdbx_PDB_model_num",
)


def mmcif_text(
    written: WrittenChain,
    *,
    name: str,
    description: str,
    polymer_type: str,
    model_names: Sequence[str],
    model_type: str,
    plddt: np.ndarray | None,
    made_by: str,
    details: str,
) -> str:
    """Return a chain as mmCIF text with ModelCIF categories.

    What gemmi writes of a structure of one chain, in its order, then the ModelCIF categories. (Through
    `gemmi.Structure` and its atoms, one Python object each, it takes several times as long.)

    `name` is that of the data block and the entry, `description` that of the molecule, `polymer_type` as in
    ``_entity_poly.type``, `model_type` a word of the dictionary, ``Ab initio model`` or ``Other``. `plddt` (M, L), 0
    to 100, is written as it is; None where there is no confidence. `made_by` is the model directory, `details` what
    else there is to say of how the models were made; both may be empty.
    """
    chain = written.chain
    block = gemmi.cif.Block(name)
    _set(block, "_entry", "id", [(name,)])
    _set(block, "_entity", "id type pdbx_description", [(1, "polymer", description)])
    _add_polymer(block, chain, polymer_type)
    _set(block, "_exptl", "entry_id method", [(name, "THEORETICAL MODEL")])
    _set(block, "_struct", "entry_id title", [(name, written.title)])
    _set(block, "_struct_asym", "id entity_id", [(CHAIN, 1)])
    elements = frozenset().union(*map(_elements, chain, written.names))
    _set(block, "_atom_type", "symbol", [(element,) for element in sorted(elements)])
    sequence = [(1, number, monomer.name, "n") for number, monomer in enumerate(chain, start=1)]
    _set(block, "_entity_poly_seq", "entity_id num mon_id hetero", sequence)
    _add_numbering(block, chain)
    _set(block, "_atom_site", "id", [(1,)])  # in whose place the atoms come

    _set(block, "_audit_conform", "dict_name dict_version dict_location", [_DICTIONARY])
    software = (1, "betafold-mlx", __version__, "package", "model building", made_by or None)
    _set(block, "_software", "pdbx_ordinal name version type classification description", [software])
    _set(block, "_ma_software_group", "ordinal_id group_id software_id", [(1, 1, 1)])
    components = {monomer.name: (monomer.name, monomer.type, monomer.parent) for monomer in chain}
    _set(
        block,
        "_chem_comp",
        "id type mon_nstd_parent_comp_id",
        [components[name] for name in sorted(components)],
    )
    _add_components(block, written)
    _add_data(block, description, details, model_names, model_type)
    if plddt is not None:
        _add_quality(block, chain, plddt)
    _add_bonds(block, written)
    options = gemmi.cif.WriteOptions()
    options.align_loops = 30
    options.prefer_pairs = True
    head, _, tail = block.as_string(options).partition("\n_atom_site.id")
    return f"{head}\n{_atoms(written)}{tail[tail.index(chr(10)) :]}"


def _set(block: gemmi.cif.Block, category: str, tags: str, rows: Iterable[Iterable[object]]) -> None:
    """Write a category of these tags, with spaces between them; None becomes ``?`` and False ``.``."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    block.set_mmcif_category(f"{category}.", dict(zip(tags.split(), columns, strict=True)))


def _add_polymer(block: gemmi.cif.Block, chain: Sequence[Monomer], polymer_type: str) -> None:
    """Add the sequence in one-letter codes: as it is, other components as ``(DAL)``, and as its parents."""
    code = "".join(monomer.letter if monomer.standard else f"({monomer.name})" for monomer in chain)
    canonical = "".join(monomer.letter for monomer in chain)
    _set(
        block,
        "_entity_poly",
        "entity_id type nstd_linkage nstd_monomer "
        "pdbx_seq_one_letter_code pdbx_seq_one_letter_code_can pdbx_strand_id",
        [(1, polymer_type, "no", "no" if code == canonical else "yes", code, canonical, CHAIN)],
    )


def _add_numbering(block: gemmi.cif.Block, chain: Sequence[Monomer]) -> None:
    """Add which author's number each position of the sequence has: with a cap in front they differ by one."""
    _set(
        block,
        "_pdbx_poly_seq_scheme",
        "seq_id ndb_seq_num pdb_seq_num auth_seq_num mon_id pdb_mon_id auth_mon_id "
        "asym_id entity_id pdb_strand_id pdb_ins_code hetero",
        [
            (*(position,) * 2, *(monomer.number,) * 2, *(monomer.name,) * 3, CHAIN, 1, CHAIN, False, "n")
            for position, monomer in enumerate(chain, start=1)
        ],
    )


def _atoms(written: WrittenChain) -> str:
    """Return the atoms as a loop."""
    lines = "".join(
        _atom_lines(monomer, position, names)
        for position, (monomer, names) in enumerate(zip(written.chain, written.names, strict=True), start=1)
    )
    count = written.coordinates.shape[1]
    text = ["loop_\n", *(f"_atom_site.{tag}\n" for tag in _ATOM_TAGS)]
    for model, (xyz, b) in enumerate(zip(written.coordinates, written.b_factors, strict=True), start=1):
        serials = np.arange(count * (model - 1) + 1.0, count * model + 1.0)
        columns = np.column_stack([serials, xyz, b, np.full(count, float(model))])
        text.append(lines % tuple(columns.ravel().tolist()))
    return "".join(text)


@lru_cache(maxsize=4096)
def _atom_lines(monomer: Monomer, position: int, names: tuple[str, ...]) -> str:
    """Return the lines of a residue's atoms, to be filled in with id, x, y, z, B-factor and model of each.

    Numbers have nine digits and no trailing zeros, as gemmi writes them. The author's names are the same but for the
    number; readers that ask for them find them all.
    """
    record, code = "ATOM" if monomer.standard else "HETATM", f"{monomer.name:<3}"
    return "".join(
        f"{record:<6} %-5d {monomer.element(name):<2} {name:<4} . {code} {CHAIN} 1 {position:<2} ? "
        f"%-8.9g %-8.9g %-8.9g 1 %-5.9g ? {monomer.number:<2} {code} {CHAIN} {name:<4} %d\n"
        for name in names
    )


@lru_cache(maxsize=4096)
def _elements(monomer: Monomer, names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(monomer.element, names))


def _add_components(block: gemmi.cif.Block, written: WrittenChain) -> None:
    """Add the bonds of the components where some are not standard: of all, for biotite asks for all or none."""
    if all(monomer.standard for monomer in written.chain):
        return
    rows = {
        (monomer.name, first, second, _ORDERS[order], "N")
        for monomer, names in zip(written.chain, written.names, strict=True)
        for first, second, order in monomer.bonds
        if first in names and second in names
    }
    tags = "comp_id atom_id_1 atom_id_2 value_order pdbx_aromatic_flag"
    _set(block, "_chem_comp_bond", tags, sorted(rows))


def _add_data(
    block: gemmi.cif.Block, description: str, details: str, names: Sequence[str], model_type: str
) -> None:
    """Add the target, the models and the one step from the first to the second."""
    models = [(number, _FIRST_MODEL + number - 1, name) for number, name in enumerate(names, start=1)]
    data = [(_TARGET, description, "target")]
    data += [(id, f"Model {number}", "model coordinates") for number, id, _ in models]
    _set(block, "_ma_data", "id name content_type", data)
    groups = [(1, 1, _TARGET)] + [(number + 1, 2, id) for number, id, _ in models]
    _set(block, "_ma_data_group", "ordinal_id group_id data_id", groups)
    # "designed" is what the dictionary has for a target that is no entry of a reference database.
    _set(block, "_ma_target_entity", "entity_id data_id origin", [(1, _TARGET, "designed")])
    _set(block, "_ma_target_entity_instance", "asym_id entity_id details", [(CHAIN, 1, False)])
    _set(
        block,
        "_ma_protocol_step",
        "ordinal_id protocol_id step_id method_type details "
        "software_group_id input_data_group_id output_data_group_id",
        [(1, 1, 1, "modeling", details or None, 1, 1, 2)],
    )
    # model_id is deprecated since dictionary 1.4.7, and mandatory before: with both, every version finds its key.
    listed = [(number, number, name, id, model_type) for number, id, name in models]
    _set(block, "_ma_model_list", "ordinal_id model_id model_name data_id model_type", listed)


def _add_quality(block: gemmi.cif.Block, chain: Sequence[Monomer], plddt: np.ndarray) -> None:
    text = "predicted lDDT-CA, 0 to 100"
    metrics = [
        (_GLOBAL, "pLDDT", f"mean {text}", "pLDDT", "global", 1),
        (_LOCAL, "pLDDT", text, "pLDDT", "local", 1),
    ]
    _set(block, "_ma_qa_metric", "id name description type mode software_group_id", metrics)
    means = [(model, model, _GLOBAL, f"{row.mean():.2f}") for model, row in enumerate(plddt, start=1)]
    _set(block, "_ma_qa_metric_global", "ordinal_id model_id metric_id metric_value", means)
    values = [
        (model, CHAIN, label, monomer.name, _LOCAL, f"{row[monomer.number - 1]:.2f}")
        for model, row in enumerate(plddt, start=1)
        for label, monomer in enumerate(chain, start=1)
        if not monomer.cap
    ]
    _set(
        block,
        "_ma_qa_metric_local",
        "ordinal_id model_id label_asym_id label_seq_id label_comp_id metric_id metric_value",
        [(ordinal, *row) for ordinal, row in enumerate(values, start=1)],
    )


def _add_bonds(block: gemmi.cif.Block, written: WrittenChain) -> None:
    if not written.bonds:
        return
    rows: list[tuple[object, ...]] = []
    count = {"disulf": 0, "covale": 0}
    for bond in written.bonds:
        kind = "disulf" if bond.disulfide else "covale"
        count[kind] += 1
        # An atom that is named here must be among those of the file.
        absent = bond.length is None
        ends = (*_partner(written.chain, bond.first, absent), *_partner(written.chain, bond.second, absent))
        length = None if absent else f"{bond.length:.3f}"
        details = f"{bond.first.atom} to {bond.second.atom}, which are not in the file" if absent else None
        rows.append((f"{kind}{count[kind]}", kind, *ends, length, details))
    partner = "label_asym_id label_comp_id label_seq_id label_atom_id auth_asym_id auth_comp_id auth_seq_id symmetry"
    partners = [f"ptnr{number}_{tag}" for number in (1, 2) for tag in partner.split()]
    _set(block, "_struct_conn", f"id conn_type_id {' '.join(partners)} pdbx_dist_value details", rows)
    kinds = sorted({str(row[1]) for row in rows})
    _set(block, "_struct_conn_type", "id", [(kind,) for kind in kinds])


def _partner(chain: Sequence[Monomer], end: End, absent: bool) -> tuple[object, ...]:
    position, name = end.position, chain[end.position].name
    atom = None if absent else end.atom
    return CHAIN, name, position + 1, atom, CHAIN, name, chain[position].number, "1_555"
