"""The report of a generator as tables to read in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from betafold_mlx.evaluate.layout import align

ROWS = (
    ("drawn trace: CA-CA bonds of 3.8 +- 0.4 A", "trace.bonds_ok", "share"),
    ("drawn trace: no CA-CA clash", "trace.clash_free", "share"),
    ("drawn trace: valid", "trace.valid", "share"),
    ("drawn trace: CA distances, JS divergence, bits", "trace.distance_divergence", "bits"),
    ("backbone: bonds whole", "backbone.bonds_ok", "share"),
    ("backbone: no clash", "backbone.clash_free", "share"),
    ("backbone: valid", "backbone.valid", "share"),
    ("fit, median CA RMSD, A", "backbone.fit_rmsd_median", "angstrom"),
    ("Ramachandran favoured", "ramachandran_favoured", "share"),
    ("helix", "secondary_structure.helix", "share"),
    ("strand", "secondary_structure.strand", "share"),
    ("radius of gyration, mean, A", "radius_of_gyration", "angstrom"),
    ("radius of gyration, JS divergence, bits", "radius_divergence", "bits"),
    ("CA distances, JS divergence, bits", "distance_divergence", "bits"),
    ("diversity, mean pairwise RMSD, A", "diversity.mean_rmsd", "angstrom"),
    ("clusters (2 A) a sample", "diversity.clusters_per_sample", "angstrom"),
    ("nearest training window, mean RMSD, A", "nearest_training_rmsd", "angstrom"),
)
"""Label, place in the figures of a method, and kind of number of each row."""

LEGEND = """\
All chains, the known ones too, are taken for C-alpha traces and get backbones by the same fit; the figures below their
validity are of the valid ones. Favoured: the smallest region that holds 98 % of the training residues. Divergences are
from training windows of the same lengths: that of the fragment copies, which are such windows, is what so few samples
come to by chance. Nearest: of 1,000 training windows of the same length. Brackets: 95 % bootstrap intervals over
samples."""


def value_at(figures: Mapping[str, Any], place: str) -> Any:
    """Return what stands at ``a.b`` in the figures of a method."""
    found: Any = figures
    for name in place.split("."):
        found = found[name]
    return found


def shown(value: Any, kind: str) -> str:
    """Return a figure for people: a number, or an estimate with its interval; a dash where there is none.

    >>> shown({"value": 0.954, "low": 0.91, "high": 1.0}, "share"), shown(0.1234, "bits"), shown(None, "bits")
    ('95 % [91, 100]', '0.123', '-')
    """
    low = high = None
    if isinstance(value, Mapping):
        value, low, high = value["value"], value["low"], value["high"]
    if value is None:
        return "-"
    if kind == "share":
        interval = "" if low is None or high is None else f" [{100 * low:.0f}, {100 * high:.0f}]"
        return f"{100 * value:.0f} %{interval}"
    if kind == "bits":
        return f"{value:.3f}"
    interval = "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"
    return f"{value:.2f}{interval}"


def method_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """Return the table of methods, its header first."""
    methods = report["methods"]
    low, high = report["lengths"]
    rows = [[f"{report['samples']} samples of {low}-{high} residues", *methods]]
    for label, place, kind in ROWS:
        rows.append([label, *(shown(value_at(figures, place), kind) for figures in methods.values())])
    return rows


def prompt_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """Return the table of prompts, its header first; empty where there were none."""
    prompts = report["prompts"]
    names = list(dict.fromkeys(name for prompt in prompts.values() for name in prompt["methods"]))
    if not names:
        return []
    rows = [["asked for", "samples", *names]]
    for name, prompt in prompts.items():
        kind = "angstrom" if name == "shape" else "share"
        cells = [
            shown(prompt["methods"][method], kind) if method in prompt["methods"] else "-" for method in names
        ]
        rows.append([f"{name}: {prompt['what']}", str(prompt["samples"]), *cells])
    return rows


def render(report: Mapping[str, Any]) -> str:
    """Return the tables of a report (`betafold_mlx.generate.assessment.evaluate_generator`) as text."""
    blocks = [f"note: {note}" for note in report.get("notes", ())]
    blocks.append(align(method_rows(report)))
    blocks.append(LEGEND)
    prompts = prompt_rows(report)
    if prompts:
        blocks.append(align(prompts))
    speed = report["speed"]
    blocks.append(
        f"{speed['draw_per_second']:.1f} traces drawn and {speed['fit_per_second']:.1f} fitted a second"
    )
    return "\n\n".join(blocks) + "\n"
