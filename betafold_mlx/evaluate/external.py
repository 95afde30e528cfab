"""Score structure files of any tool against experimental structures.

A file belongs to the reference whose id its name is or begins with (then something that is neither letter nor digit:
``1le0_A_model_2.pdb``); of several such ids, the longest. Upper and lower case are equal, and an id may be written as
``fold`` writes it in file names. A file without such a name belongs to every reference of its exact sequence that has
no file by name.

Where N, CA and C are complete the backbone is scored, else CA alone, and backbone RMSD and torsions are left out. The
first model of the first file (in natural order of the names: 2 before 10) is judged; where there are more models, so
are the mean over them and the best of them (by backbone RMSD, or CA RMSD where none has a backbone), chosen with the
reference in hand.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from betafold_mlx.data.sources import read_sources
from betafold_mlx.data.store import Dataset, dataset_sha256, is_dataset
from betafold_mlx.errors import BetafoldError
from betafold_mlx.evaluate.baselines import predict_baselines
from betafold_mlx.evaluate.batching import Say
from betafold_mlx.evaluate.ensembles import score_ensembles
from betafold_mlx.evaluate.items import Item, split_items
from betafold_mlx.evaluate.methods import Evaluation, add_methods, add_several
from betafold_mlx.evaluate.predicted_files import PredictedChain, plddt_scale, read_predictions
from betafold_mlx.fold.output import safe_name
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.structure.reader import find_structure_files

PREDICTION, _MODELS = "prediction", "models"
MAX_LENGTH = 100
"""Residues. The search of GDT_TS grows with the cube of the length; these are metrics for peptides."""

_STEM = re.compile(r"(\.(pdb|ent|cif|mmcif))?(\.gz)?$", flags=re.IGNORECASE)


@dataclass(frozen=True)
class ReferenceSet:
    """Experimental structures and where they come from.

    Without a data set each item is a cluster of its own, which says nothing about independence.
    """

    items: list[Item]  # at least one
    sha256: dict[str, str]  # name -> SHA-256 of each file, or of the data set, that was read
    dataset: Dataset | None = None
    notes: list[str] = field(default_factory=list)  # what was left out of the files, and why
    failed: list[str] = field(default_factory=list)  # one message for each file that cannot be read


class NotScored(NamedTuple):
    """A ``reference`` or a ``file`` that could not be scored, and why."""

    name: str
    what: str
    reason: str


def load_references(path: Path, split: str) -> ReferenceSet:
    """Read references: a split of a data set, backbone JSON lines, a PDB or mmCIF file, or a folder of such files.

    BetafoldError where there is no usable structure.
    """
    if is_dataset(path):
        dataset = Dataset.load(path)
        items = split_items(dataset, split)
        if not items:
            raise BetafoldError(f"{path} has no fragments and no peptides in its {split} split")
        return ReferenceSet(items, {path.name: dataset_sha256(path)}, dataset)
    reading = read_sources([path])
    items = [
        Item(one.id, one.kind, Peptide.of(one.sequence, one.cyclic, one.disulfides), one.coordinates, number)
        for number, one in enumerate(reading.backbones)
    ]
    notes = [": ".join(parts) for parts in reading.dropped]
    if not items:
        raise BetafoldError(
            f"no usable reference in {path} ({[*reading.failed, *notes, 'it holds no chain'][0]})"
        )
    digests = {str(source["name"]): str(source["sha256"]) for source in reading.sources}
    return ReferenceSet(items, digests, notes=notes, failed=reading.failed)


def evaluate_files(
    folder: Path, references: ReferenceSet, say: Say = lambda text: None
) -> tuple[Evaluation, list[NotScored]]:
    """Score the structure files of a folder and its subfolders, or one file: PDB and mmCIF, also gzipped.

    Return the evaluation of the references that could be scored, perhaps of none, and what was not: the others, and
    files that belong to none. BetafoldError where there is no structure file.
    """
    files = sorted(find_structure_files(folder), key=_natural)
    failures = [NotScored("references", "file", message) for message in references.failed]
    chains: dict[Path, list[PredictedChain]] = {}
    for path in files:
        try:
            chains[path] = read_predictions(path)
        except BetafoldError as error:
            failures.append(NotScored(path.name, "file", str(error)))
    say(f"read {len(chains)} of {len(files)} files")
    assigned, orphans = assign_files(references.items, chains)
    failures += [NotScored(path.name, "file", "no reference of this id or sequence") for path in orphans]

    notes = list(references.notes)
    scored: list[tuple[Item, list[PredictedChain]]] = []
    for index, item in enumerate(references.items):
        try:
            scored.append((item, _usable_models(item, assigned[index], chains, notes)))
        except BetafoldError as error:
            failures.append(NotScored(item.id, "reference", str(error)))
    if not scored:
        return Evaluation([], {}, {}, None, [], notes), failures
    return _evaluate(scored, references, notes, say), failures


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts ``model_2`` before ``model_10``."""
    parts = re.split(r"([0-9]+)", str(path))
    return [(int(part), "") if part.isdecimal() and part.isascii() else (0, part) for part in parts]


