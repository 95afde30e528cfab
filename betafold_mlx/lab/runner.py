"""The experiments by name, with their inputs, reports and output folders."""

from __future__ import annotations

import base64
import csv
import dataclasses
import functools
import importlib
import importlib.util
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import atomic_directory, write_text
from betafold_mlx.lab.budget import Budget

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from betafold_mlx.data.store import Dataset
    from betafold_mlx.fold.predictor import Predictor

EXPERIMENTS = {
    "toy": "Attention on copy and shift tasks, under right and wrong masks",
    "attention": "Attention maps of a trained network, and what its heads look at",
    "mask": "Padding masks that are wrong on purpose",
    "positions": "Learned, sinusoidal, ring-aware and no positions",
    "depth": "Layers and heads, and when overfitting sets in",
    "dropout": "Dropout of 0, 0.1 and 0.3",
    "norm": "Pre-LN against post-LN, and the gradients of the blocks",
    "schedule": "Warm-up and weight decay",
    "distogram": "With and without the distance head",
    "width": "Wide against deep pair trunks at equal compute",
    "stability": "Rates and warm-ups for a wide pair trunk",
    "recipe": "The training recipe, with one part of it left out or changed",
    "distill": "Labels of a teacher beside experimental structures",
    "generator": "A generator of backbones without one of its parts",
    "failures": "When and why predicted structures break",
    "limits": "What limits the accuracy: the network, or the folding",
    "embeddings": "What a language model adds",
}
"""Name of the experiment, which is that of its module, -> its title."""
WITHOUT_DATA = ("toy", "attention")
"""Experiments that need no data set."""

FINDINGS, PAGE = "findings", "index.html"
"""Names of the table and of the page that each experiment has."""

Row = Mapping[str, Any]
"""A line of a table: column -> number, text or None."""


@dataclass(frozen=True)
class Finding:
    """One thing that was measured, and what it says.

    Attributes
    ----------
    measure, unit : str
        What the numbers are.
    value : float
        The number.
    low, high : float or None
        Ends of its 95 % interval; None where nothing was repeated.
    repeats : int
        Independent observations behind it.
    verdict : str
        The finding in words.
    """

    measure: str
    unit: str
    value: float
    low: float | None
    high: float | None
    repeats: int
    verdict: str

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class Picture(NamedTuple):
    """A figure and the words below it."""

    figure: Figure
    caption: str


