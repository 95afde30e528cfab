"""``betafold-mlx evaluate-generator``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import rich_click as click

from betafold_mlx.cli.generate import generator_options, load_named_generator
from betafold_mlx.cli.options import (
    FILE,
    FOLDER,
    command_line,
    device_option,
    examples,
    json_option,
    option_panels,
)
from betafold_mlx.cli.progress import timed
from betafold_mlx.files import sweep_temporary, to_json, write_text
from betafold_mlx.fold.output import prepare
from betafold_mlx.generate.generator_config import SamplingConfig

SPLITS = ("validation", "test")


@click.command(
    epilog=examples(
        "betafold-mlx evaluate-generator datasets/mine",
        "betafold-mlx evaluate-generator datasets/mine --model runs/shapes/best -o report.html",
    ),
    panels=option_panels({"What to measure": "split num seed", "What to write": "output as_json"}),
)
@click.argument("dataset", metavar="DATASET", type=FOLDER)
@click.option("--split", type=click.Choice(SPLITS), default="test", help="Split that is held out.")
@click.option("--num", type=click.IntRange(1, 100_000), default=300, help="Maximum number of samples.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 3),
    default=0,
    help="Random seed of samples, baselines and bootstrap.",
)
@generator_options
@click.option("-o", "--output", type=FILE, help="Write a page with pictures of samples: report.html.")
@json_option
@device_option
def evaluate_generator(
    dataset: Path,
    split: str,
    num: int,
    seed: int,
    model: str | None,
    output: Path | None,
    as_json: bool,
    **sampling: Any,
) -> None:
    """Measure a generator beside the baselines.

    DATASET is made by `dataset build`.

    Samples are made as long as structures of the split, and set beside random coils (each residue with the torsions of
    any training residue), copies of training fragments, and the held-out structures themselves: are they valid before
    and after the fit, like known structures, unlike each other, new, and do they do what is asked of them.
    """
    from betafold_mlx.data.store import Dataset, dataset_sha256
    from betafold_mlx.generate.assessment import assess_generator
    from betafold_mlx.generate.assessment_report import report_page, report_text
    from betafold_mlx.generate.training_split import favoured_region, training_angles

    say = timed()
    data, generator = Dataset.load(dataset), load_named_generator(model)
    if output is not None:
        prepare(output.parent)
    config = SamplingConfig(**sampling)
    measured, samples = assess_generator(generator, data, split, num, seed, config, say)
    digest = dataset_sha256(dataset)
    notes = []
    if generator.trained_on is None:
        notes.append(
            f"{generator.name} does not say what it was trained on: it may have seen the held-out structures"
        )
    elif generator.trained_on != digest:
        notes.append(f"{generator.name} was trained on other data: it may have seen the held-out structures")
    report = {
        "command": {"dataset": str(dataset), "split": split, "num": num, "seed": seed, **asdict(config)},
        "model": {"name": generator.name, "sha256": generator.sha256},
        "dataset": {"sha256": digest},
        "notes": notes,
        **measured,
    }
    click.echo(to_json(report) if as_json else report_text(report), nl=False)
    if output is not None:
        region = favoured_region(training_angles(data))
        write_text(output, report_page(report, samples, region, command_line()))
        sweep_temporary(output.parent, f".{output.stem[:80]}.")
        say(f"wrote {output}")
