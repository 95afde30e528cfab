"""ModelCIF categories: who made the models, how sure they are, and which bonds are stated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import gemmi
import numpy as np

from betafold_mlx._version import __version__
from betafold_mlx.structure.bonds import Pairs
from betafold_mlx.structure.components import CHAIN, Link, Monomer

_DICTIONARY = (
    "mmcif_ma.dic",
    "1.4.9",
    "https://raw.githubusercontent.com/ihmwg/ModelCIF/fece26d/dist/mmcif_ma.dic",
)
_GLOBAL, _LOCAL = 1, 2  # ids of the two metrics
_TARGET, _FIRST_MODEL = 1, 2  # ids in _ma_data


def set_category(block: gemmi.cif.Block, category: str, tags: str, rows: Iterable[Iterable[object]]) -> None:
    """Write a category of these tags, with spaces between them; None becomes ``?`` and False ``.``."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    block.set_mmcif_category(f"{category}.", dict(zip(tags.split(), columns, strict=True)))


def add_modelcif(
    block: gemmi.cif.Block,
    *,
    chain: Sequence[Monomer],
    description: str,
    model_names: Sequence[str],
    model_type: str,
    plddt: np.ndarray | None,
    made_by: str,
    details: str,
    disulfides: Pairs,
    links: Sequence[Link],
) -> None:
    """Add the categories to a block that holds the atoms; the parameters are those of `mmcif.mmcif_text`."""
    set_category(block, "_audit_conform", "dict_name dict_version dict_location", [_DICTIONARY])
    software = (1, "betafold-mlx", __version__, "package", "model building", made_by or None)
    tags = "pdbx_ordinal name version type classification description"
    set_category(block, "_software", tags, [software])
    set_category(block, "_ma_software_group", "ordinal_id group_id software_id", [(1, 1, 1)])
    components = sorted({(monomer.name, monomer.type) for monomer in chain})
    set_category(block, "_chem_comp", "id type", components)
    _add_data(block, description, details, model_names, model_type)
    if plddt is not None:
        _add_quality(block, chain, plddt)
    _add_bonds(block, chain, disulfides, links)


def _add_data(
    block: gemmi.cif.Block, description: str, details: str, names: Sequence[str], model_type: str
) -> None:
    """Add the target, the models and the one step from the first to the second."""
    models = [(number, _FIRST_MODEL + number - 1, name) for number, name in enumerate(names, start=1)]
    data = [(_TARGET, description, "target")]
    data += [(id, f"Model {number}", "model coordinates") for number, id, _ in models]
    set_category(block, "_ma_data", "id name content_type", data)
    groups = [(1, 1, _TARGET)] + [(number + 1, 2, id) for number, id, _ in models]
    set_category(block, "_ma_data_group", "ordinal_id group_id data_id", groups)
    # "designed" is what the dictionary has for a target that is no entry of a reference database.
    set_category(block, "_ma_target_entity", "entity_id data_id origin", [(1, _TARGET, "designed")])
    set_category(block, "_ma_target_entity_instance", "asym_id entity_id details", [(CHAIN, 1, False)])
    set_category(
        block,
        "_ma_protocol_step",
        "ordinal_id protocol_id step_id method_type details "
        "software_group_id input_data_group_id output_data_group_id",
        [(1, 1, 1, "modeling", details or None, 1, 1, 2)],
    )
    # model_id is deprecated since dictionary 1.4.7, and mandatory before: with both, every version finds its key.
    listed = [(number, number, name, id, model_type) for number, id, name in models]
    set_category(block, "_ma_model_list", "ordinal_id model_id model_name data_id model_type", listed)


def _add_quality(block: gemmi.cif.Block, chain: Sequence[Monomer], plddt: np.ndarray) -> None:
    text = "predicted lDDT-CA, 0 to 100"
    metrics = [
        (_GLOBAL, "pLDDT", f"mean {text}", "pLDDT", "global", 1),
        (_LOCAL, "pLDDT", text, "pLDDT", "local", 1),
    ]
    set_category(block, "_ma_qa_metric", "id name description type mode software_group_id", metrics)
    means = [(model, model, _GLOBAL, f"{row.mean():.2f}") for model, row in enumerate(plddt, start=1)]
    set_category(block, "_ma_qa_metric_global", "ordinal_id model_id metric_id metric_value", means)
    values = [
        (model, CHAIN, label, monomer.name, _LOCAL, f"{row[monomer.number - 1]:.2f}")
        for model, row in enumerate(plddt, start=1)
        for label, monomer in enumerate(chain, start=1)
        if not monomer.cap
    ]
    set_category(
        block,
        "_ma_qa_metric_local",
        "ordinal_id model_id label_asym_id label_seq_id label_comp_id metric_id metric_value",
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
    partner = "label_asym_id label_comp_id label_seq_id label_atom_id auth_asym_id auth_comp_id auth_seq_id symmetry"
    partners = [f"ptnr{number}_{tag}" for number in (1, 2) for tag in partner.split()]
    set_category(block, "_struct_conn", f"id conn_type_id {' '.join(partners)} pdbx_dist_value details", rows)
    kinds = sorted({str(row[1]) for row in rows})
    set_category(block, "_struct_conn_type", "id", [(kind,) for kind in kinds])


def _partner(chain: Sequence[Monomer], position: int, atom: str | None) -> tuple[object, ...]:
    name = chain[position].name
    return CHAIN, name, position + 1, atom, CHAIN, name, chain[position].number, "1_555"
