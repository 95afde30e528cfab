"""Core mmCIF categories of one chain: entry, entity, sequence and atoms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import gemmi

from betafold_mlx.structure.components import CHAIN, Monomer, WrittenAtom


def add_chain(
    block: gemmi.cif.Block,
    *,
    chain: Sequence[Monomer],
    polymer_type: str,
    description: str,
    title: str,
    models: Sequence[Sequence[WrittenAtom]],
) -> None:
    """Add what gemmi writes of a structure of one chain, in its order.

    (Through `gemmi.Structure` and its atoms, one Python object each, it takes four times as long.)

    Parameters
    ----------
    block : gemmi.cif.Block
        Changed in place; its name becomes the entry's.
    chain : sequence of Monomer
        Residues, and caps where there are any.
    polymer_type : str
        As in ``_entity_poly.type``.
    description : str
        Name of the molecule.
    title : str
        Of the entry.
    models : sequence of sequence of WrittenAtom
        The atoms of each model, best first.
    """
    entry = block.name
    set_category(block, "_entry", ("id",), [(entry,)])
    set_category(block, "_entity", ("id", "type", "pdbx_description"), [(1, "polymer", description)])
    _add_polymer(block, chain, polymer_type)
    set_category(block, "_exptl", ("entry_id", "method"), [(entry, "THEORETICAL MODEL")])
    set_category(block, "_struct", ("entry_id", "title"), [(entry, title)])
    set_category(block, "_struct_asym", ("id", "entity_id"), [(CHAIN, 1)])
    set_category(block, "_atom_type", ("symbol",), [("C",), ("N",), ("O",)])
    set_category(
        block,
        "_entity_poly_seq",
        ("entity_id", "num", "mon_id", "hetero"),
        [(1, number, monomer.name, "n") for number, monomer in enumerate(chain, start=1)],
    )
    _add_numbering(block, chain)
    _add_atoms(block, models)


def set_category(
    block: gemmi.cif.Block, category: str, tags: Iterable[str], rows: Iterable[Iterable[object]]
) -> None:
    """Write a category; None becomes ``?`` and False ``.``."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    block.set_mmcif_category(f"{category}.", dict(zip(tags, columns, strict=True)))


def _add_polymer(block: gemmi.cif.Block, chain: Sequence[Monomer], polymer_type: str) -> None:
    """Add the sequence in one-letter codes: as it is, other components as ``(DAL)``, and as its parents."""
    code = "".join(monomer.letter if monomer.standard else f"({monomer.name})" for monomer in chain)
    canonical = "".join(monomer.letter for monomer in chain)
    other = "no" if code == canonical else "yes"
    set_category(
        block,
        "_entity_poly",
        (
            *("entity_id", "type", "nstd_linkage", "nstd_monomer"),
            *("pdbx_seq_one_letter_code", "pdbx_seq_one_letter_code_can", "pdbx_strand_id"),
        ),
        [(1, polymer_type, "no", other, code, canonical, CHAIN)],
    )


def _add_numbering(block: gemmi.cif.Block, chain: Sequence[Monomer]) -> None:
    """Add which author's number each position of the sequence has: with a cap in front they differ by one."""
    names = [monomer.name for monomer in chain]
    numbers = [str(monomer.number) for monomer in chain]
    positions = [str(position) for position in range(1, len(chain) + 1)]
    same = {"asym_id": CHAIN, "entity_id": "1", "pdb_strand_id": CHAIN, "pdb_ins_code": ".", "hetero": "n"}
    block.set_mmcif_category(
        "_pdbx_poly_seq_scheme.",
        {
            **dict.fromkeys(("seq_id", "ndb_seq_num"), positions),
            **dict.fromkeys(("pdb_seq_num", "auth_seq_num"), numbers),
            **dict.fromkeys(("mon_id", "pdb_mon_id", "auth_mon_id"), names),
            **{tag: [value] * len(chain) for tag, value in same.items()},
        },
        raw=True,
    )


def _add_atoms(block: gemmi.cif.Block, models: Sequence[Sequence[WrittenAtom]]) -> None:
    numbers = [str(number) for number, atoms in enumerate(models, start=1) for _ in atoms]
    positions, monomers, names, *columns = zip(*(atom for atoms in models for atom in atoms), strict=True)
    x, y, z, b_factors = map(_numbers, columns)
    count = len(names)
    block.set_mmcif_category(
        "_atom_site.",
        {
            "group_PDB": ["ATOM" if monomer.standard else "HETATM" for monomer in monomers],
            "id": list(map(str, range(1, count + 1))),
            "type_symbol": [name[0] for name in names],
            "label_atom_id": list(names),
            "label_alt_id": ["."] * count,
            "label_comp_id": [monomer.name for monomer in monomers],
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
            "auth_comp_id": [monomer.name for monomer in monomers],
            "auth_asym_id": [CHAIN] * count,
            "auth_atom_id": list(names),
            "pdbx_PDB_model_num": numbers,
        },
        raw=True,  # nothing here needs quotes
    )


def _numbers(values: Sequence[float]) -> list[str]:
    """Return numbers as gemmi writes them: nine digits, no trailing zeros."""
    return ("%.9g " * len(values) % tuple(values)).split()


def block_text(block: gemmi.cif.Block) -> str:
    """Return a block as text, its loops in columns."""
    options = gemmi.cif.WriteOptions()
    options.align_loops = 30
    options.prefer_pairs = True
    return block.as_string(options)
