"""Options that several commands share, and how a shell completes them."""

from __future__ import annotations

import dataclasses
import functools
import math
import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click
from click.core import ParameterSource
from click.globals import get_current_context
from click.shell_completion import CompletionItem
from rich_click.rich_panel import RichOptionPanel

from betafold_mlx.cli.progress import say
from betafold_mlx.errors import BetafoldError

_Function = TypeVar("_Function", bound=Callable[..., Any])

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
FILE_OR_FOLDER = click.Path(path_type=Path)
DATASET = click.Path(path_type=Path, file_okay=False, exists=True)
SEED = click.IntRange(0, 2**31 - 1)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
esm_option = click.option(
    "--embedder", type=FOLDER, required=True, help="Converted ESM-2 (see convert-esm), of any size."
)


def run_options(seed_help: str) -> Callable[[_Function], _Function]:
    """Add what every training command has: the data set, the folder of the run, ``--resume`` and ``--seed``."""

    def add(command: _Function) -> _Function:
        for option in (
            click.option("--seed", type=SEED, default=0, help=seed_help),
            click.option(
                "--resume", is_flag=True, help="Continue the run from its last checkpoint, with its settings."
            ),
            click.option("-o", "--output", required=True, type=FOLDER, help="Folder of the run."),
            click.argument("dataset", type=DATASET),
        ):
            command = option(command)
        return command

    return add


@contextmanager
def usage_errors(kind: type[click.UsageError] = click.UsageError) -> Iterator[None]:
    """Turn an error about an argument into wrong usage; `click.BadParameter` in a callback names the option."""
    try:
        yield
    except BetafoldError as error:
        raise kind(str(error)) from error


def check_resumed(ctx: click.Context, options: Any) -> None:
    """Refuse settings beside ``--resume``: a run has its own."""
    if given := given_options(ctx, options):
        raise click.UsageError(f"--resume takes the run's own settings: leave out {given[0]}")


def examples(*commands: str) -> str:
    """Return command lines as the last section of a help page."""
    return "\n\n".join(["Examples:", *commands])


def option_panels(sections: dict[str, str]) -> list[RichOptionPanel]:
    """Return the sections of a help page: headings, and the parameters below them with spaces between."""
    return [RichOptionPanel(heading, options=names.split()) for heading, names in sections.items()]


def complete_words(
    words: Callable[[], list[str]], paths: str | None = None
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Return a completion of the words that `words` returns, and of paths: ``file`` or ``dir``."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        # Paths come first: click's script for bash forgets what stands before them.
        items = [CompletionItem(incomplete, type=paths)] if paths else []
        return items + [CompletionItem(word) for word in words() if word.startswith(incomplete)]

    return complete


def _installed_models() -> list[str]:
    from betafold_mlx.fold.registry import installed_models

    return list(installed_models())


complete_model = complete_words(_installed_models, "dir")
complete_peptide = complete_words(list, "file")


def model_option(help: str, default: str = "betafold-mini", **more: Any) -> Callable[[_Function], _Function]:
    """Return the option ``--model``."""
    return click.option(
        "--model", metavar="NAME|DIR", shell_complete=complete_model, show_default=default, help=help, **more
    )


def model_options(command: _Function) -> _Function:
    """Add ``--model`` (passed as ``model``) and ``--embedder`` (``embedder``) to a command that folds."""
    command = click.option(
        "--embedder",
        type=FOLDER,
        show_default="found by its checksum",
        help="Converted ESM-2 that the model was trained on.",
        panel="The model",
    )(command)
    return model_option("An installed model, or a model directory.", panel="The model")(command)


def device_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--device`` to a command, and load MLX before it runs; it stands directly above the function."""

    @click.option(
        "--device",
        type=click.Choice(["gpu", "cpu"]),
        show_default="the GPU where there is one",
        help="Where to compute.",
        panel="The model",
    )
    @functools.wraps(command)
    def run(*args: Any, device: str | None, **kwargs: Any) -> Any:
        with _interrupts_deferred():
            import gemmi  # noqa: F401

            from betafold_mlx.device import advice, use_device

        use_device(device)
        text = advice()
        if text:
            say(text)
        return command(*args, **kwargs)

    return run


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Let a Ctrl-C wait: MLX and gemmi abort the process when one comes while they are loaded."""
    came: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if came:
        raise KeyboardInterrupt


def settings_options(settings: type, panel: str) -> Callable[[_Function], _Function]:
    """Add an option for each field of a dataclass that has help (`betafold_mlx.fields.setting`).

    `take_settings` makes the dataclass of their values.
    """

    def add(command: _Function) -> _Function:
        for field in reversed(_fields(settings)):
            command = _option(field, panel)(command)
        return command

    return add


class FiniteRange(click.FloatRange):
    """A range of numbers; click's own lets NaN through, which is neither below nor above its ends."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number of a text; fail where it is none, or not in the range."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number


def take_settings(settings: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """Take the values of `settings_options` out of a command's options."""
    return {field.name: options.pop(field.name) for field in _fields(settings)}


def _fields(settings: Any) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(settings) if field.metadata.get("help")]


def _option(field: dataclasses.Field[Any], panel: str) -> Callable[[_Function], _Function]:
    """Return the option of a field."""
    limits, kind = field.metadata, str(field.type).partition(" | ")[0]
    name = field.name.replace("_", "-")
    ends = (limits["min"], limits["max"], limits["min_open"], limits["max_open"])
    value_type: Any = None
    if kind == "int":
        value_type = click.IntRange(*ends)
    elif kind == "float":
        value_type = FiniteRange(*ends)
    elif kind == "str":
        value_type = click.Choice(limits["choices"])
    return click.option(
        f"--{name}/--no-{name}" if kind == "bool" else f"--{name}",
        type=value_type,
        default=field.default,
        help=limits["help"],
        panel=panel,
    )


def given_options(ctx: click.Context, names: Any) -> list[str]:
    """Return those of some parameters that stand on the command line, as the options that they are."""
    source = ParameterSource.COMMANDLINE
    options = {param.name: max(param.opts, key=len) for param in ctx.command.params}
    return [options[name] for name in names if ctx.get_parameter_source(name) is source]


def command_line() -> str:
    """Return the command that runs, as a shell takes it."""
    return shlex.join(["betafold-mlx", *(get_current_context().find_object(list) or [])])


def is_fasta(text: str) -> bool:
    """Tell a FASTA path from a sequence: it exists, or it looks like a path.

    UsageError for a folder, or a path where nothing is.
    """
    path = Path(text)
    try:
        if path.exists() and not path.is_dir():  # a pipe will do
            return True
        folder = path.is_dir() and bool(text)
    except (OSError, ValueError):  # too long for a path, or a NUL in it
        return False
    if folder and not _is_peptide(text):  # `-o PEPTIDE` makes folders that are named like peptides
        raise click.UsageError(f"{text} is a folder: give a sequence or a FASTA file")
    if "/" in text or path.suffix.lower() in (".fasta", ".fa", ".faa", ".fas", ".txt", ".gz"):
        raise click.UsageError(f"there is no FASTA file {text}")
    return False


def _is_peptide(text: str) -> bool:
    from betafold_mlx.peptide.sequence import Peptide

    try:
        Peptide.parse(text)
    except BetafoldError:
        return False
    return True
