"""ModelCIF categories of a predicted peptide, added to an mmCIF block that holds its atoms."""

from __future__ import annotations

from collections.abc import Sequence

import gemmi
import numpy as np

from betafold_mlx.structure.bonds import Pairs
from betafold_mlx.structure.components import CHAIN, Link, Monomer
from betafold_mlx.structure.mmcif import set_category

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
    chain: Sequence[Monomer],
    names: Sequence[str],
    model_type: str,
    plddt: np.ndarray | None,
    description: str,
    model_name: str,
    version: str,
    details: str,
    disulfides: Pairs = (),
    links: Sequence[Link] = (),
) -> None:
    """Add who predicted what, how sure it is and which bonds are stated.

    Parameters
    ----------
    block : gemmi.cif.Block
        Changed in place.
    chain : sequence of Monomer
        L residues, and caps where there are any.
    names : sequence of str
        Of the M models.
    model_type : str
        Of the models, a word of the dictionary: ``Ab initio model`` or ``Other``.
    plddt : numpy.ndarray or None
        (M, L), 0 to 100, as they are to be written. Caps have none. None where there is no confidence.
    description : str
        Name of the molecule.
    model_name, version : str
        Model directory and version of betafold-mlx; empty where unknown.
    details : str
        What else there is to say of how the models were made; may be empty.
    disulfides : tuple of (int, int)
        1-based pairs of residues.
    links : sequence of Link
        Bonds that close a ring or hold a cap.
    """
    set_category(block, "_audit_conform", _DICTIONARY.keys(), [_DICTIONARY.values()])
    set_category(
        block,
        "_software",
        ("pdbx_ordinal", "name", "version", "type", "classification", "description"),
        [(1, "betafold-mlx", version or None, "package", "model building", model_name or None)],
    )
    set_category(block, "_ma_software_group", ("ordinal_id", "group_id", "software_id"), [(1, 1, 1)])
    set_category(
        block,
        "_chem_comp",
        ("id", "type"),
        sorted({(monomer.name, monomer.type) for monomer in chain}),
    )
    _add_data(block, description, details, names, model_type)
    if plddt is not None:
        _add_quality(block, chain, plddt)
    _add_bonds(block, chain, disulfides, links)


def _add_data(
    block: gemmi.cif.Block, description: str, details: str, names: Sequence[str], model_type: str
) -> None:
    """Add the target, the models and the one step from the first to the second."""
    target, first_model = 1, 2
    models = range(1, len(names) + 1)
    data = [(target, description, "target")]
    data += [(first_model + model - 1, f"Model {model}", "model coordinates") for model in models]
    set_category(block, "_ma_data", ("id", "name", "content_type"), data)
    groups = [(1, target)] + [(2, row[0]) for row in data[1:]]
    set_category(
        block,
        "_ma_data_group",
        ("ordinal_id", "group_id", "data_id"),
        [(ordinal, *row) for ordinal, row in enumerate(groups, start=1)],
    )
    # "designed" is what the dictionary has for a target that is no entry of a reference database.
    set_category(block, "_ma_target_entity", ("entity_id", "data_id", "origin"), [(1, target, "designed")])
    set_category(
        block, "_ma_target_entity_instance", ("asym_id", "entity_id", "details"), [(CHAIN, 1, False)]
    )
    set_category(
        block,
        "_ma_protocol_step",
        (
            "ordinal_id",
            "protocol_id",
            "step_id",
            "method_type",
            "details",
            "software_group_id",
            *_DATA_GROUPS,
        ),
        [(1, 1, 1, "modeling", details or None, 1, 1, 2)],
    )
    set_category(
        block,
        "_ma_model_list",
        # model_id is deprecated since dictionary 1.4.7, and mandatory before: with both, every version finds its key.
        ("ordinal_id", "model_id", "model_name", "data_id", "model_type"),
        [
            (model, model, name, first_model + model - 1, model_type)
            for model, name in enumerate(names, start=1)
        ],
    )


def _add_quality(block: gemmi.cif.Block, chain: Sequence[Monomer], plddt: np.ndarray) -> None:
    text = "predicted lDDT-CA, 0 to 100"
    set_category(
        block,
        "_ma_qa_metric",
        ("id", "name", "description", "type", "mode", "software_group_id"),
        [
            (_GLOBAL, "pLDDT", f"mean {text}", "pLDDT", "global", 1),
            (_LOCAL, "pLDDT", text, "pLDDT", "local", 1),
        ],
    )
    set_category(
        block,
        "_ma_qa_metric_global",
        ("ordinal_id", "model_id", "metric_id", "metric_value"),
        [(model, model, _GLOBAL, f"{row.mean():.2f}") for model, row in enumerate(plddt, start=1)],
    )
    values = [
        (model, CHAIN, label, monomer.name, _LOCAL, f"{row[monomer.number - 1]:.2f}")
        for model, row in enumerate(plddt, start=1)
        for label, monomer in enumerate(chain, start=1)
        if not monomer.cap
    ]
    set_category(
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


def _add_bonds(
    block: gemmi.cif.Block, chain: Sequence[Monomer], disulfides: Pairs, links: Sequence[Link]
) -> None:
    index = {monomer.number: position for position, monomer in enumerate(chain)}
    rows: list[tuple[object, ...]] = []
    for count, (i, j) in enumerate(disulfides, start=1):
        # The sulfurs are not modelled, and an atom that is named here must be among those of the file.
        ends = (*_partner(chain, index[i], None), *_partner(chain, index[j], None))
        rows.append((f"disulf{count}", "disulf", *ends, None, "SG to SG, which are not modelled"))
    for count, link in enumerate(links, start=1):
        ends = (*_partner(chain, link.first, "C"), *_partner(chain, link.second, "N"))
        rows.append((f"covale{count}", "covale", *ends, f"{link.length:.3f}", None))
    if not rows:
        return
    tags = ["id", "conn_type_id"]
    for k in (1, 2):
        tags += [f"ptnr{k}_label_{item}_id" for item in ("asym", "comp", "seq", "atom")]
        tags += [f"ptnr{k}_auth_{item}_id" for item in ("asym", "comp", "seq")]
        tags.append(f"ptnr{k}_symmetry")
    set_category(block, "_struct_conn", [*tags, "pdbx_dist_value", "details"], rows)
    set_category(
        block, "_struct_conn_type", ("id",), [(kind,) for kind in sorted({str(row[1]) for row in rows})]
    )


def _partner(chain: Sequence[Monomer], position: int, atom: str | None) -> tuple[object, ...]:
    name = chain[position].name
    return CHAIN, name, position + 1, atom, CHAIN, name, chain[position].number, "1_555"
