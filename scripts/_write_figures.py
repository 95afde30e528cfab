"""Write the figures of `betafold-mlx evaluate --json` into the model card and the README, between their marks.

    python scripts/_write_figures.py TEST.json weights/betafold-mini/README.md README.md

No figure is typed: between ``<!-- NAME -->`` and ``<!-- /NAME -->`` stands what the section of that name prints below.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from betafold_mlx.evaluate.layout import TextTable

Document = dict[str, Any]

GROUPS = {
    "fragments": "fragments of chains",
    "fragments 10-15": "- 10-15 residues",
    "fragments 16-22": "- 16-22 residues",
    "fragments 23-30": "- 23-30 residues",
    "fragments 31-50": "- 31-50 residues",
    "peptides free": "free peptides",
    "peptides free+oligomer": "free and oligomeric peptides",
    "peptides bound": "peptides bound to a protein",
    "peptides mhc_bound": "peptides in an MHC groove",
}
METHODS = {
    "model": "betafold-mini",
    "best_of_5": "best of 5",
    "distant_templates": "templates to 60 %",
    "no_templates": "no templates",
    "model_not_told": "without chemistry",
    "constant_helix": "helix",
    "type_prior": "type prior",
    "nearest_neighbour": "neighbour",
    "reconstruction_floor": "floor",
}
CLASSES = {
    "peptides free, linear": "free, linear",
    "peptides free, one bridge": "free, one disulfide",
    "peptides free, disulfide-rich": "free, two disulfides or more",
    "peptides free, cyclic": "free, cyclic",
    "peptides, helical": "all peptides, helical",
    "fragments, helical": "fragments, helical",
    "fragments, hairpin": "fragments, hairpin",
}


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table in Markdown."""
    return TextTable(head, [list(map(str, row)) for row in rows]).markdown()


def group(document: Document, name: str) -> Document:
    """Return a group of items by its name."""
    return next(found for found in document["groups"] if found["name"] == name)


def rmsd(document: Document, groups: Sequence[str] = tuple(GROUPS)) -> str:
    """Median RMSD of each group by method."""
    rows = []
    for found in (group(document, name) for name in groups):
        figures = (f"{found['figures'][method]['rmsd_median']:.2f}" for method in METHODS)
        rows.append([GROUPS[found["name"]], found["n"], found["clusters"], *figures])
    return table(["median backbone RMSD, Angstrom", "n", "clusters", *METHODS.values()], rows)


def rmsd_in_short(document: Document) -> str:
    """Median RMSD of the groups that the README shows."""
    return rmsd(
        document, [name for name in GROUPS if name not in ("fragments 16-22", "peptides free+oligomer")]
    )


def torsions(document: Document) -> str:
    """Errors of phi and psi of each group by method."""
    methods = ("model", "constant_helix", "type_prior", "nearest_neighbour")
    rows = []
    for name in ("fragments", "peptides free+oligomer", "peptides bound", "peptides mhc_bound"):
        figures = (group(document, name)["figures"][method] for method in methods)
        rows.append([GROUPS[name], *(f"{f['phi_mae']:.1f} / {f['psi_mae']:.1f}" for f in figures)])
    return table(["mean error of phi / psi, degrees", *(METHODS[method] for method in methods)], rows)


def differences(document: Document) -> str:
    """Differences of the model from each baseline, with intervals over clusters."""
    rows = []
    for name in ("fragments", "peptides free+oligomer"):
        for method in ("constant_helix", "type_prior", "nearest_neighbour", "model_not_told"):
            comparison = group(document, name)["comparisons"][method]
            cells = [
                f"{c['difference']:+.2f} ({c['low']:+.2f} to {c['high']:+.2f})"
                for c in (comparison[figure] for figure in ("rmsd_mean", "phi_mae", "psi_mae"))
            ]
            rows.append([f"{METHODS[method]}, {GROUPS[name]}", *cells])
    return table(["betafold-mini less ...", "mean RMSD, A", "phi, degrees", "psi, degrees"], rows)


