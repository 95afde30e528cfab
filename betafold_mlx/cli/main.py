"""The command line: one group, its commands imported when they are called."""

from __future__ import annotations

import difflib
import importlib
import io
import os
import sys
from typing import Any

import rich_click as click
from rich_click.rich_panel import RichCommandPanel

from betafold_mlx._version import __version__
from betafold_mlx.cli.options import examples
from betafold_mlx.errors import BetafoldError

INTERRUPTED = 128 + 2  # the shell's code for a process ended by SIGINT

_PANELS = {
    "Fold": ["fold", "viewer", "serve"],
    "Generate": ["generate"],
    "Train a model of your own": [
        *("dataset", "train", "train-judge", "train-side-chains", "train-generator", "distill"),
        *("evaluate", "evaluate-generator"),
    ],
    "Use ESM-2": ["convert-esm", "embed", "perplexity"],
    "Learn": ["lab"],
    "Shell": ["completion"],
}
_COMMANDS = [name for commands in _PANELS.values() for name in commands]

_HELP = {
    "theme": "default-slim",
    "text_paragraph_linebreaks": "\n\n",
    "padding_helptext_first_line": (0, 0, 1, 0),
    "style_helptext": "",
    "default_string": "\\[default: {}]",
    "text_markup": None,
}


class _Commands(click.RichGroup):
    """A group that imports a command's module only when the command is used: `fold` must start at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return _COMMANDS

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command = getattr(importlib.import_module(f"betafold_mlx.cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        near = difflib.get_close_matches(args[0], _COMMANDS, 1)
        if near and args[0] not in _COMMANDS and not ctx.resilient_parsing:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)


@click.command(
    cls=_Commands,
    panels=[RichCommandPanel(heading, commands=names) for heading, names in _PANELS.items()],
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "rich_help_config": _HELP},
    epilog=examples(
        "betafold-mlx fold GIGKFLHSAKKFGKAFVGEIMNS",
        "betafold-mlx fold GRCTKSIPPICFPD --cyclic --disulfide 3-11 --report",
        "betafold-mlx fold peptides.fasta -o structures",
        "betafold-mlx fold --help",
    ),
)
@click.version_option(__version__, prog_name="betafold-mlx")
def cli() -> None:
    """Small-peptide structure prediction, native to MLX.

    The sequence of a peptide goes in; a backbone structure comes out, with a confidence for every residue. Results are
    on standard output, messages on standard error. Exit code 0: all done; 1: something failed; 2: wrong usage;
    130: interrupted.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 all done, 1 something failed, 2 wrong usage, 130 interrupted.

    Expected errors are one line on stderr, without a traceback.
    """
    _open_streams()
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code = cli.main(given, prog_name="betafold-mlx", standalone_mode=False, obj=given)
        sys.stdout.flush()
    except click.UsageError as error:
        hint = f" (see '{error.ctx.command_path} --help')" if error.ctx is not None else ""
        _fail(error.format_message() + hint, 2)
    except click.ClickException as error:
        _fail(error.format_message(), 1)
    except BetafoldError as error:
        _fail(str(error), 1)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader went away (`| head`): nothing more to say
        _discard_stdout()
        sys.exit(1)
    except OSError as error:  # the last resort: what is expected of the file system is told where it happens
        _discard_stdout()
        _fail(f"{error.filename or 'cannot write to standard output'}: {error.strerror or error}", 1)
    except MemoryError:
        _fail("out of memory", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> Any:
    """Say what is wrong in one line, and exit."""
    rank = os.environ.get("MLX_RANK")  # one of several processes of `mlx.launch`
    speaker = "betafold-mlx" if rank in (None, "0") else f"betafold-mlx: rank {rank:.8}"
    print(f"{speaker}: {' '.join(message.split())}", file=sys.stderr)
    if rank is not None:
        sys.stdout.flush()
        os._exit(code)  # MLX cannot take down a ring that broke, and would abort
    sys.exit(code)


def _open_streams() -> None:
    """Give closed streams the null device (MLX cannot read descriptor 0), and write UTF-8 in every locale."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor: this one
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - for the whole process, as those below
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)


def _discard_stdout() -> None:
    """Send what is still buffered nowhere: Python flushes once more at its end."""
    if sys.stdout is sys.__stdout__:  # not that of a test
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
