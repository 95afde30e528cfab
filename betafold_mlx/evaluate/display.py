"""The document of an evaluation as tables and legends for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from betafold_mlx.evaluate.layout import Block, TextTable
from betafold_mlx.evaluate.methods import BEST_OF, OTHER
from betafold_mlx.evaluate.reliability import COVERAGES

Document = Mapping[str, Any]

_FIGURES = (
    ("rmsd_mean", "RMSD", 2),
    ("rmsd_median", "median", 2),
    ("deviation_first_third", "N-term", 2),
    ("deviation_middle_third", "middle", 2),
    ("deviation_last_third", "C-term", 2),
    ("ca_rmsd_mean", "CA", 2),
    ("phi_mae", "phi", 1),
    ("psi_mae", "psi", 1),
    ("omega_mae", "omega", 1),
    ("q3", "Q3", 3),
    ("ca_distance_error", "CA-CA", 2),
    ("lddt", "lDDT", 3),
    ("gdt_ts", "GDT_TS", 3),
)
_DIFFERENCES = (("rmsd_mean", "RMSD"), ("rmsd_median", "median RMSD"), ("phi_mae", "phi"), ("psi_mae", "psi"))
_CLASS_METHODS = (OTHER, "constant_helix", "nearest_neighbour", "reconstruction_floor")
_CONFIDENCE = (
    ("mean_plddt", "pLDDT", 1),
    ("mean_lddt", "lDDT", 1),
    ("spearman_lddt", "rho lDDT", 2),
    ("partial_spearman_lddt", "partial", 2),
    ("spearman_rmsd", "rho RMSD", 2),
    ("partial_spearman_rmsd", "partial", 2),
)
_CURVES_OF = ("all", "fragments", "peptides free+oligomer")

LEGEND = """\
RMSD: N, CA, C after superposition (proper rotation), Angstrom: mean and median over structures, and the mean deviation
of the residues in the first, middle and last third. CA: mean C-alpha RMSD. phi, psi, omega: mean absolute circular
error, degrees, over all residues. Q3: share of residues in the right P-SEA state. CA-CA: mean error of the C-alpha
distance matrix, Angstrom. lDDT and GDT_TS (C-alpha, 0 to 1) flatter short peptides: a wrong helix has an lDDT of about
0.4, a wrong strand of 10 residues a GDT_TS of 0.30.
Differences are judged method minus baseline (negative is better) with a 95 % interval, * where that excludes zero:
paired bootstrap over clusters. With few clusters it is too narrow (it holds the truth in 83 % of cases at 5, 91 % at
10, 93 % at 40)."""

CONFIDENCE_LEGEND = """\
rho: Spearman's correlation of mean pLDDT over structures; partial: the same with length and predicted helix content
removed. ECE: expected calibration error of residues and of whole models, 10 bins, in points of 100. Surest 20 %: RMSD
of the fifth of highest mean pLDDT, and its ratio to that of all, of means and of medians. Area: of the risk-coverage
curve, the mean RMSD of the k surest over all k; in brackets that of a perfect order. Within a peptide: Spearman's
correlation of mean pLDDT with RMSD among its models (negative is right), how often the first model is the best one,
and its RMSD beside the mean over all."""

DISULFIDE_LEGEND = """\
How often the disulfides that the model prefers, told of none, are the native ones, all of them; chance: 1 / number of
ways; probability: the model's own. Left out: items with two cysteines, and with more free cysteines than one."""

SCOPE_LEGEND = """\
Random sequences have the composition of the train split, shuffled ones that of a fragment or of a free peptide, whose
bonded cysteines stay in place; disordered ones are pieces of proteins without a fold in solution, seen where 10
residues in a row occur in training. helix: share of residues; below: chance that a fragment, or a free peptide for
these, has a higher mean pLDDT."""