def assign_files(
    items: Sequence[Item], chains: dict[Path, list[PredictedChain]]
) -> tuple[dict[int, list[Path]], list[Path]]:
    """Find the files of each reference (see the module's docstring).

    `chains` are those of each file, in the order in which files are ranked. Returns the files of each reference by
    its index, and the files of none.
    """
    names: dict[str, set[int]] = defaultdict(set)
    for index, item in enumerate(items):
        names[item.id.lower()].add(index)
        names[safe_name(item.id).lower()].add(index)
    assigned: dict[int, list[Path]] = {index: [] for index in range(len(items))}
    unnamed = []
    for path in chains:
        owners = names[_longest_prefix(_STEM.sub("", path.name).lower(), names) or ""]
        for index in sorted(owners):
            assigned[index].append(path)
        if not owners:
            unnamed.append(path)
    by_sequence: dict[str, list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        if not assigned[index]:
            by_sequence[item.peptide.sequence].append(index)
    orphans = []
    for path in unnamed:
        owners = {index for chain in chains[path] for index in by_sequence[chain.sequence]}
        for index in sorted(owners):
            assigned[index].append(path)
        if not owners:
            orphans.append(path)
    return assigned, orphans


def _longest_prefix(stem: str, names: dict[str, set[int]]) -> str | None:
    """Return the longest name that is the stem or a beginning of it that ends at a separator."""
    for end in range(len(stem), 0, -1):
        if stem[:end] in names and (end == len(stem) or not stem[end].isalnum()):
            return stem[:end]
    return None


def _usable_models(
    item: Item, files: Sequence[Path], chains: dict[Path, list[PredictedChain]], notes: list[str]
) -> list[PredictedChain]:
    """Return one chain for each model of the files, the first model first; an error says why there is none."""
    if len(item) > MAX_LENGTH:
        raise BetafoldError(f"{len(item)} residues: this scores peptides of at most {MAX_LENGTH}")
    if not files:
        raise BetafoldError("no file of this id or sequence")
    models, problems = [], []
    for path in files:
        for number in dict.fromkeys(chain.model for chain in chains[path]):
            candidates = [chain for chain in chains[path] if chain.model == number]
            same = [chain for chain in candidates if chain.sequence == item.peptide.sequence]
            where = f"{path.name}, model {number}"
            if not same:
                problems.append(f"{where}: sequence {candidates[0].sequence}, not {item.peptide.sequence}")
            elif same[0].scorable is None:
                problems.append(f"{where}: residues without CA")
            else:
                models.append(same[0])
        if not chains[path]:
            problems.append(f"{path.name}: no protein chain")
    if not models:
        raise BetafoldError(problems[0])
    notes += [f"{item.id}: passed over {problem}" for problem in problems]
    return models


def _evaluate(
    scored: Sequence[tuple[Item, list[PredictedChain]]], references: ReferenceSet, notes: list[str], say: Say
) -> Evaluation:
    items, models = [item for item, _ in scored], [models for _, models in scored]
    say(f"scoring {sum(map(len, models))} models of {len(items)} references")
    factor, reason = plddt_scale(one for of in models for one in of)
    plddt = None if factor is None else [[factor * one.bfactors for one in of] for of in models]
    ensembles = score_ensembles(
        items,
        [[one.scorable for one in of if one.scorable is not None] for of in models],
        None if plddt is None else [[float(values.mean()) for values in of] for of in plddt],
    )
    scores = {PREDICTION: ensembles.first()}
    descriptions = {PREDICTION: "the first model of the files"}
    more = any(len(of) > 1 for of in models)
    if more:
        add_several(scores, descriptions, ensembles, _MODELS, "the models of each reference")
    baselines = predict_baselines(items, references.dataset, say)
    add_methods(scores, descriptions, items, baselines.methods, say)
    only_ca = int(np.isnan(scores[PREDICTION].rmsd).sum())
    if only_ca:
        notes.append(f"{only_ca} predictions lack N or C atoms: their CA atoms alone are scored")
    return Evaluation(
        items,
        scores,
        descriptions,
        None if plddt is None else [of[0] for of in plddt],
        [{"models": len(of), **known} for of, known in zip(models, baselines.details, strict=True)],
        [*notes, reason, *baselines.notes],
        ensembles=ensembles if more else None,
    )
