"""``betafold-mlx generate``."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from betafold_mlx.cli.device import device_option
from betafold_mlx.cli.generator import generator_options, load_default_generator
from betafold_mlx.cli.help import Command
from betafold_mlx.cli.loading import loading
from betafold_mlx.cli.parameters import AnyCase, File, Folder, Number, Seed
from betafold_mlx.cli.progress import LiveLine
from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.output import FORMATS, prepare

if TYPE_CHECKING:
    from betafold_mlx.generate.backbones import BackboneRequest, GeneratedBackbone
    from betafold_mlx.generate.network import Generator


class Lengths(click.ParamType):
    """A number of residues, or a range of them."""

    name = "n"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """Return what help calls it."""
        return "N|N-M"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the shortest and the longest, or tell what is wrong."""
        found = re.fullmatch(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", str(value))
        if found is None:
            self.fail(f"{value!r} is neither a number of residues nor a range, as 24 or 12-28", param, ctx)
        return int(found[1]), int(found[2] or found[1])


@click.command(
    cls=Command,
    examples=(
        "betafold-mlx generate --length 24 --num 100 --seed 1 -o backbones",
        "betafold-mlx generate --length 12-28 --num 20 --format pdb --json",
        "betafold-mlx generate --length 14 --cyclic --num 10",
        "betafold-mlx generate --prompt points.csv --num 10",
        "betafold-mlx generate --motif 1le0.pdb --residues A:3-10 --at 8 --num 10",
        "betafold-mlx generate --length 20 --helix 3-14 --num 10",
    ),
    sections={
        "What to make": ("length", "cyclic", "num", "seed", "residue"),
        "What to write": ("output", "format_", "keep_failed", "as_json"),
        "What it should look like": ("prompt", "motif", "residues", "at", "helices", "strands"),
        "The model": ("model", "steps", "ode_steps", "gamma", "device"),
    },
)
@click.option("--length", type=Lengths(), default="24", help="Residues of a chain, or a range to draw from.")
@click.option("--cyclic", is_flag=True, help="Rings: the last residue is bonded to the first.")
@click.option("--num", type=Number(1, 100_000), default=10, help="Samples.")
@click.option("--seed", type=Seed(), default=0, help="Random seed; sample k does not depend on --num.")
@click.option(
    "--residue",
    type=AnyCase(["ALA", "GLY"]),
    default="ALA",
    help="Placeholder that stands for every residue: no sequence is designed.",
)
@click.option("-o", "--output", type=Folder(file_okay=False), default=".", help="Folder for the files.")
@click.option(
    "--format", "format_", type=click.Choice(list(FORMATS)), default="cif", help="Structure file format."
)
@click.option("--keep-failed", is_flag=True, help="Write the structures of failed samples too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@click.option("--prompt", type=File(), help="A coarse shape: x,y,z a line, 3 to 8 lines, Angstrom.")
@click.option("--motif", type=File(), help="PDB or mmCIF file with a motif to hold.")
@click.option("--residues", metavar="CHAIN:I-J", help="Residues of the motif, as the file numbers them.")
@click.option(
    "--at", type=Number(1), show_default="1", help="Place of the motif's first residue in the chain."
)
@click.option("--helix", "helices", multiple=True, metavar="I-J", help="Residues to be helix; repeatable.")
@click.option("--strand", "strands", multiple=True, metavar="I-J", help="Residues to be strand; repeatable.")
@generator_options
@device_option
def generate(
    length: tuple[int, int],
    cyclic: bool,
    num: int,
    seed: int,
    residue: str,
    output: Path,
    format_: str,
    keep_failed: bool,
    as_json: bool,
    prompt: Path | None,
    motif: Path | None,
    residues: str | None,
    at: int | None,
    helices: tuple[str, ...],
    strands: tuple[str, ...],
    model: str | None,
    steps: int,
    ode_steps: int,
    gamma: float,
) -> None:
    """Generate peptide backbones from nothing, or from a shape, a motif, or secondary structure.

    The model draws the C-alphas of chains of 8 to 32 residues; torsions are fitted to them, so that bond lengths and
    angles are ideal. There is no sequence: every residue is written as a placeholder. Sequence design is for other
    tools, and nothing here says that a peptide of this shape exists.

    Writes sample_00001.cif (or .pdb) ..., summary.csv and generation.json. A sample fails where no ideal backbone is
    near the drawn trace, atoms clash, a ring does not close, or the motif is not kept within 1 A (N, CA, C): it is
    listed but not written, and the exit code is 1.
    """
    with loading():
        from betafold_mlx.generate.backbones import BackboneRequest, check_model
        from betafold_mlx.generate.prompt import read_motif, read_points, secondary_text
        from betafold_mlx.generate.settings import SamplingConfig

    if motif is None and (residues is not None or at is not None):
        raise click.UsageError("--residues and --at are of a --motif")
    if motif is not None and residues is None:
        raise click.UsageError("--motif needs --residues, as A:5-12")
    shape = None if prompt is None else read_points(prompt)
    piece = None if motif is None or residues is None else read_motif(motif, residues, at or 1)
    try:
        request = BackboneRequest(
            length,
            num,
            seed,
            SamplingConfig(steps=steps, ode_steps=ode_steps, gamma=gamma),
            residue,
            shape,
            piece,
            secondary_text(helices, strands, length[0]),
            cyclic,
        )
    except BetafoldError as error:
        raise click.UsageError(str(error)) from error
    generator = load_default_generator(model)
    check_model(generator, request)
    prepare(output)
    if _write(generator, request, output, FORMATS[format_], keep_failed, as_json):
        sys.exit(1)


def _write(
    generator: Generator,
    request: BackboneRequest,
    output: Path,
    suffixes: tuple[str, ...],
    keep_failed: bool,
    as_json: bool,
) -> int:
    """Make the samples, write and tell them; return how many failed."""
    from betafold_mlx.generate.backbones import generate_backbones
    from betafold_mlx.generate.files import BackboneWriter

    writer = BackboneWriter(output, suffixes, request, generator.name, generator.sha256, keep_failed)
    writer.begin()
    line = LiveLine()
    failed = done = 0
    try:
        for batch in generate_backbones(generator, request):
            line.hide()
            for backbone in batch:
                paths = writer.write(backbone)
                failed += bool(backbone.problems)
                _tell(backbone, paths, as_json)
            done += len(batch)
            line.show(f"{done:,} of {request.count:,} samples")
    except BaseException:  # Ctrl-C, a full disk, a closed pipe: what was made is told in the folder
        line.hide()
        with contextlib.suppress(BetafoldError):
            writer.finish()
        raise
    line.hide()
    text = writer.finish()
    if as_json:
        click.echo(text, nl=False)
    if failed:
        click.echo(f"betafold-mlx: {failed} of {request.count} samples failed", err=True)
    return failed


def _tell(backbone: GeneratedBackbone, paths: list[Path], as_json: bool) -> None:
    for problem in backbone.problems:
        click.echo(f"betafold-mlx: {backbone.id}: {problem}", err=True)
    if not as_json and not backbone.problems:
        figures = f"{len(backbone):>2}  fit {backbone.fit.rmsd:4.2f} A"
        if backbone.shape_rmsd is not None:
            figures += f"  shape {backbone.shape_rmsd:4.2f} A"
        if backbone.motif_rmsd is not None:
            figures += f"  motif {backbone.motif_rmsd:4.2f} A"
        click.echo(f"{backbone.id}  {figures}  {backbone.secondary_structure}  {paths[0]}")