def blocks(document: Document) -> Iterator[Block]:
    """Yield tables and paragraphs in the order to read them; tables without a row are left out."""
    heading = [f"{label(name)}: {description}" for name, description in document["methods"].items()]
    yield "\n".join(heading + [f"note: {note}" for note in document["notes"]])
    groups = document["groups"]
    for group in groups:
        yield _figures(group)
        if group.get("comparisons"):
            yield _comparisons(group, document["judged"])
    if groups:
        yield LEGEND
        yield from _filled([_classes(document), *_confidence(groups), _bonds(groups)])
        yield from _filled([*_with_legend(_disulfides(groups), DISULFIDE_LEGEND), *_scope(document)])
    if document.get("not_scored"):
        lines = [f"  {entry['what']} {entry['name']}: {entry['reason']}" for entry in document["not_scored"]]
        yield "\n".join(["not scored:", *lines])


def label(method: str) -> str:
    """Return a method's name for people."""
    name = method.replace("_", " ")
    return f"{name} (oracle)" if method.startswith(BEST_OF) else name


def number(value: float | None, places: int) -> str:
    """Return a figure with so many decimals, a dash where there is none."""
    return "-" if value is None else f"{value:.{places}f}"


def percent(value: float | None) -> str:
    """Return a share in percent."""
    return "-" if value is None else f"{100 * value:.0f} %"


def with_interval(entry: Mapping[str, Any], key: str) -> str:
    """Return ``entry[key]`` with its 95 % interval, and a star where that excludes zero."""
    text = "-" if entry[key] is None else f"{entry[key]:+.2f}"
    if entry["low"] is None:
        return text
    return f"{text} [{entry['low']:+.2f}, {entry['high']:+.2f}]{'*' if entry['excludes_zero'] else ' '}"


def _filled(found: Sequence[Block]) -> list[Block]:
    return [block for block in found if isinstance(block, str) or block.rows]


def _with_legend(table: TextTable, legend: str) -> list[Block]:
    return [table, legend] if table.rows else []


def _figures(group: Document) -> TextTable:
    count = group["clusters"]
    clusters = "" if count is None else f" in {count} cluster{'s' if count != 1 else ''}"
    header = [f"{group['name']}: {group['n']}{clusters}", *(title for _, title, _ in _FIGURES)]
    rows = [
        [label(method), *(number(figures[key], places) for key, _, places in _FIGURES)]
        for method, figures in group["figures"].items()
    ]
    return TextTable(header, rows)


def _comparisons(group: Document, judged: str) -> TextTable:
    none = "" if group["intervals"] else " (too few clusters for intervals)"
    header = [f"{label(judged)} minus{none}", *(title for _, title in _DIFFERENCES)]
    rows = [
        [label(other), *(with_interval(table[key], "difference") for key, _ in _DIFFERENCES)]
        for other, table in group["comparisons"].items()
    ]
    return TextTable(header, rows)


def _classes(document: Document) -> TextTable:
    """Return the medians of the classes by the methods that tell most."""
    methods = [
        method
        for method in document["methods"]
        if method == document["judged"] or method.startswith(BEST_OF) or method in _CLASS_METHODS
    ]
    rows = []
    for entry in document["classes"]:
        clusters = "-" if entry["clusters"] is None else str(entry["clusters"])
        medians = [number(entry["rmsd_median"][method], 2) for method in methods]
        rows.append([entry["name"], str(entry["n"]), clusters, *medians])
    return TextTable(["median RMSD by class", "n", "clusters", *map(label, methods)], rows)


def _confidence(groups: Sequence[Document]) -> list[Block]:
    """Return the tables of the groups that have a confidence; nothing where none has."""
    known = [group for group in groups if "confidence" in group]
    curves = [group for group in known if group["name"] in _CURVES_OF]
    tables = [_calibration(known), _ranking(known), _risk_coverage(curves), *map(_reliability, curves)]
    return [*tables, CONFIDENCE_LEGEND] if known else []


