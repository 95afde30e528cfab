"""Labels of a teacher beside experimental structures, for the whole training or its first half."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from betafold_mlx._version import __version__
from betafold_mlx.data.store import Dataset, dataset_sha256, is_dataset
from betafold_mlx.distill.labelling import EXCHANGED, Labelling
from betafold_mlx.distill.labels import from_mutants
from betafold_mlx.distill.leakage import LeakageCheck
from betafold_mlx.distill.teacher import Teacher
from betafold_mlx.fold.registry import DEFAULT_MODEL
from betafold_mlx.lab.comparison import folded_report
from betafold_mlx.lab.runner import Lab, LabReport
from betafold_mlx.lab.series import Variant, base_config, train_series
from betafold_mlx.train.training_config import Mix

ALONE, MIXED, REMOVED = "experimental only", "half distilled", "distilled until half time"
LABELS = "labels"
MUTANTS = 4
"""Mutants to label for each fixed window of the budget; about a quarter of the labels is sure enough to be kept."""


def run_distill(lab: Lab) -> LabReport:
    """Label mutants of training examples, and train without them, with them, and with them at first."""
    base = base_config(lab.budget)
    teacher = Teacher.load([lab.model or DEFAULT_MODEL])
    directory = label_mutants(lab, teacher)
    labels, sha256 = Dataset.load(directory), dataset_sha256(directory)
    until = max(1, base.steps // 2)
    removed = dataclasses.replace(base, mix=Mix(sha256, until=until))
    variants = [
        Variant(ALONE, base),
        Variant(MIXED, dataclasses.replace(base, mix=Mix(sha256)), distilled=labels),
        Variant(REMOVED, removed, distilled=labels),
    ]
    report = folded_report(lab, train_series(lab, variants), {ALONE: (MIXED, REMOVED), MIXED: (REMOVED,)})
    read = labels.report["read"][0][1]
    report.notes = [
        f"{len(labels.records)} labels of {read} sequences: {labels.report['distillation']['summary']}.",
        "All variants take the same steps with batches of the same size, so half distilled is half as many "
        f"experimental examples. The labels are taken out after step {until} of {base.steps}. The teacher was trained "
        "longer, and is larger, than what is trained here.",
        *report.notes,
    ]
    for name in teacher.strangers(lab.dataset_sha256):
        report.notes.append(
            f"{name} was trained on another data set: its labels may tell of validation structures, and the errors "
            "with them be larger in truth."
        )
    return report


def label_mutants(lab: Lab, teacher: Teacher) -> Path:
    """Return the folder of the labels, made where the lab has none of this teacher, data set and budget."""
    how = Labelling(seed=lab.seed)
    count = MUTANTS * lab.budget.windows
    known_by = [
        *(__version__, lab.dataset_sha256, teacher.describe()),
        *(dataclasses.asdict(how), count, EXCHANGED),
    ]
    name = hashlib.sha256(json.dumps(known_by, sort_keys=True).encode()).hexdigest()[:16]
    directory = lab.directory / LABELS / name
    if is_dataset(directory):
        lab.say(f"{count} mutants: labelled before")
        return directory
    lab.say(f"labelling {count} mutants of training examples")
    check = LeakageCheck(lab.dataset, lab.dataset_sha256)
    labels, _ = from_mutants(lab.dataset, count, EXCHANGED, teacher, check, how)
    labels.save(directory)
    return directory
