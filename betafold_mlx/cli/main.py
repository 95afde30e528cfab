"""The command line: one group, its commands imported when they are called."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import sys

import click
from click.shell_completion import CompletionItem

from betafold_mlx import __version__
from betafold_mlx.cli.help import Group
from betafold_mlx.cli.loading import loading
from betafold_mlx.cli.streams import prepare_streams
from betafold_mlx.errors import BetafoldError

INTERRUPTED = 128 + 2  # the shell's code for a process ended by SIGINT

_SECTIONS = {
    "Fold": {
        "fold": "Fold peptides: sequence in, structure file out.",
        "viewer": "Get the 3D viewer that reports show structures in.",
        "serve": "Fold in the browser, and over HTTP.",
    },
    "Generate": {
        "generate": "Generate peptide backbones: shapes, no sequences.",
    },
    "Train a model of your own": {
        "dataset": "Fetch structures, build data sets of them, inspect these.",
        "train": "Train a folding model.",
        "train-generator": "Train a generator of backbones.",
        "distill": "Label sequences with a model, to train on beside experiments.",
        "evaluate": "Score a model, or any tool's files, beside the baselines.",
        "evaluate-generator": "Measure a generator beside the baselines.",
    },
    "Use ESM-2": {
        "convert-esm": "Convert an ESM-2 of Hugging Face for MLX, verified.",
        "embed": "Embed a data set with it, to train on its features.",
        "perplexity": "Score sequences with it.",
    },
    "Learn": {
        "lab": "See how the Transformer works, and why it fails.",
    },
    "Shell": {
        "completion": "Complete commands, options and names in your shell.",
    },
}
_COMMANDS = {name: text for commands in _SECTIONS.values() for name, text in commands.items()}


class _LazyGroup(Group):
    """A group that imports a command's module only when the command is used: `fold` must start at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        with loading():
            command = getattr(importlib.import_module(f"betafold_mlx.cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0], _COMMANDS, 1)
            ctx.fail(f"No such command {args[0]!r:.60}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, _COMMANDS))
        for heading, commands in _SECTIONS.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{name:<{width}}", text) for name, text in commands.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        commands = [
            CompletionItem(name, help=text) for name, text in _COMMANDS.items() if name.startswith(incomplete)
        ]
        return commands + click.Command.shell_complete(self, ctx, incomplete)


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
    examples=(
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
