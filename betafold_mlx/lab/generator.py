"""Ablation of the generator of backbones: scales, parts of its training, Muon.

Fewer scales are trained on the same number of points: one-shot flow matching of the whole trace, which is what is left
of one scale, takes more steps for it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from betafold_mlx._version import __version__
from betafold_mlx.generate.assessment import held_out_chains, training_references
from betafold_mlx.generate.fit import fit_traces
from betafold_mlx.generate.flow import first_draws
from betafold_mlx.generate.generator_config import (
    MAX_LENGTH,
    GeneratorConfig,
    GeneratorTrainConfig,
    SamplingConfig,
)
from betafold_mlx.generate.measures import Chains, chain_figures, figure_at
from betafold_mlx.generate.sampler import SampleSpec, sample_traces
from betafold_mlx.generate.scales import scale_sizes
from betafold_mlx.generate.trainer import GeneratorTrainer
from betafold_mlx.lab.budget import Budget
from betafold_mlx.lab.comparison import INTERVALS, Measure, draw_runs, findings, run_rows
from betafold_mlx.lab.runner import Lab, LabReport, Picture
from betafold_mlx.lab.series import TrainingJob, changed, finished_runs

BASELINE = "all parts"
STEPS = 4  # steps of the baseline in steps of the budget: a flow needs more of them than torsions do
SAMPLING = SamplingConfig(steps=60, ode_steps=8, gamma=1.0)
"""How all are sampled, whatever the package's own defaults are: at the temperature of what was learned."""
_VERSION = 1  # of the content of a result


@dataclass(frozen=True)
class GeneratorRun:
    """A finished run."""

    seed: int
    figures: dict[str, Any]  # `chain_figures` of samples as long as validation structures

    def at(self, place: str) -> float:
        """Return what stands at ``a.b``, NaN where it cannot be had."""
        value = figure_at(self.figures, place)
        if isinstance(value, Mapping):
            value = value["value"]
        return float("nan") if value is None else float(value)


MEASURES = (
    Measure("divergence of CA distances as drawn", "bits", lambda run: run.at("trace.distance_divergence")),
    Measure("CA-CA bonds as drawn", "%", lambda run: 100 * run.at("trace.bonds_ok"), quality=False),
    Measure("valid backbones", "%", lambda run: 100 * run.at("backbone.valid"), quality=False),
    Measure("Ramachandran favoured", "%", lambda run: 100 * run.at("ramachandran_favoured"), quality=False),
    Measure("clusters a sample", "", lambda run: run.at("diversity.clusters_per_sample"), quality=False),
)


def run_generator(lab: Lab) -> LabReport:
    """Train a generator with all its parts, and without each."""
    known_by = {"versions": [_VERSION, __version__], "sampling": dataclasses.asdict(SAMPLING)}
    jobs = {
        name: TrainingJob(config, known_by, functools.partial(_train_generator, lab))
        for name, config in variants(base_settings(lab.budget)).items()
    }
    series = finished_runs(lab, GeneratorRun, jobs)
    return LabReport(
        findings=findings(series, BASELINE, MEASURES),
        tables={"runs": run_rows(series, MEASURES)},
        pictures={
            "runs": Picture(
                draw_runs(series, MEASURES[:3]),
                "Samples as long as validation structures. Each mark is a seed, the bar their mean.",
            )
        },
        notes=[
            "All are trained on the same number of points, so that fewer scales take more steps, and so does one "
            "draw of the coarsest. Sampling takes "
            f"{SAMPLING.steps} steps at the coarsest scale and {SAMPLING.ode_steps} at each later one (gamma "
            f"{SAMPLING.gamma:g}): with one scale, "
            f"where all points take all steps, it costs {_sampling_cost(1) / _sampling_cost(3):.1f} times what it "
            f"costs with three. {INTERVALS}"
        ],
    )


def base_settings(budget: Budget) -> GeneratorTrainConfig:
    """Return the settings that variants start from: the package's own, smaller."""
    layers = max(1, budget.layers // 2)
    steps = STEPS * budget.steps
    return GeneratorTrainConfig(
        network=GeneratorConfig(
            width=budget.width, layers=layers, decoder_layers=layers, ffn_width=4 * budget.width
        ),
        tokens=budget.tokens,
        steps=steps,
        warmup=max(1, steps // 20),
        evaluate_every=steps,
    )


def variants(base: GeneratorTrainConfig) -> dict[str, GeneratorTrainConfig]:
    """Return the settings of each variant by its name."""

    def as_long(config: GeneratorTrainConfig) -> GeneratorTrainConfig:
        steps = round(base.steps * _points(base) / _points(config))
        return dataclasses.replace(config, steps=steps, evaluate_every=steps)

    def scales(count: int) -> GeneratorTrainConfig:
        return as_long(changed(base, "network", scales=count))

    def without(part: str) -> GeneratorTrainConfig:
        return changed(base, "flow", **{part: False})

    return {
        BASELINE: base,
        "two scales": scales(2),
        "one scale: one-shot flow": scales(1),
        "no noisy context": without("noisy_context"),
        "no scheduled sampling": without("scheduled_sampling"),
        "no self-conditioning": without("self_conditioning"),
        "no loss of distances": without("local_distances"),
        "one draw of the coarsest scale": as_long(without("further_draws")),
        "AdamW alone": dataclasses.replace(base, block_learning_rate=0.0),
    }


def _points(config: GeneratorTrainConfig) -> int:
    """Return how many points the decoder is trained on, a chain of the longest, at all scales together."""
    first, *later = scale_sizes(MAX_LENGTH, scales=config.network.scales)
    return first * (first_draws(config.network.scales) if config.flow.further_draws else 1) + sum(later)


def _sampling_cost(scales: int) -> float:
    """Return how many points the decoder is asked about, a residue."""
    first, *later = scale_sizes(MAX_LENGTH, scales=scales)
    return (SAMPLING.steps * first + SAMPLING.ode_steps * sum(later)) / MAX_LENGTH


def _train_generator(lab: Lab, directory: Path, config: GeneratorTrainConfig, resume: bool) -> GeneratorRun:
    dataset = lab.small_dataset
    trainer = GeneratorTrainer(directory, dataset, config, lab.dataset_sha256, resume=resume)
    if not trainer.run():
        raise KeyboardInterrupt
    items = held_out_chains(dataset, "validation", lab.budget.items)
    lengths = [len(item) for item in items]
    references = training_references(dataset, lengths, lab.seed)
    specs = [SampleSpec(length, number) for number, length in enumerate(lengths)]
    drawn = sample_traces(trainer.model, specs, config.seed, SAMPLING)
    figures = chain_figures(Chains(drawn, fit_traces(drawn)), references, config.seed)
    return GeneratorRun(config.seed, figures)
