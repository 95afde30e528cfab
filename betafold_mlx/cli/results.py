"""Results of `fold` on standard output, messages on standard error.

A terminal gets a table. A pipe or a file gets one line for each peptide, which programs can read: name, length, the
word ``pLDDT``, its mean, secondary structure and file, with two spaces or more between them. With ``--json`` there is
one document.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from betafold_mlx.cli.progress import MAX_NAME, say, shown
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import to_json

if TYPE_CHECKING:
    from betafold_mlx.fold.prediction import Prediction

MAX_MESSAGES = 1000
"""Lines on standard error, of a library; all of them are in its summary."""

MAX_MODELS = 10
"""Models of a peptide that have rows of their own in a table."""

_IN_MEMORY = 1 << 20  # bytes of errors that wait for the end of the JSON document


class Results:
    """Prints results as they come, in flat memory; a context manager. With `as_json` it is one JSON document.

    With `each_model` the first ten models of a peptide have a row each in a table.
    """

    def __init__(self, as_json: bool, each_model: bool = False) -> None:
        self._document = _Document() if as_json else None
        table = not as_json and sys.stdout.isatty()
        self._lines = _Table(each_model) if table else _Lines()
        self._messages = 0

    def resumed(self, records: int) -> None:
        """Report the number of records that were done before; they are not among the results."""
        say(f"resuming after {records:,} finished records")
        if self._document is not None:
            self._document.resumed_after = records

    def prediction(self, prediction: Prediction, files: Sequence[Path]) -> None:
        """Take a prediction that is in these files."""
        for warning in prediction.warnings:
            self._message(f"{shown(prediction.id)}: {warning}")
        if self._document is not None:
            document = prediction.to_dict() | {"files": [str(path) for path in files]}
            _print(self._document.result(document))
        else:
            self._lines.add(prediction, str(files[0]))

    def failure(self, identifier: str, error: BetafoldError) -> None:
        """Take a record that could not be folded or written."""
        self._message(f"{shown(identifier)}: {error}")
        if self._document is not None:
            self._document.error({"id": identifier, "error": str(error)})

    def flush(self) -> None:
        """Print what is still held."""
        _print(self._lines.text())

    def end(self) -> None:
        """Print the end."""
        self.flush()
        if self._document is not None:
            for text in self._document.end():
                _print(text)

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *_: object) -> None:
        if self._document is not None:
            self._document.close()

    def _message(self, text: str) -> None:
        self._messages += 1
        if self._messages <= MAX_MESSAGES:
            say(text)
        elif self._messages == MAX_MESSAGES + 1:
            say("more messages like this are in summary.csv")


def _print(text: str) -> None:
    if text:
        with contextlib.suppress(BrokenPipeError):  # who read them has enough; the files are still wanted
            print(text, end="", flush=True)


class _Lines:
    """A plain line for each peptide. Names share a column, as wide as the widest so far."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str]] = []
        self._width = 0

    def add(self, prediction: Prediction, file: str) -> None:
        figures = f"{len(prediction.peptide):>2}  pLDDT {prediction.plddt[0].mean():5.1f}"
        self._rows.append((shown(prediction.id), f"{figures}  {prediction.secondary_structure[0]}  {file}"))

    def text(self) -> str:
        """Return the lines that were not returned before."""
        self._width = max([self._width, *(len(name) for name, _ in self._rows)])
        text = "".join(f"{name:<{self._width}}  {rest}\n" for name, rest in self._rows)
        self._rows.clear()
        return text


