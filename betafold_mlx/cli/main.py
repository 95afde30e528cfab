"""The command line: one group, its commands imported when they are called."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Iterator

import click

from betafold_mlx import __version__
from betafold_mlx.cli.streams import prepare_streams
from betafold_mlx.errors import BetafoldError

INTERRUPTED = 128 + 2  # the shell's code for a process ended by SIGINT

_COMMANDS = {
    "fold": "Fold peptides: sequence in, structure file out.",
    "viewer": "Get the 3D viewer that reports show structures in.",
    "serve": "Fold in the browser, and over HTTP.",
    "convert-esm": "Convert an ESM-2 checkpoint of Hugging Face into MLX arrays, verified.",
    "perplexity": "Score sequences with a converted ESM-2.",
    "dataset": "Fetch structures, build data sets of them, and inspect these.",
    "embed": "Embed a data set with a converted ESM-2, to train on its features.",
    "train": "Train a folding model.",
    "evaluate": "Score a model, or any tool's files, beside the baselines.",
    "lab": "See how the Transformer works, and why it fails.",
}


class _LazyGroup(click.Group):
    """A group that imports a command's module only when the command is used: `fold` must start at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        with _interrupts_put_off():
            command = getattr(importlib.import_module(f"betafold_mlx.cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@contextlib.contextmanager
def _interrupts_put_off() -> Iterator[None]:
    """Let a Ctrl-C wait: MLX and gemmi abort the process when one comes while they are loaded."""
    came: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if came and callable(previous):
        previous(came[0], None)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="betafold-mlx")
def cli() -> None:
    """Small-peptide structure prediction, native to MLX.

    betafold-mlx fold GIGKFLHSAKKFGKAFVGEIMNS
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 all done, 1 something failed, 2 wrong usage, 130 interrupted.

    Expected errors are one line on stderr, without a traceback.
    """
    try:
        prepare_streams()
        given = sys.argv[1:] if arguments is None else arguments
        code = cli.main(given, prog_name="betafold-mlx", standalone_mode=False, obj=given)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()  # no complaint, but the help
        sys.exit(2)
    except click.UsageError as error:
        hint = f" (see '{error.ctx.command_path} --help')" if error.ctx is not None else ""
        _fail(error.format_message() + hint, 2)
    except click.ClickException as error:
        _fail(error.format_message(), 1)
    except BetafoldError as error:
        _fail(str(error), 1)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        sys.exit(1)  # the reader went away (`| head`): nothing more to say, and nowhere to say it
    except OSError as error:  # the last resort: what is expected of the file system is told where it happens
        _fail(f"{error.filename or 'input or output'}: {error.strerror or error}", 1)
    except MemoryError:
        _fail("out of memory", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    one_line = " ".join(message.split())
    rank = os.environ.get("MLX_RANK")  # one of several (see `betafold_mlx.distributed`)
    speaker = "betafold-mlx" if rank in (None, "0") else f"betafold-mlx: rank {rank:.8}"
    print(f"{speaker}: {one_line}", file=sys.stderr)
    if rank is not None:
        with contextlib.suppress(BetafoldError, OSError):
            sys.stdout.flush()
        os._exit(code)  # MLX cannot take down a ring that broke, and would abort
    sys.exit(code)
