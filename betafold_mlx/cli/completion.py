"""``betafold-mlx completion``."""

from __future__ import annotations

import rich_click as click
from click.shell_completion import get_completion_class

from betafold_mlx.cli.options import examples


@click.command(
    epilog=examples(
        "betafold-mlx completion bash > ~/.betafold-mlx.bash",
        "betafold-mlx completion zsh > ~/.betafold-mlx.zsh",
        "betafold-mlx completion fish > ~/.config/fish/completions/betafold-mlx.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Complete commands, options and names in your shell.

    Prints a script. bash (4.4 or newer) reads it with `source ~/.betafold-mlx.bash` in ~/.bashrc, zsh with
    `source ~/.betafold-mlx.zsh` in ~/.zshrc, after compinit. fish finds it where the example puts it. A new version
    of betafold-mlx needs no new script.

    The shell must find betafold-mlx on its PATH. For that of a checkout, link to its start script:
    `ln -s "$PWD/scripts/betafold-mlx" ~/.local/bin/`.
    """
    made = get_completion_class(shell)
    assert made is not None, "click knows the three shells"
    click.echo(made(ctx.find_root().command, {}, "betafold-mlx", "_BETAFOLD_MLX_COMPLETE").source())