class _Table(_Lines):
    """A table for a terminal, with the secondary structure on the colours of the confidence."""

    def __init__(self, each_model: bool) -> None:
        super().__init__()
        self._each_model = each_model
        self._table: Any = None
        self._headed = False

    def add(self, prediction: Prediction, file: str) -> None:
        from rich.text import Text

        table = self._table = self._table or _new_table()
        plddt, structures = prediction.plddt, prediction.secondary_structure
        for rank in range(min(len(plddt), MAX_MODELS) if self._each_model else 1):
            name, length = shown(prediction.id), str(len(structures[0]))
            if rank:
                name, length = f"  model {rank + 1}, {prediction.spread.rmsd_to_first[rank]:.1f} A off", ""
            self._width = max(self._width, len(name))
            structure = _painted(structures[rank], plddt[rank].tolist())
            path = Text("" if rank else file, overflow="fold")
            table.add_row(Text(name), length, f"{plddt[rank].mean():.1f}", structure, path)

    def text(self) -> str:
        """Return the rows that were not returned before; the first ones with a header."""
        if self._table is None:
            return ""
        from rich.console import Console

        console = Console()
        table = self._table
        if not self._headed:
            table.title = _legend()
        table.show_header, self._headed = not self._headed, True
        # Rows that come later stand below these: columns have widths of their own where there is room.
        table.columns[0].min_width = min(self._width, MAX_NAME)
        table.columns[3].min_width = 32 if console.width >= 80 else None
        with console.capture() as captured:
            console.print(table)
        self._table = None
        return captured.get()


def _new_table() -> Any:
    """Return an empty table."""
    from rich.table import Column, Table

    columns = [
        Column("id", no_wrap=True),
        Column("len", justify="right", min_width=3),
        Column("pLDDT", justify="right", min_width=5),
        Column("structure", overflow="fold"),
        Column("file", overflow="fold"),
    ]
    style = {"header_style": "", "title_style": "", "title_justify": "left"}
    return Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0), **style)  # type: ignore[arg-type]


def _legend() -> Any:
    """Return the bands of the confidence on their colours."""
    from rich.text import Text

    from betafold_mlx.report.bands import BANDS

    parts = [(f" {band.scope} ", f"{band.ink} on {band.colour}") for band in BANDS]
    return Text.assemble("pLDDT", *(piece for part in parts for piece in (" ", part)))


def _painted(structure: str, plddt: Sequence[float]) -> Any:
    """Return a secondary structure with each letter on the colour of its confidence."""
    from rich.text import Text

    from betafold_mlx.report.bands import band_of

    text = Text(overflow="fold")
    for letter, value in zip(structure, plddt, strict=True):
        band = band_of(value)
        text.append(letter, f"{band.ink} on {band.colour}")
    return text


class _Document:
    """The text of one JSON document piece by piece, as `to_json` would write the whole."""

    def __init__(self) -> None:
        self.resumed_after: int | None = None
        self._results = 0
        # Errors come after the results.
        self._errors = tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8", newline="\n")  # noqa: SIM115

    def result(self, document: object) -> str:
        """Return the text of a result, with what stands before it."""
        self._results += 1
        return (self._head() if self._results == 1 else ",") + _element(document)

    def error(self, document: object) -> None:
        """Keep an error for the end."""
        self._errors.write(("," if self._errors.tell() else "") + _element(document))

    def end(self) -> Iterator[str]:
        """Yield what comes after the results."""
        yield "\n  ]" if self._results else self._head() + "]"
        yield ',\n  "errors": ['
        some = self._errors.tell() > 0
        self._errors.seek(0)
        while text := self._errors.read(_IN_MEMORY):
            yield text
        yield "\n  ]\n}\n" if some else "]\n}\n"

    def close(self) -> None:
        """Drop what is kept."""
        self._errors.close()

    def _head(self) -> str:
        from betafold_mlx.fold.prediction import SCHEMA_VERSION

        resumed = "" if self.resumed_after is None else f'  "resumed_after": {self.resumed_after},\n'
        return f'{{\n  "schema_version": {SCHEMA_VERSION},\n{resumed}  "results": ['


def _element(document: object) -> str:
    """Return a document as an element of a list that is a value of the outermost object."""
    return "\n    " + to_json(document).rstrip("\n").replace("\n", "\n    ")
