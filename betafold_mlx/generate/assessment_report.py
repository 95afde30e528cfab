"""The report of `evaluate-generator`: tables for a terminal, and an HTML page with pictures of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from betafold_mlx.evaluate.layout import Block, TextTable, plain_text
from betafold_mlx.generate.fit import CA
from betafold_mlx.generate.fit_problem import Fit
from betafold_mlx.generate.measures import figure_at
from betafold_mlx.generate.training_split import BIN, SHARE, FavouredRegion
from betafold_mlx.structure.secondary import assign_secondary_structures

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
All chains, the known ones too, are reduced to C-alpha traces and get backbones by the same fit; the figures below
their validity are of the valid ones. Favoured: the smallest region that holds 98 % of the training residues.
Divergences are from training windows of the same lengths: that of the fragment copies, which are such windows, is what
so few samples give by chance. Nearest: of 1,000 training windows of the same length. Brackets: 95 % bootstrap intervals
over samples."""
MAX_PICTURES = 24  # samples on the page
_SIZE, _MARGIN = 160.0, 14.0  # of a picture
_MAX_DOTS = 3000


def figure_text(value: Any, kind: str) -> str:
    """Return a figure for people: a number, or an estimate with its interval; a dash where there is none.

    >>> figure_text({"value": 0.954, "low": 0.91, "high": 1.0}, "share"), figure_text(None, "bits")
    ('95 % [91, 100]', '-')
    """
    figure = value if isinstance(value, Mapping) else {"value": value, "low": None, "high": None}
    if figure["value"] is None:
        return "-"
    factor, digits, unit = {"share": (100, 0, " %"), "bits": (1, 3, ""), "angstrom": (1, 2, "")}[kind]
    number, low, high = (
        None if figure[end] is None else f"{factor * figure[end]:.{digits}f}"
        for end in ("value", "low", "high")
    )
    return f"{number}{unit}" if low is None else f"{number}{unit} [{low}, {high}]"


def method_table(report: Mapping[str, Any]) -> TextTable:
    """Return the model beside the baselines."""
    methods = report["methods"]
    low, high = report["lengths"]
    rows = [
        [label, *(figure_text(figure_at(figures, place), kind) for figures in methods.values())]
        for label, place, kind in ROWS
    ]
    return TextTable([f"{report['samples']} samples of {low}-{high} residues", *methods], rows)


def prompt_table(report: Mapping[str, Any]) -> TextTable | None:
    """Return how well prompts are followed; None where there were none."""
    prompts = report["prompts"]
    names = list(dict.fromkeys(name for prompt in prompts.values() for name in prompt["methods"]))
    if not names:
        return None
    rows = []
    for name, prompt in prompts.items():
        kind = "angstrom" if name == "shape" else "share"
        cells = [figure_text(prompt["methods"].get(method), kind) for method in names]
        rows.append([f"{name}: {prompt['what']}", str(prompt["samples"]), *cells])
    return TextTable(["asked for", "samples", *names], rows)


def report_text(report: Mapping[str, Any]) -> str:
    """Return the tables of a report (`betafold_mlx.generate.assessment.assess_generator`) as text."""
    speed = report["speed"]
    blocks: list[Block | None] = [
        *(f"note: {note}" for note in report.get("notes", ())),
        method_table(report),
        LEGEND,
        prompt_table(report),
        f"{speed['draw_per_second']:.1f} traces drawn and {speed['fit_per_second']:.1f} fitted a second",
    ]
    return plain_text([block for block in blocks if block is not None])


def report_page(
    report: Mapping[str, Any], samples: Sequence[Fit], favoured: FavouredRegion, command: str
) -> str:
    """Return the report of `assess_generator`, with its ``model``, as one HTML page, without scripts.

    `samples` are the generated backbones, of which `MAX_PICTURES` are drawn; `favoured` is the favoured region of the
    training data.
    """
    from betafold_mlx.report.render import render  # jinja2: only a page needs it

    pictured = samples[:MAX_PICTURES]
    traces = [fit.coordinates[:, CA].astype(np.float64) for fit in pictured]
    letters = assign_secondary_structures(traces)
    angles = [np.degrees(fit.torsions[1:-1, :2].astype(np.float64)) for fit in samples]
    return render(
        "generate/report.html",
        title=f"Generated backbones of {report['model']['name']}",
        command=command,
        notes=report.get("notes", ()),
        size=_SIZE,
        pictures=[
            sample_picture(trace, structure) | {"rmsd": f"{fit.rmsd:.2f}"}
            for fit, trace, structure in zip(pictured, traces, letters, strict=True)
        ],
        methods=method_table(report),
        prompts=prompt_table(report),
        legend=LEGEND,
        cells=(np.argwhere(favoured.density >= favoured.level) * BIN - 180).tolist(),
        bin=BIN,
        dots=np.concatenate([np.zeros((0, 2)), *angles])[:_MAX_DOTS].tolist(),
        share=f"{100 * SHARE:.0f}",
    )


def sample_picture(trace: np.ndarray, structure: str) -> dict[str, Any]:
    """Return a flat picture of a trace (L, 3), seen so that it is longest, and coloured by its secondary structure."""
    centred = trace - trace.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    axes *= np.sign(axes[np.arange(3), np.abs(axes).argmax(axis=1)])[:, None]  # their sign is arbitrary
    axes[2] *= np.sign(np.linalg.det(axes))  # and a mirror image would be another shape
    seen = centred @ axes.T
    scale = (_SIZE - 2 * _MARGIN) / max(float(np.ptp(seen[:, :2], axis=0).max()), 1.0)
    middle = (seen[:, :2].max(axis=0) + seen[:, :2].min(axis=0)) / 2
    places = ((seen[:, :2] - middle) * scale * [1.0, -1.0] + _SIZE / 2).tolist()
    order = np.argsort(seen[:-1, 2] + seen[1:, 2], kind="stable")  # the nearest last
    lines = []
    for i in order.tolist():
        (x1, y1), (x2, y2) = places[i], places[i + 1]
        state = structure[i] if structure[i] == structure[i + 1] else "C"
        lines.append({"x1": x1, "y1": y1, "x2": x2, "y2": y2, "state": state})
    return {"length": len(trace), "structure": structure, "lines": lines, "start": places[0]}
