"""ModelCIF categories of a predicted peptide, added to an mmCIF block that gemmi made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import gemmi
import numpy as np

from betafold_mlx.sequence import THREE_LETTER
from betafold_mlx.structure.bonds import Pairs

CHAIN = "A"

_DICTIONARY = {
    "dict_name": "mmcif_ma.dic",
    "dict_version": "1.4.9",
    "dict_location": "https://raw.githubusercontent.com/ihmwg/ModelCIF/fece26d/dist/mmcif_ma.dic",
}
_DATA_GROUPS = ("input_data_group_id", "output_data_group_id")
_GLOBAL, _LOCAL = 1, 2  # ids of the two metrics


def add_modelcif(
    block: gemmi.cif.Block,
    *,
    sequence: str,
    plddt: np.ndarray,
    description: str,
    model_name: str,
    version: str,
    disulfides: Pairs,
    ring_bond: float | None,
) -> None:
    """Add who predicted what, how sure it is and which bonds are stated.

    Parameters
    ----------
    block : gemmi.cif.Block
        Changed in place.
    sequence : str
        One-letter codes, length L.
    plddt : numpy.ndarray
        (M, L), 0 to 100, as they are to be written.
    description : str
        Name of the molecule.
    model_name, version : str
        Model directory and version of betafold-mlx; empty where unknown.
    disulfides : tuple of (int, int)
        1-based pairs.
    ring_bond : float or None
        Length of the bond from the last C to the first N in Angstrom; None for an open chain.
    """
    models = range(1, len(plddt) + 1)
    names = [THREE_LETTER[letter] for letter in sequence]
    _set(block, "_audit_conform", _DICTIONARY.keys(), [_DICTIONARY.values()])
    _set(
        block,
        "_software",
        ("pdbx_ordinal", "name", "version", "type", "classification", "description"),
        [(1, "betafold-mlx", version or None, "package", "model building", model_name or None)],
    )
    _set(block, "_ma_software_group", ("ordinal_id", "group_id", "software_id"), [(1, 1, 1)])
    _set(
        block,
        "_chem_comp",
        ("id", "type"),
        [(name, "peptide linking" if name == "GLY" else "L-peptide linking") for name in sorted(set(names))],
    )
    _set(block, "_entity", ("id", "type", "pdbx_description"), [(1, "polymer", description)])
    _add_data(block, description, models)
    _add_quality(block, names, plddt)
    _add_bonds(block, names, disulfides, ring_bond)


def _add_data(block: gemmi.cif.Block, description: str, models: Sequence[int]) -> None:
    """Add the target, the models and the one step from the first to the second."""
    target, first_model = 1, 2
    data = [(target, description, "target")]
    data += [(first_model + model - 1, f"Model {model}", "model coordinates") for model in models]
    _set(block, "_ma_data", ("id", "name", "content_type"), data)
    groups = [(1, target)] + [(2, row[0]) for row in data[1:]]
    _set(
        block,
        "_ma_data_group",
        ("ordinal_id", "group_id", "data_id"),
        [(ordinal, *row) for ordinal, row in enumerate(groups, start=1)],
    )
    _set(block, "_ma_target_entity", ("entity_id", "data_id", "origin"), [(1, target, False)])
    _set(block, "_ma_target_entity_instance", ("asym_id", "entity_id", "details"), [(CHAIN, 1, False)])
    _set(
        block,
        "_ma_protocol_step",
        ("ordinal_id", "protocol_id", "step_id", "method_type", "software_group_id", *_DATA_GROUPS),
        [(1, 1, 1, "modeling", 1, 1, 2)],
    )
    _set(
        block,
        "_ma_model_list",
        ("ordinal_id", "model_name", "data_id", "model_type"),
        [(model, f"rank {model}", first_model + model - 1, "Ab initio model") for model in models],
    )


def _add_quality(block: gemmi.cif.Block, names: list[str], plddt: np.ndarray) -> None:
    text = "predicted lDDT-CA, 0 to 100"
    _set(
        block,
        "_ma_qa_metric",
        ("id", "name", "description", "type", "mode", "software_group_id"),
        [
            (_GLOBAL, "pLDDT", f"mean {text}", "pLDDT", "global", 1),
            (_LOCAL, "pLDDT", text, "pLDDT", "local", 1),
        ],
    )
    _set(
        block,
        "_ma_qa_metric_global",
        ("ordinal_id", "model_id", "metric_id", "metric_value"),
        [(model, model, _GLOBAL, f"{row.mean():.2f}") for model, row in enumerate(plddt, start=1)],
    )
    values = [
        (model, CHAIN, seq_id, name, _LOCAL, f"{value:.2f}")
        for model, row in enumerate(plddt, start=1)
        for seq_id, (name, value) in enumerate(zip(names, row, strict=True), start=1)
    ]
    _set(
        block,
        "_ma_qa_metric_local",
        (
            "ordinal_id",
            "model_id",
            "label_asym_id",
            "label_seq_id",
            "label_comp_id",
            "metric_id",
            "metric_value",
        ),
        [(ordinal, *row) for ordinal, row in enumerate(values, start=1)],
    )


def _add_bonds(block: gemmi.cif.Block, names: list[str], disulfides: Pairs, ring_bond: float | None) -> None:
    rows = [
        (f"disulf{count}", "disulf", *_partner(names, i, "SG"), *_partner(names, j, "SG"), None)
        for count, (i, j) in enumerate(disulfides, start=1)
    ]
    if ring_bond is not None:
        ends = (*_partner(names, len(names), "C"), *_partner(names, 1, "N"))
        rows.append(("covale1", "covale", *ends, f"{ring_bond:.3f}"))
    if not rows:
        return
    tags = ["id", "conn_type_id"]
    for k in (1, 2):
        tags += [f"ptnr{k}_label_{item}_id" for item in ("asym", "comp", "seq", "atom")]
        tags += [f"ptnr{k}_auth_{item}_id" for item in ("asym", "comp", "seq")]
        tags.append(f"ptnr{k}_symmetry")
    _set(block, "_struct_conn", [*tags, "pdbx_dist_value"], rows)
    _set(block, "_struct_conn_type", ("id",), [(kind,) for kind in sorted({str(row[1]) for row in rows})])


def _partner(names: list[str], number: int, atom: str) -> tuple[object, ...]:
    name = names[number - 1]
    return CHAIN, name, number, atom, CHAIN, name, number, "1_555"


def _set(
    block: gemmi.cif.Block, category: str, tags: Iterable[str], rows: Iterable[Iterable[object]]
) -> None:
    """Write a category; None becomes ``?`` and False ``.``."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    block.set_mmcif_category(f"{category}.", dict(zip(tags, columns, strict=True)))
