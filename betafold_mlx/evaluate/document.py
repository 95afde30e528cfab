"""An evaluation as one document of plain JSON values: figures by group, comparisons, every record."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np

from betafold_mlx._version import __version__
from betafold_mlx.evaluate.bond_rates import bond_figures, disulfide_figures
from betafold_mlx.evaluate.bootstrap import MIN_CLUSTERS, RESAMPLES, ClusterBootstrap
from betafold_mlx.evaluate.ensembles import ranking_figures
from betafold_mlx.evaluate.groups import class_figures, group_items
from betafold_mlx.evaluate.methods import Evaluation
from betafold_mlx.evaluate.reliability import confidence_figures
from betafold_mlx.evaluate.structure_scores import CA, Scores
from betafold_mlx.evaluate.summaries import ANGLES, compare, method_figures
from betafold_mlx.structure.secondary import assign_secondary_structure

SCHEMA_VERSION = 1
_DECIMALS = 4


def build_document(
    evaluation: Evaluation,
    header: Mapping[str, Any],
    seed: int = 0,
    clustered: bool = True,
    everything: bool = False,
) -> dict[str, Any]:
    """Return the whole document of an evaluation, of no item at all where nothing could be scored.

    The keys of `header` go in front as they are. Without `clustered` the items' clusters mean nothing, and there are
    no comparisons; with `everything` there is a group of all items first. JSON values only: NaN is None, numbers have
    4 decimals.

    ``judged``: name of the judged method; ``methods``: name -> description. ``groups``: list of dict with
    ``name``, ``n``, ``residues``, ``clusters``, ``figures`` (method -> `method_figures`), ``comparisons`` (other
    method -> `compare`) and ``intervals`` (whether there are enough clusters for them), and, where they are known,
    ``confidence`` (`confidence_figures`), ``ranking`` (`ranking_figures`), ``bonds`` (`bond_figures`) and
    ``pairing`` (`disulfide_figures`); the last three are left out where there is nothing to tell. ``classes``:
    `class_figures`. ``scope``: `measure_scope`, where it was asked for. ``records``: one an item, with its
    native ``secondary_structure``, every method's scores and, of the judged one, the residues' ``deviation``,
    ``lddt`` and ``plddt``, the scores of all its models (``ensemble``), the ``stated_bonds`` of each model, and
    what it prefers where no disulfides are stated (``pairing``: `disulfide_record`).
    """
    groups = group_items(evaluation.items, everything)
    document = {
        "schema_version": SCHEMA_VERSION,
        "versions": {
            "betafold-mlx": __version__,
            "mlx": version("mlx"),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        **header,
        "judged": next(iter(evaluation.scores), None),
        "methods": evaluation.descriptions,
        "bootstrap": {"resamples": RESAMPLES, "seed": seed, "interval_percent": 95} if clustered else None,
        "notes": evaluation.notes,
        "groups": [_group(evaluation, name, rows, seed, clustered) for name, rows in groups.items()],
        "classes": class_figures(evaluation.items, evaluation.scores, clustered),
        **({} if evaluation.scope is None else {"scope": evaluation.scope}),
        "records": [_record(evaluation, index) for index in range(len(evaluation.items))],
    }
    plain: dict[str, Any] = plain_values(document)
    return plain


def plain_values(value: Any) -> Any:
    """Return a value with numpy types as Python's, floats rounded, and NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): plain_values(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain_values(entry) for entry in value]
    if isinstance(value, (float, np.floating)):
        return round(float(value), _DECIMALS) if np.isfinite(value) else None
    if isinstance(value, np.generic):
        return value.item()
    return value


