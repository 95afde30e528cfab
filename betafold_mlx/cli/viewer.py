"""``betafold-mlx viewer``."""

from __future__ import annotations

from pathlib import Path

import click

from betafold_mlx.report.viewer import PACKAGE, install_viewer


@click.group()
def viewer() -> None:
    """Get the 3D viewer that `fold --report` puts into its files (3Dmol.js).

    It is not part of betafold-mlx. Without it a report shows a flat picture in its place, and all else.
    """


@viewer.command()
@click.option(
    "--from",
    "archive",
    type=click.Path(path_type=Path),
    show_default="npm fetches it",
    help=f"The archive {PACKAGE.archive}, got with `npm pack {PACKAGE.name}@{PACKAGE.version}` on another machine.",
)
def install(archive: Path | None) -> None:
    """Fetch the viewer with npm, check it, and keep it for all reports.

    \b
    betafold-mlx viewer install
    betafold-mlx viewer install --from 3dmol-2.5.5.tgz
    """  # noqa: D301 - click wants the character, not the escape
    folder = install_viewer(archive)
    click.echo(
        f"betafold-mlx: {PACKAGE.name} {PACKAGE.version} is installed, its licence beside it", err=True
    )
    click.echo(str(folder))