@dataclass
class LabReport:
    """What an experiment found.

    Attributes
    ----------
    findings : list of Finding
        The verdict, most important first.
    tables : dict of str to sequence of Row
        By file name, without suffix. All rows of a table have the same columns.
    pictures : dict of str to Picture
        By file name, without suffix.
    notes : list of str
        What a reader must know beside it.
    """

    findings: list[Finding] = field(default_factory=list)
    tables: dict[str, Sequence[Row]] = field(default_factory=dict)
    pictures: dict[str, Picture] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Lab:
    """What an experiment works with.

    Attributes
    ----------
    directory : Path
        Folder of all experiments; finished training runs are kept in its ``runs``.
    budget : Budget
        How much to do.
    seed : int
        The first seed; repeats count up from it.
    data : Path or None
        Folder of a data set.
    model : str or None
        Trained model to look into; None for the bundled one.
    embedder : Path or None
        Folder of a converted ESM-2.
    peptides : tuple of str
        Sequences that the user gave.
    say : callable
        Receives the progress, in lines of text.
    """

    directory: Path
    budget: Budget
    seed: int = 0
    data: Path | None = None
    model: str | None = None
    embedder: Path | None = None
    peptides: tuple[str, ...] = ()
    say: Callable[[str], None] = lambda line: None

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The data set; without one, an error that says how to make it."""
        from betafold_mlx.data.store import Dataset

        return Dataset.load(self._data)

    @functools.cached_property
    def dataset_sha256(self) -> str:
        """Its fingerprint."""
        from betafold_mlx.data.store import dataset_sha256

        return dataset_sha256(self._data)

    @property
    def _data(self) -> Path:
        if self.data is None:
            raise BetafoldError(
                "this experiment needs a data set: name one with --data; "
                "`betafold-mlx dataset build STRUCTURES... -o DATASET` makes one"
            )
        return self.data

    @functools.cached_property
    def small_dataset(self) -> Dataset:
        """The data set with fewer validation fragments, evenly spread, and without those of the test split."""
        fragments = [f for f in self.dataset.fragments if f.split == "validation"]
        kept = min(self.budget.items, len(fragments))
        chosen = [fragments[i * len(fragments) // kept] for i in range(kept)]
        return dataclasses.replace(self.dataset, fragments=chosen)

    @property
    def seeds(self) -> range:
        """Seeds of the repeats."""
        return range(self.seed, self.seed + self.budget.repeats)

    def load_model(self) -> tuple[Predictor, list[str]]:
        """Return the model to look into, and notes for the reader."""
        from betafold_mlx.fold.predictor import Predictor

        predictor = Predictor.load(self.model)
        notes = [f"Model {predictor.loaded.name}, sha256 {predictor.loaded.sha256:.12}."]
        if self.data is not None and predictor.loaded.trained_on != self.dataset_sha256:
            notes.append(
                "The model was trained on another data set: the test structures may be like its training structures, "
                "and its errors larger in truth."
            )
        return predictor, notes


def require_libraries() -> None:
    """Check that the libraries of the lab are installed; an error says how to install them."""
    if any(importlib.util.find_spec(name) is None for name in ("matplotlib", "scipy")):
        raise BetafoldError("the lab needs matplotlib and SciPy: pip install 'betafold-mlx[lab]'")


def run_experiment(name: str, lab: Lab) -> LabReport:
    """Run an experiment; its module is imported only now."""
    from betafold_mlx.lab.drawing import style

    with style():
        report: LabReport = importlib.import_module(f"betafold_mlx.lab.{name}").run(lab)
    return report


def write_report(directory: Path, title: str, command: str, report: LabReport) -> list[Path]:
    """Write the tables, figures and page of an experiment into a folder, which is replaced as a whole.

    Returns
    -------
    list of Path
        The files, the page first.
    """
    from betafold_mlx.lab.drawing import figure_bytes
    from betafold_mlx.report.render import render

    tables = {FINDINGS: [dataclasses.asdict(finding) for finding in report.findings], **report.tables}
    with atomic_directory(directory) as temporary:
        for name, picture in report.pictures.items():
            for kind in ("png", "svg"):
                (temporary / f"{name}.{kind}").write_bytes(figure_bytes(picture.figure, kind))
        for name, rows in tables.items():
            write_text(temporary / f"{name}.csv", to_csv(rows))
        images = {
            name: base64.b64encode((temporary / f"{name}.png").read_bytes()).decode()
            for name in report.pictures
        }
        page = render("lab/page.html", title=title, command=command, report=report, images=images)
        write_text(temporary / PAGE, page)
        names = sorted(path.name for path in temporary.iterdir() if path.name != PAGE)
    return [directory / name for name in (PAGE, *names)]


def to_csv(rows: Sequence[Row]) -> str:
    r"""Return a table as CSV: numbers with six digits, nothing for None and NaN.

    >>> to_csv([{"a": 0.1234567, "b": None}])
    'a,b\n0.123457,\n'
    """
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _shown(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _shown(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.6g}"


def read_findings(directory: Path) -> list[Finding]:
    """Read back the findings of an experiment; none where it was not done."""
    path = directory / f"{FINDINGS}.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Finding(
                row["measure"],
                row["unit"],
                float(row["value"]) if row["value"] else math.nan,
                float(row["low"]) if row["low"] else None,
                float(row["high"]) if row["high"] else None,
                int(row["repeats"]),
                row["verdict"],
            )
            for row in csv.DictReader(file)
        ]
