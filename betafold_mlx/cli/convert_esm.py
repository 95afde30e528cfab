"""``betafold-mlx convert-esm``."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from betafold_mlx.cli.options import FOLDER, examples, json_option
from betafold_mlx.cli.progress import say
from betafold_mlx.files import check_output, to_json

if TYPE_CHECKING:
    from betafold_mlx.esm.convert import Conversion


@click.command(
    "convert-esm",
    epilog=examples(
        "betafold-mlx convert-esm",
        "betafold-mlx convert-esm facebook/esm2_t12_35M_UR50D --dtype float16",
        "betafold-mlx convert-esm --from esm2_t6_8M_UR50D -o weights/esm2_t6_8M_UR50D",
    ),
)
@click.argument("hub_id", metavar="[HUB_ID]", required=False)
@click.option(
    "--from",
    "folder",
    type=FOLDER,
    help="Convert this local folder, laid out as on the hub, instead of downloading.",
)
@click.option("-o", "--output", type=FOLDER, show_default="weights/NAME", help="Folder to write.")
@click.option("--dtype", type=click.Choice(("float32", "float16")), default="float32", help="Stored type.")
@click.option("--check", is_flag=True, help="Compare with transformers on PyTorch, too (pip install torch).")
@click.option("--force", is_flag=True, help="Replace an older conversion at the output.")
@json_option
def convert_esm(
    hub_id: str | None,
    folder: Path | None,
    output: Path | None,
    dtype: str,
    check: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Convert an ESM-2 of Hugging Face for MLX, and verify it.

    HUB_ID is facebook/esm2_t6_8M_UR50D by default; any ESM-2 size will do. The download goes to the usual cache of
    huggingface_hub (HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE). Without a network, copy config.json and
    model.safetensors into a folder and give it with --from.
    """
    from betafold_mlx.esm.convert import convert
    from betafold_mlx.esm.converted import SCHEMA_VERSION, is_converted
    from betafold_mlx.esm.hub import fetch_checkpoint, read_checkpoint
    from betafold_mlx.esm.sizes import CHECKS, DEFAULT_HUB_ID

    # Without HUB_ID a folder gives the name, not the default: nobody said that it is the default model.
    name = hub_id or (folder.resolve().name if folder else DEFAULT_HUB_ID) or "esm2"
    output = output or Path("weights") / Path(name).name
    check_output(output, is_converted, "a converted ESM-2", force)
    commit = None
    if folder is None:
        if not sys.stderr.isatty():
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        cached = fetch_checkpoint(name)
        commit = cached.name
    conversion = convert(
        read_checkpoint(folder or cached), output, name, dtype, commit=commit, force=force, check=check
    )
    esm = conversion.esm
    if not esm.published:
        say(f"{output}: these weights are {CHECKS[esm.check]}")
    if as_json:
        document = {
            "schema_version": SCHEMA_VERSION,
            "output": str(esm.path),
            "embedder": esm.to_dict(),
            "network": asdict(esm.config),
            "source": conversion.source,
            "tensors": conversion.tensors,
            "verification": conversion.verification._asdict(),
            "check": conversion.check and conversion.check._asdict(),
        }
        click.echo(to_json(document), nl=False)
    else:
        click.echo("\n".join(_report(conversion)))


def _report(conversion: Conversion) -> list[str]:
    """Return the lines for a terminal."""
    from betafold_mlx.esm.sizes import PUBLISHED

    esm, config = conversion.esm, conversion.esm.config
    lines = [
        f"{esm.path}: {esm.label}",
        f"network   {config.layers} layers of {config.width}, {config.heads} heads, stored as {esm.dtype}",
    ]
    for file in conversion.source["files"]:
        lines.append(f"source    {file['name']}  {file['bytes']:,} bytes  sha256 {file['sha256']}")
    lines.append(f"published sha256 {PUBLISHED.get(config.size, 'not on record')}: {esm.check}")
    unused = [source for source, target in conversion.tensors.items() if target is None]
    lines.append(f"tensors   {len(conversion.tensors) - len(unused)} mapped, {len(unused)} unused")
    lines += [f"  unused  {source}" for source in unused]
    for what, result in (("float64", conversion.verification), ("PyTorch", conversion.check)):
        if result is not None:
            lines.append(
                f"verified  against {what}: states off by {result.hidden:.1e} (of {result.largest_hidden:.3g}), "
                f"logits {result.logits:.1e}, contacts {result.contacts:.1e}"
            )
    return lines
