"""Label sequences of a file, or mutants of training examples, with a teacher, and keep the confident labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

from betafold_mlx.data.store import Dataset
from betafold_mlx.distill.collection import Collection
from betafold_mlx.distill.labelling import Labelling
from betafold_mlx.distill.leakage import LeakageCheck
from betafold_mlx.distill.sequences import Unlabelled, mutants, read_unlabelled
from betafold_mlx.distill.teacher import Teacher
from betafold_mlx.files import file_sha256, os_errors
from betafold_mlx.structure.backbone import Backbone

TOGETHER = 1024
"""Sequences checked and labelled at a time."""

Advance = Callable[[int], None]
"""Called with the number of further sequences or files that are done."""


def from_sequences(
    path: Path, teacher: Teacher, check: LeakageCheck, how: Labelling, advance: Advance = lambda number: None
) -> tuple[Dataset, list[str]]:
    """Label the sequences of a FASTA file.

    Return the data set, the same for the same file, models, settings and versions, and a message for each record that
    cannot be used. BetafoldError for a file that cannot be read, a damaged model, or nothing to keep.
    """
    with os_errors(f"cannot read {path}"):
        digest = file_sha256(path)
    found = label_sequences(read_unlabelled(path), teacher, check, how, advance)
    found.sources.append({"name": path.name, "sha256": digest, "records": found.read})
    return _labelled(found, "sequences", {}, teacher, how), found.failed


def from_mutants(
    dataset: Dataset,
    number: int,
    exchanged: float,
    teacher: Teacher,
    check: LeakageCheck,
    how: Labelling,
    advance: Advance = lambda number: None,
) -> tuple[Dataset, list[str]]:
    """Label mutants of the training examples of the data set that the check is of.

    Returns and raises as `from_sequences`.
    """
    sequences = mutants(dataset, number, check.is_known, how.seed, exchanged)
    found = label_sequences(sequences, teacher, check, how, advance)
    found.sources.append(
        {"name": "mutants of the train split", "sha256": check.sha256, "records": found.read}
    )
    settings = {"mutants": number, "substitutions": exchanged}
    return _labelled(found, "mutants of training examples", settings, teacher, how), found.failed


def _labelled(
    found: Collection, what: str, settings: dict[str, float], teacher: Teacher, how: Labelling
) -> Dataset:
    models = teacher.describe()
    names = ", ".join(f"{model['name']} ({model['sha256']:.12})" for model in models)
    kept = f"pLDDT {how.min_plddt:g} or more"
    if found.plddt:
        kept += f", {sum(found.plddt) / len(found.plddt):.1f} in the mean"
    summary = f"{what}, labelled by {names}: the surest of {how.samples} structures, {kept}"
    return found.dataset(how.seed, summary, {"teachers": models, **dataclasses.asdict(how), **settings})


def label_sequences(
    sequences: Iterable[Unlabelled],
    teacher: Teacher,
    check: LeakageCheck,
    how: Labelling,
    advance: Advance = lambda number: None,
) -> Collection:
    """Label sequences, `TOGETHER` at a time.

    Labels are backbones of kind ``unknown``, in the order of the sequences. What is left out is a bad record, what
    `Collection.sift` leaves out, has a stated bond that the teacher does not make, or is of low confidence.
    """
    found = Collection(check)
    waiting = iter(sequences)
    while chunk := list(islice(waiting, TOGETHER)):
        found.read += len(chunk)
        named = []
        for each in chunk:
            if each.peptide is None:
                found.drop(each.id, "bad records", each.problem)
                found.failed.append(f"{each.id}: {each.problem}")
            else:
                named.append((each.id, each.peptide))
        peptides = [peptide for _, peptide in named]
        places = found.sift(
            [name for name, _ in named], [p.sequence for p in peptides], [p.cyclic for p in peptides]
        )
        kept = [named[place] for place in places]
        labels = teacher.label([peptide for _, peptide in kept], how.samples, how.seed) if kept else []
        for (name, peptide), label in zip(kept, labels, strict=True):
            mean = float(label.plddt.mean())
            if not label.bonded:
                found.drop(name, "bonds not made", peptide.chemistry)
            elif mean < how.min_plddt:
                found.drop(name, "low confidence", f"pLDDT {mean:.1f}")
            else:
                found.plddt.append(mean)
                found.backbones.append(
                    Backbone(
                        name,
                        peptide.sequence,
                        label.coordinates,
                        cyclic=peptide.cyclic,
                        disulfides=peptide.disulfides,
                    )
                )
        advance(len(chunk))
    return found
