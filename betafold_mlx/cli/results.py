"""What `fold` tells the user: results on standard output, messages on the other.

A terminal gets a table (`betafold_mlx.cli.table`). Where standard output leads elsewhere there is a line a peptide,
which programs may read: name, length, the word ``pLDDT``, its mean, secondary structure and file, with two spaces or
more between them. With ``--json`` there is one document.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from betafold_mlx.cli.fasta import shown
from betafold_mlx.cli.progress import Progress
from betafold_mlx.cli.table import Row, Table, painted, rows_of
from betafold_mlx.cli.terminal import columns, is_coloured, is_terminal
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import to_json

if TYPE_CHECKING:
    from betafold_mlx.fold.prediction import Prediction

MOST_MESSAGES = 1000
"""Lines on standard error, of a library; all of them are in its summary."""

_IN_MEMORY = 1 << 20  # bytes of errors that wait for the end of the JSON document


class Results:
    """Prints results as they come, in flat memory.

    Parameters
    ----------
    as_json : bool
        One JSON document, not a line for each peptide. It is whole where the command comes to its end.
    progress : Progress, optional
        Makes way for what is printed.
    each_model : bool
        In a table each model of a peptide has a row, the first ten at least.
    """

    def __init__(self, as_json: bool, progress: Progress | None = None, each_model: bool = False) -> None:
        self._document = _Document() if as_json else None
        self._coloured = is_coloured(sys.stdout)
        self._table = Table(self._coloured) if is_terminal(sys.stdout) and not as_json else None
        self._each_model = each_model
        self._progress = progress
        self._rows: list[Row] = []
        self._lines: list[tuple[str, str]] = []
        self._width = 0
        self._messages = 0

    def resumed(self, records: int) -> None:
        """Say that so many records were done before; they are not among the results."""
        self._say(f"going on after {records:,} records that are done")
        if self._document is not None:
            self._document.resumed_after = records

    def prediction(self, prediction: Prediction, files: Sequence[Path]) -> None:
        """Take a prediction that is in these files."""
        for warning in prediction.warnings:
            self._message(f"{shown(prediction.id)}: {warning}")
        if self._document is not None:
            self._print(
                self._document.result(prediction.to_dict() | {"files": [str(path) for path in files]})
            )
        elif self._table is not None:
            self._rows += rows_of(prediction, str(files[0]), self._each_model)
        else:
            figures = f"{len(prediction.peptide):>2}  pLDDT {prediction.plddt[0].mean():5.1f}"
            structure = prediction.secondary_structure[0]
            if self._coloured:
                structure = painted(structure, prediction.plddt[0])
            self._lines.append((shown(prediction.id), f"{figures}  {structure}  {files[0]}"))

    def failure(self, identifier: str, error: BetafoldError) -> None:
        """Take a record that could not be folded or written."""
        self._message(f"{shown(identifier)}: {error}")
        if self._document is not None:
            self._document.error({"id": identifier, "error": str(error)})

    def flush(self) -> None:
        """Print what is still held: names share a column, as wide as the widest so far."""
        if self._table is not None:
            self._print(self._table.text(self._rows, columns(sys.stdout)))
            self._rows.clear()
            return
        self._width = max([self._width, *(len(name) for name, _ in self._lines)])
        self._print("".join(f"{name:<{self._width}}  {text}\n" for name, text in self._lines))
        self._lines.clear()

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *_: object) -> None:
        if self._document is not None:
            self._document.close()

    def end(self) -> None:
        """Print the end."""
        self.flush()
        if self._document is not None:
            for text in self._document.end():
                self._print(text)

    def _print(self, text: str) -> None:
        if not text:
            return
        if self._progress:
            self._progress.hide()
        with contextlib.suppress(BrokenPipeError):  # who read them has enough; the files are still wanted
            click.echo(text, nl=False, color=True)  # whether there are colours is decided already

    def _message(self, text: str) -> None:
        self._messages += 1
        if self._messages <= MOST_MESSAGES:
            self._say(text)
        elif self._messages == MOST_MESSAGES + 1:
            self._say("there is more of this kind: see summary.csv")

    def _say(self, text: str) -> None:
        if self._progress:
            self._progress.hide()
        click.echo(f"betafold-mlx: {text}", err=True)


class _Document:
    """The text of one JSON document piece by piece, as `to_json` would write the whole."""

    def __init__(self) -> None:
        self.resumed_after: int | None = None
        self._results = 0
        # Errors stand behind the results.
        self._errors = tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8", newline="\n")  # noqa: SIM115

    def result(self, document: object) -> str:
        """Return the text of a result, with what stands before it."""
        self._results += 1
        return (self._head() if self._results == 1 else ",") + _element(document)

    def error(self, document: object) -> None:
        """Keep an error for the end."""
        self._errors.write(("," if self._errors.tell() else "") + _element(document))

    def end(self) -> Iterator[str]:
        """Yield what stands behind the results."""
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