def classes(document: Document) -> str:
    """Median RMSD of each class."""
    rows = []
    for found in document["classes"]:
        if found["name"] in CLASSES:
            medians = found["rmsd_median"]
            shown = ("model", "best_of_5", "constant_helix", "nearest_neighbour")
            rows.append([CLASSES[found["name"]], found["n"], *(f"{medians[method]:.2f}" for method in shown)])
    return table(
        ["median RMSD by class, Angstrom", "n", "betafold-mini", "best of 5", "helix", "neighbour"], rows
    )


def bonds(document: Document) -> str:
    """How many stated bonds were formed, and which disulfides were preferred."""
    said = []
    for name in ("fragments", "peptides free+oligomer"):
        for kind, found in group(document, name)["bonds"].items():
            said.append(
                f"{100 * found['formed_all']:.0f} % of the {kind}s of {found['items']} {GROUPS[name]}"
            )
    pairing = [
        f"{round(found['right'] * found['n'])} of {found['n']} {GROUPS[name]} with a choice "
        f"(chance {100 * found['chance']:.0f} %)"
        for name in ("peptides free+oligomer", "fragments")
        if (found := group(document, name)["pairing"])["n"]
    ]
    return (
        f"**Stated bonds** formed, over all five models: {'; '.join(said)}.\n\n"
        f"**Preferred disulfides**, where none are stated, right: {'; '.join(pairing)}."
    )


def confidence(document: Document) -> str:
    """Calibration, correlation and ranking."""
    rows = []
    for name in ("fragments", "peptides free+oligomer"):
        found = group(document, name)
        c, ranking = found["confidence"], found["ranking"]
        gain = ranking["first_minus_mean"]
        rows.append(
            [
                GROUPS[name],
                f"{c['mean_plddt']:.0f} / {c['mean_lddt']:.0f}",
                f"{c['expected_calibration_error']['residues']:.1f}",
                f"{c['spearman_rmsd']:.2f} ({c['partial_spearman_rmsd']:.2f})",
                f"{c['most_confident']['median_ratio']:.2f}",
                f"{100 * ranking['hit_rate']:.0f} % ({100 * ranking['chance']:.0f} %)",
                f"{gain['mean']:+.2f} ({gain['low']:+.2f} to {gain['high']:+.2f})",
            ]
        )
    head = [
        "confidence",
        "mean pLDDT / lDDT",
        "calibration error a residue",
        "rank correlation with RMSD (length and helix removed)",
        "median RMSD of the most confident fifth over that of all",
        "first of five is the best (chance)",
        "first less mean of five, A",
    ]
    reliability = [
        f"{row['mean_plddt']:.0f} meets {row['mean_lddt']:.0f}"
        for row in group(document, "fragments")["confidence"]["reliability"]
        if row["residues"] >= 100
    ]
    return f"{table(head, rows)}\n\nOn fragments a pLDDT of {', '.join(reliability)}."


def scope(document: Document) -> str:
    """Confidence in what has no fold."""
    rows = [
        [
            s["name"],
            s["n"],
            f"{s['mean_plddt']:.0f}",
            f"{100 * s['share_confident']:.0f} %",
            f"{100 * s['helix_share']:.0f} %",
        ]
        for s in document["scope"]["sets"]
    ]
    return table(["where there is no fold", "n", "mean pLDDT", "above 70", "helical residues"], rows)


SECTIONS: dict[str, Callable[[Document], str]] = {
    function.__name__.replace("_", "-"): function
    for function in (rmsd, rmsd_in_short, torsions, differences, classes, bonds, confidence, scope)
}


def fill(text: str, document: Document) -> str:
    """Return a text with the sections between its marks written anew."""

    def section(match: re.Match[str]) -> str:
        name = match[1]
        return f"<!-- {name} -->\n{SECTIONS[name](document)}\n<!-- /{name} -->"

    return re.sub(rf"<!-- ({'|'.join(SECTIONS)}) -->.*?<!-- /\1 -->", section, text, flags=re.DOTALL)


def main(arguments: Sequence[str]) -> None:
    """Fill the files."""
    document = json.loads(Path(arguments[0]).read_text())
    for path in map(Path, arguments[1:]):
        path.write_text(fill(path.read_text(), document))


if __name__ == "__main__":
    main(sys.argv[1:])