def _calibration(groups: Sequence[Document]) -> TextTable:
    titles = [title for _, title, _ in _CONFIDENCE]
    rows = []
    for group in groups:
        figures = group["confidence"]
        error, surest = figures["expected_calibration_error"], figures["most_confident"]
        rows.append(
            [
                group["name"],
                *(number(figures[key], places) for key, _, places in _CONFIDENCE),
                *(number(error[key], 1) for key in ("residues", "models")),
                number(figures["risk_coverage"]["rmsd"][-1], 2),
                *(number(surest[key], 2) for key in ("rmsd_mean", "mean_ratio", "median_ratio")),
            ]
        )
    header = ["confidence", *titles, "ECE res.", "ECE models", "RMSD", "surest 20 %", "ratio", "of medians"]
    return TextTable(header, rows)


def _ranking(groups: Sequence[Document]) -> TextTable:
    titles = ["n", "rho RMSD", "hits", "chance", "first", "mean of all", "best"]
    titles += ["hits - chance", "first - mean"]
    rows = []
    for group in groups:
        if "ranking" in group:
            figures = group["ranking"]
            rows.append(
                [
                    *(group["name"], str(figures["n"]), with_interval(figures["spearman_rmsd"], "mean")),
                    *(percent(figures[key]) for key in ("hit_rate", "chance")),
                    *(number(figures[key], 2) for key in ("rmsd_first", "rmsd_mean", "rmsd_best")),
                    *(
                        with_interval(figures[key], "mean")
                        for key in ("hit_rate_minus_chance", "first_minus_mean")
                    ),
                ]
            )
    return TextTable(["within a peptide", *titles], rows)


def _risk_coverage(groups: Sequence[Document]) -> TextTable:
    rows = []
    for group in groups:
        figures = group["confidence"]["risk_coverage"]
        area = f"{number(figures['area'], 2)} ({number(figures['area_perfect'], 2)})"
        rows.append([group["name"], *(number(value, 2) for value in figures["rmsd"]), area])
    return TextTable(["RMSD of the surest", *(f"{coverage} %" for coverage in COVERAGES), "area"], rows)


def _reliability(group: Document) -> TextTable:
    rows = []
    for entry in group["confidence"]["reliability"]:
        if entry["residues"]:
            means = [number(entry[key], 1) for key in ("mean_plddt", "mean_lddt")]
            rows.append([f"{entry['low']:.0f}-{entry['high']:.0f}", str(entry["residues"]), *means])
    return TextTable([f"reliability, {group['name']}", "residues", "pLDDT", "lDDT"], rows)


def _bonds(groups: Sequence[Document]) -> TextTable:
    rows = []
    for group in groups:
        for kind, figures in group.get("bonds", {}).items():
            shares = [percent(figures[key]) for key in ("formed_first", "formed_all")]
            rows.append([f"{group['name']}: {kind}", str(figures["items"]), *shares, str(figures["models"])])
    return TextTable(["stated bonds made", "items", "first models", "all models", "of"], rows)


def _disulfides(groups: Sequence[Document]) -> TextTable:
    rows = []
    for group in groups:
        if "pairing" in group:
            figures = group["pairing"]
            shares = [percent(figures[key]) for key in ("right", "chance", "mean_probability")]
            left_out = [str(figures[key]) for key in ("single", "unanswerable")]
            rows.append([group["name"], str(figures["n"]), *shares, *left_out])
    titles = ("n", "right", "chance", "probability", "2 cysteines", "more free")
    return TextTable(["disulfides not stated", *titles], rows)


def _scope(document: Document) -> list[Block]:
    if "scope" not in document:
        return []
    scope = document["scope"]
    rows = []
    for entry in scope["sets"]:
        shares = [percent(entry[key]) for key in ("share_confident", "helix_share", "real_above")]
        rows.append([entry["name"], str(entry["n"]), number(entry["mean_plddt"], 1), *shares])
    titles = ["n", "pLDDT", f"> {scope['confident']:.0f}", "helix", "below"]
    pieces = [
        [
            piece["name"],
            "yes" if piece["seen"] else "no",
            number(piece["mean_plddt"], 1),
            piece["secondary_structure"].ljust(30),
        ]
        for piece in scope["disordered"]
    ]
    disordered = TextTable(["disordered in solution", "seen", "pLDDT", "structure"], pieces)
    return [TextTable(["confidence where there is no fold", *titles], rows), SCOPE_LEGEND, disordered]
