"""``betafold-mlx completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from betafold_mlx.cli.help import Command

PROGRAM = "betafold-mlx"
VARIABLE = "_BETAFOLD_MLX_COMPLETE"
"""Asks the program for completions; click makes it of the program's name."""


@click.command(
    cls=Command,
    examples=(
        "betafold-mlx completion bash > ~/.betafold-mlx.bash",
        "betafold-mlx completion zsh > ~/.betafold-mlx.zsh",
        "betafold-mlx completion fish > ~/.config/fish/completions/betafold-mlx.fish",
    ),
)
@click.argument("shell", metavar="bash|zsh|fish", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script by which a shell completes commands, options, files and names.

    bash (4.4 or newer) reads it with `source ~/.betafold-mlx.bash` in ~/.bashrc, zsh with `source ~/.betafold-mlx.zsh`
    in ~/.zshrc, behind compinit. fish finds it where the example puts it. A new version of betafold-mlx needs no new
    script.

    The shell must find betafold-mlx on its PATH. For that of a checkout, link to its start script:
    `ln -s "$PWD/scripts/betafold-mlx" ~/.local/bin/`.
    """
    root = click.get_current_context().find_root().command
    made = get_completion_class(shell)
    assert made is not None, "click knows the three shells"
    click.echo(made(root, {}, PROGRAM, VARIABLE).source())
