"""``betafold-mlx convert-esm``."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from betafold_mlx.cli.help import Command
from betafold_mlx.cli.loading import loading
from betafold_mlx.cli.parameters import Folder
from betafold_mlx.files import to_json

if TYPE_CHECKING:
    from betafold_mlx.esm.convert import Conversion

DTYPES = ("float32", "float16")
"""Those of `betafold_mlx.esm.convert`, which takes time to load."""


@click.command(
    "convert-esm",
    cls=Command,
    examples=(
        "betafold-mlx convert-esm",
        "betafold-mlx convert-esm facebook/esm2_t12_35M_UR50D --dtype float16",
        "betafold-mlx convert-esm --from esm2_t6_8M_UR50D -o weights/esm2_t6_8M_UR50D",
    ),
)
@click.argument("hub_id", metavar="[HUB_ID]", required=False)
@click.option(
    "--from",
    "folder",
    type=Folder(),
    help="Convert this local folder, laid out as on the hub, instead of downloading.",
)
@click.option(
    "-o",
    "--output",
    type=Folder(),
    show_default="weights/NAME",
    help="Folder to write.",
)
@click.option("--dtype", type=click.Choice(DTYPES), default="float32", help="Type of the stored weights.")
@click.option("--force", is_flag=True, help="Replace an older conversion at the output.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def convert_esm(
    hub_id: str | None, folder: Path | None, output: Path | None, dtype: str, force: bool, as_json: bool
) -> None:
    """Convert an ESM-2 checkpoint of the Hugging Face hub into a directory for MLX, and verify it.

    HUB_ID is facebook/esm2_t6_8M_UR50D by default; any ESM-2 size will do. The download goes to the usual cache of
    huggingface_hub (HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE). Without a network, copy config.json and
    model.safetensors into a folder and give it with --from.
    """
    with loading():
        from betafold_mlx.esm.checkpoint import read_checkpoint
        from betafold_mlx.esm.convert import check_output, convert
        from betafold_mlx.esm.hub import fetch_checkpoint
        from betafold_mlx.esm.published import CHECKS, DEFAULT_HUB_ID

    # Without HUB_ID a folder gives the name, not the default: nobody said that it is the default model.
    name = hub_id or (folder.resolve().name if folder else DEFAULT_HUB_ID) or "esm2"
    output = output or Path("weights") / Path(name).name
    check_output(output, force)
    if folder is not None:
        conversion = convert(read_checkpoint(folder), output, name, dtype, force=force)
    else:
        if not sys.stderr.isatty():
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        cached = fetch_checkpoint(name)
        conversion = convert(read_checkpoint(cached), output, name, dtype, "hub", cached.name, force)
    if not conversion.esm.published:
        click.echo(f"betafold-mlx: {output}: these weights are {CHECKS[conversion.esm.check]}", err=True)
    click.echo(to_json(_document(conversion)) if as_json else _report(conversion), nl=False)


def _document(conversion: Conversion) -> dict[str, object]:
    from betafold_mlx.esm.directory import SCHEMA_VERSION

    esm = conversion.esm
    return {
        "schema_version": SCHEMA_VERSION,
        "output": str(esm.path),
        "embedder": esm.to_dict(),
        "network": esm.config.to_dict(),
        "source": conversion.source,
        "tensors": [
            {"source": row.source, "target": row.target, "note": row.note, "shape": list(row.shape)}
            for row in conversion.rows
        ],
        "verification": asdict(conversion.verification),
    }


def _report(conversion: Conversion) -> str:
    from betafold_mlx.esm.mapping import pattern_table
    from betafold_mlx.esm.published import PUBLISHED

    esm, verification = conversion.esm, conversion.verification
    config = esm.config
    mapped = sum(row.target is not None for row in conversion.rows)
    lines = [
        f"{esm.path}: {esm.label}",
        f"network   {config.layers} layers of {config.width}, {config.heads} heads, stored as {esm.dtype}",
    ]
    for file in conversion.source["files"]:
        lines.append(f"source    {file['name']}  {file['bytes']:,} bytes  sha256 {file['sha256']}")
    known = PUBLISHED.get(config.size)
    if known is not None and not esm.published:
        lines.append(
            f"published {'model.safetensors'}  {known.bytes:,} bytes  sha256 {known.sha256}: different"
        )
    elif known is not None:
        lines.append("published the same size and sha256")
    else:
        lines.append(f"published no checksum of a {config.size} file is on record to compare with")
    lines.append(
        f"tensors   {len(conversion.rows)}: {mapped} mapped, {len(conversion.rows) - mapped} dropped"
    )
    table = pattern_table(conversion.rows)
    width = max(len(source) for _, source, _ in table)
    lines += [f"  {count:>4}  {source:<{width}}  {end}" for count, source, end in table]
    lines.append(
        f"verified  against float64: states off by {verification.hidden:.1e} (of {verification.largest_hidden:.3g}), "
        f"logits {verification.logits:.1e}, contacts {verification.contacts:.1e}"
    )
    return "\n".join(lines) + "\n"
