"""``betafold-mlx viewer``."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from betafold_mlx.cli.options import FILE_OR_FOLDER, examples


@click.group()
def viewer() -> None:
    """Get the 3D viewer that reports show structures in.

    It is 3Dmol.js, and not part of betafold-mlx. Without it a report shows a flat picture in its place, and all else.
    """


@viewer.command(
    epilog=examples("betafold-mlx viewer install", "betafold-mlx viewer install --from 3dmol-2.5.5.tgz")
)
@click.option(
    "--from",
    "archive",
    type=FILE_OR_FOLDER,
    show_default="npm fetches it",
    help="The archive of the release, got with `npm pack 3dmol@2.5.5` on another machine.",
)
def install(archive: Path | None) -> None:
    """Fetch the viewer with npm, check it, and keep it for all reports.

    Prints the folder that holds it.
    """
    from betafold_mlx.report.threedmol import VERSION, install_viewer

    folder = install_viewer(archive)
    click.echo(f"betafold-mlx: 3dmol {VERSION} is installed, its licence beside it", err=True)
    click.echo(str(folder))
