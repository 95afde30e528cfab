"""``betafold-mlx viewer``."""

from __future__ import annotations

from pathlib import Path

import click

from betafold_mlx.cli.help import Group
from betafold_mlx.cli.loading import loading
from betafold_mlx.cli.parameters import File


@click.group(cls=Group)
def viewer() -> None:
    """Get the 3D viewer that `fold --report` puts into its files (3Dmol.js).

    It is not part of betafold-mlx. Without it a report shows a flat picture in its place, and all else.
    """


@viewer.command(
    examples=("betafold-mlx viewer install", "betafold-mlx viewer install --from 3dmol-2.5.5.tgz")
)
@click.option(
    "--from",
    "archive",
    type=File(),
    show_default="npm fetches it",
    help="The archive of the release, got with `npm pack 3dmol@2.5.5` on another machine.",
)
def install(archive: Path | None) -> None:
    """Fetch the viewer with npm, check it, and keep it for all reports.

    Prints the folder that holds it.
    """
    with loading():
        from betafold_mlx.report.viewer import PACKAGE, install_viewer

    folder = install_viewer(archive)
    click.echo(
        f"betafold-mlx: {PACKAGE.name} {PACKAGE.version} is installed, its licence beside it", err=True
    )
    click.echo(str(folder))
