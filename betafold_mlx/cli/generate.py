"""``betafold-mlx generate``."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from betafold_mlx.cli.options import (
    FILE,
    FOLDER,
    SEED,
    device_option,
    examples,
    json_option,
    model_option,
    option_panels,
    settings_options,
    usage_errors,
)
from betafold_mlx.cli.progress import Progress, say
from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.output import FORMATS, prepare
from betafold_mlx.generate.generator_config import SamplingConfig

if TYPE_CHECKING:
    from betafold_mlx.generate.backbones import GeneratedBackbone
    from betafold_mlx.generate.network import Generator

DEFAULT_GENERATOR = "betafold-par"
_Command = TypeVar("_Command", bound=Callable[..., Any])


def generator_options(command: _Command) -> _Command:
    """Add ``--model`` and the options of sampling to a command: a decorator."""
    command = settings_options(SamplingConfig, "The model")(command)
    help = "A generator: installed, or its directory."
    return model_option(help, DEFAULT_GENERATOR, panel="The model")(command)


def load_named_generator(model: str | None) -> Generator:
    """Load a generator by its directory or name, by default the bundled one; BetafoldError where missing or damaged."""
    from betafold_mlx.fold.registry import find_model
    from betafold_mlx.generate.network import load_generator

    try:
        directory = find_model(DEFAULT_GENERATOR if model is None else model)
    except BetafoldError as error:
        if model is not None:
            raise
        raise BetafoldError(
            f"the bundled generator {DEFAULT_GENERATOR} is missing: install the package again, or pass --model"
        ) from error
    return load_generator(directory)


class Lengths(click.ParamType):
    """A number of residues, or a range of them."""

    name = "length"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the shortest and the longest, or tell what is wrong."""
        found = re.fullmatch(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", str(value))
        if found is None:
            self.fail(f"{value!r} is neither a number of residues nor a range, as 24 or 12-28", param, ctx)
        return int(found[1]), int(found[2] or found[1])


@click.command(
    epilog=examples(
        "betafold-mlx generate --length 24 --num 100 --seed 1 -o backbones",
        "betafold-mlx generate --length 12-28 --num 20 --format pdb --json",
        "betafold-mlx generate --length 14 --cyclic --num 10",
        "betafold-mlx generate --prompt points.csv --num 10",
        "betafold-mlx generate --motif 1le0.pdb --residues A:3-10 --at 8 --num 10",
        "betafold-mlx generate --length 20 --helix 3-14 --num 10",
    ),
    panels=option_panels(
        {
            "What to make": "length cyclic num seed residue",
            "What to write": "output format_ keep_failed as_json",
            "What it should look like": "prompt motif residues at helices strands",
        }
    ),
)
@click.option(
    "--length",
    type=Lengths(),
    default="24",
    metavar="N|N-M",
    help="Residues of a chain, or a range to draw from.",
)
@click.option("--cyclic", is_flag=True, help="Rings: the last residue is bonded to the first.")
@click.option("--num", type=click.IntRange(1, 100_000), default=10, help="Samples.")
@click.option("--seed", type=SEED, default=0, help="Random seed; sample k does not depend on --num.")
@click.option(
    "--residue",
    type=click.Choice(["ALA", "GLY"], case_sensitive=False),
    default="ALA",
    metavar="ALA|GLY",
    help="Placeholder that stands for every residue: no sequence is designed.",
)
@click.option("-o", "--output", type=FOLDER, default=".", help="Folder for the files.")
@click.option(
    "--format", "format_", type=click.Choice(list(FORMATS)), default="cif", help="Structure file format."
)
@click.option("--keep-failed", is_flag=True, help="Write the structures of failed samples too.")
@json_option
@click.option("--prompt", type=FILE, help="A coarse shape: x,y,z a line, 3 to 8 lines, Angstrom.")
@click.option("--motif", type=FILE, help="PDB or mmCIF file with a motif to hold.")
@click.option("--residues", metavar="CHAIN:I-J", help="Residues of the motif, as the file numbers them.")
@click.option(
    "--at", type=click.IntRange(1), show_default="1", help="Place of the motif's first residue in the chain."
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
    **sampling: Any,
) -> None:
    """Generate peptide backbones: shapes, no sequences.

    They come from nothing, or from a shape, a motif, or secondary structure.

    The model draws the C-alphas of chains of 8 to 32 residues; torsions are fitted to them, so that bond lengths and
    angles are ideal. There is no sequence: every residue is written as a placeholder. Sequence design is for other
    tools, and nothing here says that a peptide of this shape exists.

    Writes sample_00001.cif (or .pdb) ..., summary.csv and generation.json. A sample fails where no ideal backbone is
    near the drawn trace, atoms clash, a ring does not close, or the motif is not kept within 1 A (N, CA, C): it is
    listed but not written, and the exit code is 1.
    """
    from betafold_mlx.generate.backbone_files import BackboneWriter
    from betafold_mlx.generate.backbones import BackboneRequest, check_model, generate_backbones
    from betafold_mlx.generate.prompt import read_motif, read_points, secondary_text

    if motif is None and (residues is not None or at is not None):
        raise click.UsageError("--residues and --at go with --motif")
    if motif is not None and residues is None:
        raise click.UsageError("--motif needs --residues, as A:5-12")
    shape = None if prompt is None else read_points(prompt)
    piece = None if motif is None or residues is None else read_motif(motif, residues, at or 1)
    with usage_errors():
        stated = secondary_text(helices, strands, length[0])
        config = SamplingConfig(**sampling)
        request = BackboneRequest(length, num, seed, config, residue, shape, piece, stated, cyclic)
    generator = load_named_generator(model)
    check_model(generator, request)
    prepare(output)
    writer = BackboneWriter(output, FORMATS[format_], request, generator.name, generator.sha256, keep_failed)
    writer.begin()
    failed = 0
    try:
        with Progress("samples", request.count) as progress:
            for batch in generate_backbones(generator, request):
                for backbone in batch:
                    paths = writer.write(backbone)
                    failed += bool(backbone.problems)
                    _report(backbone, paths, as_json)
                progress.advance(len(batch))
    except BaseException:  # Ctrl-C, a full disk, a closed pipe: the folder says what was made
        with contextlib.suppress(BetafoldError):
            writer.finish()
        raise
    text = writer.finish()
    if as_json:
        click.echo(text, nl=False)
    if failed:
        say(f"{failed} of {num} samples failed")
        sys.exit(1)


def _report(backbone: GeneratedBackbone, paths: list[Path], as_json: bool) -> None:
    """Print the problems of a sample, or its line."""
    for problem in backbone.problems:
        say(f"{backbone.id}: {problem}")
    if not as_json and not backbone.problems:
        figures = f"{len(backbone):>2}  fit {backbone.fit.rmsd:4.2f} A"
        if backbone.shape_rmsd is not None:
            figures += f"  shape {backbone.shape_rmsd:4.2f} A"
        if backbone.motif_rmsd is not None:
            figures += f"  motif {backbone.motif_rmsd:4.2f} A"
        print(f"{backbone.id}  {figures}  {backbone.secondary_structure}  {paths[0]}")
