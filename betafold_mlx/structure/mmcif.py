"""mmCIF text of a predicted or generated chain: entry, entity, sequence, atoms, and the ModelCIF categories."""

from __future__ import annotations

from collections.abc import Sequence

import gemmi
import numpy as np

from betafold_mlx.structure.bonds import Pairs
from betafold_mlx.structure.components import CHAIN, Link, Monomer, WrittenAtom
from betafold_mlx.structure.modelcif import add_modelcif, set_category


def mmcif_text(
    *,
    name: str,
    description: str,
    title: str,
    chain: Sequence[Monomer],
    polymer_type: str,
    models: Sequence[Sequence[WrittenAtom]],
    model_names: Sequence[str],
    model_type: str,
    plddt: np.ndarray | None,
    made_by: str,
    details: str,
    disulfides: Pairs = (),
    links: Sequence[Link] = (),
) -> str:
    """Return a chain as mmCIF text with ModelCIF categories.

    What gemmi writes of a structure of one chain, in its order, then the ModelCIF categories. (Through
    `gemmi.Structure` and its atoms, one Python object each, it takes four times as long.)

    Parameters
    ----------
    name : str
        Of the data block and the entry.
    description : str
        Name of the molecule.
    title : str
        Of the entry.
    chain : sequence of Monomer
        L residues, and caps where there are any.
    polymer_type : str
        As in ``_entity_poly.type``.
    models : sequence of sequence of WrittenAtom
        The atoms of each of the M models, best first.
    model_names : sequence of str
        Names of the models.
    model_type : str
        A word of the dictionary: ``Ab initio model`` or ``Other``.
    plddt : numpy.ndarray or None
        (M, L), 0 to 100, as they are to be written. Caps have none. None where there is no confidence.
    made_by : str
        The model directory; empty where unknown.
    details : str
        What else there is to say of how the models were made; may be empty.
    disulfides : tuple of (int, int)
        1-based pairs of residues.
    links : sequence of Link
        Bonds that close a ring or hold a cap.
    """
    block = gemmi.cif.Block(name)
    set_category(block, "_entry", "id", [(name,)])
    set_category(block, "_entity", "id type pdbx_description", [(1, "polymer", description)])
    _add_polymer(block, chain, polymer_type)
    set_category(block, "_exptl", "entry_id method", [(name, "THEORETICAL MODEL")])
    set_category(block, "_struct", "entry_id title", [(name, title)])
    set_category(block, "_struct_asym", "id entity_id", [(CHAIN, 1)])
    set_category(block, "_atom_type", "symbol", [("C",), ("N",), ("O",)])
    sequence = [(1, number, monomer.name, "n") for number, monomer in enumerate(chain, start=1)]
    set_category(block, "_entity_poly_seq", "entity_id num mon_id hetero", sequence)
    _add_numbering(block, chain)
    _add_atoms(block, models)
    add_modelcif(
        block,
        chain=chain,
        description=description,
        model_names=model_names,
        model_type=model_type,
        plddt=plddt,
        made_by=made_by,
        details=details,
        disulfides=disulfides,
        links=links,
    )
    options = gemmi.cif.WriteOptions()
    options.align_loops = 30
    options.prefer_pairs = True
    return block.as_string(options)


def _add_polymer(block: gemmi.cif.Block, chain: Sequence[Monomer], polymer_type: str) -> None:
    """Add the sequence in one-letter codes: as it is, other components as ``(DAL)``, and as its parents."""
    code = "".join(monomer.letter if monomer.standard else f"({monomer.name})" for monomer in chain)
    canonical = "".join(monomer.letter for monomer in chain)
    set_category(
        block,
        "_entity_poly",
        "entity_id type nstd_linkage nstd_monomer "
        "pdbx_seq_one_letter_code pdbx_seq_one_letter_code_can pdbx_strand_id",
        [(1, polymer_type, "no", "no" if code == canonical else "yes", code, canonical, CHAIN)],
    )


def _add_numbering(block: gemmi.cif.Block, chain: Sequence[Monomer]) -> None:
    """Add which author's number each position of the sequence has: with a cap in front they differ by one."""
    set_category(
        block,
        "_pdbx_poly_seq_scheme",
        "seq_id ndb_seq_num pdb_seq_num auth_seq_num mon_id pdb_mon_id auth_mon_id "
        "asym_id entity_id pdb_strand_id pdb_ins_code hetero",
        [
            (*(position,) * 2, *(monomer.number,) * 2, *(monomer.name,) * 3, CHAIN, 1, CHAIN, False, "n")
            for position, monomer in enumerate(chain, start=1)
        ],
    )


def _add_atoms(block: gemmi.cif.Block, models: Sequence[Sequence[WrittenAtom]]) -> None:
    numbers = [str(number) for number, atoms in enumerate(models, start=1) for _ in atoms]
    positions, monomers, names, *columns = zip(*(atom for atoms in models for atom in atoms), strict=True)
    x, y, z, b_factors = map(_numbers, columns)
    count = len(names)
    residues = [monomer.name for monomer in monomers]
    block.set_mmcif_category(
        "_atom_site.",
        {
            "group_PDB": ["ATOM" if monomer.standard else "HETATM" for monomer in monomers],
            "id": list(map(str, range(1, count + 1))),
            "type_symbol": [name[0] for name in names],
            "label_atom_id": list(names),
            "label_alt_id": ["."] * count,
            "label_comp_id": residues,
            "label_asym_id": [CHAIN] * count,
            "label_entity_id": ["1"] * count,
            "label_seq_id": [str(position + 1) for position in positions],
            "pdbx_PDB_ins_code": ["?"] * count,
            "Cartn_x": x,
            "Cartn_y": y,
            "Cartn_z": z,
            "occupancy": ["1"] * count,
            "B_iso_or_equiv": b_factors,
            "pdbx_formal_charge": ["?"] * count,
            # The author's names are the same but for the number; readers that ask for them find them all.
            "auth_seq_id": [str(monomer.number) for monomer in monomers],
            "auth_comp_id": residues,
            "auth_asym_id": [CHAIN] * count,
            "auth_atom_id": list(names),
            "pdbx_PDB_model_num": numbers,
        },
        raw=True,  # nothing here needs quotes
    )


def _numbers(values: Sequence[float]) -> list[str]:
    """Return numbers as gemmi writes them: nine digits, no trailing zeros."""
    return ("%.9g " * len(values) % tuple(values)).split()
