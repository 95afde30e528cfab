"""The experiments by name, with their inputs, reports and output folders."""

from __future__ import annotations

import base64
import csv
import dataclasses
import functools
import importlib
import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import atomic_directory, write_text
from betafold_mlx.fold.output import csv_text
from betafold_mlx.lab.budget import Budget

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from betafold_mlx.data.store import Dataset
    from betafold_mlx.fold.predictor import Predictor


class Experiment(NamedTuple):
    """An experiment: the function ``run_NAME(lab)`` of a module of `betafold_mlx.lab`."""

    module: str
    title: str


EXPERIMENTS = {
    "toy": Experiment("toy", "Attention on copy and shift tasks, under right and wrong masks"),
    "attention": Experiment(
        "attention_maps", "Attention maps of a trained network, and what its heads look at"
    ),
    "mask": Experiment("mask", "Padding masks that are wrong on purpose"),
    "positions": Experiment("network_parts", "Learned, sinusoidal, ring-aware and no positions"),
    "depth": Experiment("recipe", "Layers and heads, and when overfitting sets in"),
    "dropout": Experiment("recipe", "Dropout of 0, 0.1 and 0.3"),
    "norm": Experiment("network_parts", "Pre-LN against post-LN, and the gradients of the blocks"),
    "schedule": Experiment("recipe", "Warm-up and weight decay"),
    "distogram": Experiment("network_parts", "With and without the distance head"),
    "width": Experiment("width", "Wide against deep pair trunks at equal compute"),
    "stability": Experiment("stability", "Rates and warm-ups for a wide pair trunk"),
    "recipe": Experiment("recipe", "The training recipe, with one part of it left out or changed"),
    "distill": Experiment("distilled_labels", "Labels of a teacher beside experimental structures"),
    "generator": Experiment("generator", "A generator of backbones without one of its parts"),
    "failures": Experiment("failures", "When and why predicted structures break"),
    "limits": Experiment("limits", "What limits the accuracy: the network, or the folding"),
    "embeddings": Experiment("embeddings", "What a language model adds"),
}
WITHOUT_DATA = ("toy", "attention")  # experiments that need no data set
FINDINGS, PAGE = "findings", "index.html"  # names of the table and of the page that each experiment has
Row = Mapping[str, Any]  # a line of a table: column -> number, text or None


@dataclass(frozen=True)
class Finding:
    """One thing that was measured, and what it says."""

    measure: str
    unit: str
    value: float
    low: float | None  # end of the 95 % interval; None where nothing was repeated
    high: float | None
    repeats: int  # independent observations
    verdict: str  # in words

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
    """What an experiment found."""

    findings: list[Finding] = field(default_factory=list)  # most important first
    tables: dict[str, Sequence[Row]] = field(default_factory=dict)  # by file name without suffix
    pictures: dict[str, Picture] = field(default_factory=dict)  # by file name without suffix
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Lab:
    """What an experiment works with."""

    directory: Path  # of all experiments; finished training runs are kept in its ``runs``
    budget: Budget
    seed: int = 0  # the first seed; repeats count up from it
    data: Path | None = None  # folder of a data set
    model: str | None = None  # trained model to look into; None for the bundled one
    embedder: Path | None = None  # folder of a converted ESM-2
    peptides: tuple[str, ...] = ()  # sequences to draw attention maps of
    say: Callable[[str], None] = lambda line: None  # receives the progress, in lines of text

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
        from betafold_mlx.evaluate.items import evenly_spread

        fragments = [f for f in self.dataset.fragments if f.split == "validation"]
        return dataclasses.replace(self.dataset, fragments=evenly_spread(fragments, self.budget.items))

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

    module = importlib.import_module(f"betafold_mlx.lab.{EXPERIMENTS[name].module}")
    with style():
        report: LabReport = getattr(module, f"run_{name}")(lab)
    return report


def write_report(directory: Path, title: str, command: str, report: LabReport) -> list[Path]:
    """Write the tables, figures and page of an experiment into a folder, replaced as a whole; return its files."""
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
    return csv_text([list(rows[0]), *([_shown(row[name]) for name in rows[0]] for row in rows)])


def _shown(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.6g}"


def read_findings(directory: Path) -> list[Finding]:
    """Read back the findings of an experiment; none where it was not done."""
    path = directory / f"{FINDINGS}.csv"
    if not path.is_file():
        return []
    found = []
    with path.open(newline="", encoding="utf-8") as file:
        for measure, unit, *numbers, repeats, verdict in list(csv.reader(file))[1:]:
            value, low, high = (float(number) if number else None for number in numbers)
            value = math.nan if value is None else value
            found.append(Finding(measure, unit, value, low, high, int(repeats), verdict))
    return found