def _group(
    evaluation: Evaluation, name: str, members: np.ndarray, seed: int, clustered: bool
) -> dict[str, Any]:
    scores = {method: all_scores.select(members) for method, all_scores in evaluation.scores.items()}
    clusters = np.array([evaluation.items[index].cluster for index in members])
    count = len(np.unique(clusters))
    group: dict[str, Any] = {
        "name": name,
        "n": len(members),
        "residues": sum(len(evaluation.items[index]) for index in members),
        "clusters": count if clustered else None,
        "figures": {method: method_figures(chosen) for method, chosen in scores.items()},
    }
    if clustered:
        group["comparisons"] = _comparisons(scores, clusters, seed)
        group["intervals"] = count >= MIN_CLUSTERS
    if evaluation.plddt is not None:
        plddt = [evaluation.plddt[index] for index in members]
        group["confidence"] = confidence_figures(plddt, next(iter(scores.values())))
    known: dict[str, Any] = {}
    if evaluation.ensembles is not None:
        bootstrap = ClusterBootstrap(clusters, seed) if clustered else None
        known["ranking"] = ranking_figures(evaluation.ensembles.select(members), bootstrap)
    if evaluation.bonds is not None:
        known["bonds"] = bond_figures([evaluation.bonds[index] for index in members])
    if evaluation.disulfides is not None:
        known["pairing"] = disulfide_figures([evaluation.disulfides[index] for index in members])
    return group | {key: figures for key, figures in known.items() if figures}


def _comparisons(scores: Mapping[str, Scores], clusters: np.ndarray, seed: int) -> dict[str, Any]:
    """Compare the judged method to each other one, where it has N, CA and C."""
    judged, *others = scores
    whole = np.flatnonzero(np.isfinite(scores[judged].rmsd))
    if not len(whole):
        return {}
    enough = len(np.unique(clusters[whole])) >= MIN_CLUSTERS
    bootstrap = ClusterBootstrap(clusters[whole], seed) if enough else None
    first = scores[judged].select(whole)
    return {other: compare(first, scores[other].select(whole), bootstrap) for other in others}


def _record(evaluation: Evaluation, index: int) -> dict[str, Any]:
    """Return an item with its scores by every method, and residue by residue by the judged one."""
    item = evaluation.items[index]
    one, judged = np.array([index]), next(iter(evaluation.scores.values()))
    record: dict[str, Any] = {
        "id": item.id,
        "kind": item.kind,
        "sequence": item.peptide.sequence,
        "length": len(item),
        "cyclic": item.peptide.cyclic,
        "disulfides": item.peptide.disulfides,
        "cluster": item.cluster,
        "secondary_structure": assign_secondary_structure(item.coordinates[:, CA]),
        "methods": {method: _scores(scores.select(one)) for method, scores in evaluation.scores.items()},
        "deviation": judged.deviation[index],
        "lddt": judged.lddt[index],
    }
    if evaluation.plddt is not None:
        record["plddt"] = evaluation.plddt[index]
    if evaluation.ensembles is not None:
        record["ensemble"] = evaluation.ensembles.table(index)
    if evaluation.bonds is not None and evaluation.bonds[index][0]:
        record["stated_bonds"] = [list(map(asdict, bonds)) for bonds in evaluation.bonds[index]]
    if evaluation.disulfides is not None and (disulfides := evaluation.disulfides[index]) is not None:
        record["pairing"] = disulfides
    return record | evaluation.details[index]


def _scores(scores: Scores) -> dict[str, Any]:
    """Return the scores of one structure."""
    sums, counts = scores.torsion_sums
    with np.errstate(invalid="ignore"):
        mae = sums[0] / counts[0]  # NaN where nothing is defined
    return {
        "rmsd": scores.rmsd[0],
        "ca_rmsd": scores.ca_rmsd[0],
        **{f"{angle}_mae": value for angle, value in zip(ANGLES, mae, strict=True)},
        "q3": scores.q3[0],
        "secondary_structure": scores.secondary_structure[0] or None,
        "ca_distance_error": scores.ca_distance_error[0],
        "lddt": scores.mean_lddt[0],
        "gdt_ts": scores.gdt_ts[0],
    }
