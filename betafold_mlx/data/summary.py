"""Summary of a data set: counts by split, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from betafold_mlx.data.sources import Dropped, Reading
from betafold_mlx.data.store import SPLITS, Dataset


def make_report(
    dataset: Dataset,
    reading: Reading,
    dropped: Sequence[Dropped],
    fragments_dropped: dict[str, int],
    identity: dict[str, float],
    seed: int,
) -> dict[str, Any]:
    """Return the report of a data set, ready for JSON; `dropped` is all that was read and is not in it."""
    return {
        "seed": seed,
        "read": [[source["name"], source["records"]] for source in reading.sources],
        "unreadable": reading.failed,
        "kept": len(dataset.records),
        "dropped": dict(sorted(Counter(reason for _, reason, _ in dropped).items())),
        "splits": {split: _split_report(dataset, split) for split in SPLITS},
        "fragments_dropped": fragments_dropped,
        "test_to_train_identity": identity,
        "dropped_records": [list(entry) for entry in dropped],
    }


def _split_report(dataset: Dataset, split: str) -> dict[str, Any]:
    peptides, chains = dataset.peptides(split), dataset.chains(split)
    fragments = [fragment for fragment in dataset.fragments if fragment.split == split]
    peptide_clusters = Counter(record.cluster for record in peptides)
    chain_clusters = Counter(record.cluster for record in chains)
    return {
        "peptides": len(peptides),
        "peptides_by_kind": dict(sorted(Counter(record.kind for record in peptides).items())),
        "peptide_clusters": len(peptide_clusters),
        "largest_peptide_cluster": max(peptide_clusters.values(), default=0),
        "chains": len(chains),
        "chain_residues": sum(record.length for record in chains),
        "chain_clusters": len(chain_clusters),
        "largest_chain_cluster": max(chain_clusters.values(), default=0),
        "fragments": len(fragments),
        "fragment_clusters": len({fragment.cluster for fragment in fragments}),
    }


def format_report(report: dict[str, Any]) -> str:
    """Return the report as text: a few lines and a table."""
    unreadable = f", {len(report['unreadable'])} cannot be read" if report["unreadable"] else ""
    lines = [
        f"read {sum(count for _, count in report['read'])} chains from {len(report['read'])} files{unreadable}"
    ]
    reasons = ", ".join(f"{count} {reason}" for reason, count in report["dropped"].items()) or "nothing"
    lines.append(f"kept {report['kept']} chains; left out: {reasons}")
    if "distillation" in report:
        lines.append(f"distilled, not experimental: {report['distillation']['summary']}")
    if "side_chains" in report:
        lines.append(f"side chains: chi1 of {report['side_chains']} residues")
    if "splits_of" in report:
        lines.append(f"splits kept from the data set {report['splits_of']}")
    columns = ("peptides", "peptide_clusters", "chains", "chain_residues", "chain_clusters", "fragments")
    titles = ("peptides", "clusters", "chains", "residues", "clusters", "windows")
    lines.append("\n" + " " * 10 + "".join(f"{title:>10}" for title in titles) + "  peptides by kind")
    for split, counts in report["splits"].items():
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts["peptides_by_kind"].items())
        numbers = "".join(f"{counts[column]:>10}" for column in columns)
        lines.append(f"{split:<10}{numbers}  {kinds}".rstrip())
    lines.append("")
    identity = report["test_to_train_identity"]
    if identity:
        lines.append(
            "test peptides to their nearest training peptide: identity "
            f"{identity['max_identity']:.0%} at most, {identity['median_identity']:.0%} in the median"
        )
    leaks = ", ".join(f"{count} {reason}" for reason, count in report["fragments_dropped"].items() if count)
    if leaks:
        lines.append(f"evaluation windows dropped: {leaks}")
    return "\n".join(lines) + "\n"


def empty_splits(report: dict[str, Any]) -> list[str]:
    """Return a warning for each split that holds nothing to train or measure on."""
    return [
        f"the {split} split is empty: too few clusters in the sources"
        for split, counts in report["splits"].items()
        if not counts["peptides"] and not (counts["chains"] if split == "train" else counts["fragments"])
    ]
