"""The three ways to a distilled data set: sequences of a file, mutants of training examples, others' structures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from betafold_mlx.data.store import Dataset
from betafold_mlx.distill.build import distilled_dataset
from betafold_mlx.distill.gathering import Gathering
from betafold_mlx.distill.guard import Guard
from betafold_mlx.distill.label import label_sequences
from betafold_mlx.distill.labelling import Labelling
from betafold_mlx.distill.sequences import mutants, read_fasta
from betafold_mlx.distill.structures import gather_structures
from betafold_mlx.distill.teacher import Teacher
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import file_sha256

Advance = Callable[[int], None]


def _nothing(number: int) -> None:
    pass


def from_sequences(
    path: Path, teacher: Teacher, guard: Guard, how: Labelling, advance: Advance = _nothing
) -> tuple[Dataset, list[str]]:
    """Label the sequences of a FASTA file.

    Returns
    -------
    dataset : Dataset
        The same for the same file, models, settings and versions.
    failed : list of str
        One message for each record that cannot be used.

    Raises
    ------
    BetafoldError
        A file that cannot be read, a damaged model, or nothing to keep.
    """
    try:
        digest = file_sha256(path)
    except OSError as error:
        raise BetafoldError(f"cannot read {path}: {error.strerror or error}") from error
    found = label_sequences(read_fasta(path), teacher, guard, how, advance)
    found.sources.append({"name": path.name, "sha256": digest, "records": found.read})
    return _labelled(found, "sequences", {}, teacher, guard, how), found.failed


def from_mutants(
    dataset: Dataset,
    number: int,
    exchanged: float,
    teacher: Teacher,
    guard: Guard,
    how: Labelling,
    advance: Advance = _nothing,
) -> tuple[Dataset, list[str]]:
    """Label mutants of the training examples of the data set that the guard is of.

    Returns and raises as `from_sequences`.
    """
    sequences = mutants(dataset, number, guard.is_known, how.seed, exchanged)
    found = label_sequences(sequences, teacher, guard, how, advance)
    found.sources.append(
        {"name": "mutants of the train split", "sha256": guard.sha256, "records": found.read}
    )
    settings = {"mutants": number, "substitutions": exchanged}
    return _labelled(found, "mutants of training examples", settings, teacher, guard, how), found.failed


def _labelled(
    found: Gathering,
    what: str,
    settings: dict[str, float],
    teacher: Teacher,
    guard: Guard,
    how: Labelling,
) -> Dataset:
    models = teacher.describe()
    names = ", ".join(f"{model['name']} ({model['sha256']:.12})" for model in models)
    kept = f"pLDDT {how.min_plddt:g} or more"
    if found.plddt:
        kept += f", {sum(found.plddt) / len(found.plddt):.1f} in the mean"
    return distilled_dataset(
        found,
        guard.sha256,
        how.seed,
        f"{what}, labelled by {names}: the surest of {how.samples} structures, {kept}; kept apart from the evaluation "
        f"of data set {guard.sha256:.12}",
        {"teachers": models, **dataclasses.asdict(how), **settings},
    )


def from_structures(
    path: Path, guard: Guard, min_plddt: float = Labelling.min_plddt, advance: Advance = _nothing
) -> tuple[Dataset, list[str]]:
    """Take over the confident parts of predicted structures.

    Returns and raises as `from_sequences`; ``failed`` names files.
    """
    found = gather_structures(path, guard, min_plddt, advance)
    scales = ", ".join(f"{name} ({count})" for name, count in sorted(found.scales.items()))
    dataset = distilled_dataset(
        found,
        guard.sha256,
        0,
        f"structures of another predictor, residues of pLDDT {min_plddt:g} or more "
        f"({found.residues} of {found.residues + found.unsure}); confidence in {scales}; kept apart from the "
        f"evaluation of data set {guard.sha256:.12}",
        {
            "min_plddt": min_plddt,
            "confidence": dict(sorted(found.scales.items())),
            "residues": found.residues,
            "residues_below": found.unsure,
        },
    )
    return dataset, found.failed
