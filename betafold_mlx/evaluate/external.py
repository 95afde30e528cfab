"""Score anybody's structure files against experimental structures.

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
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.evaluate.ensembles import score_ensembles
from betafold_mlx.evaluate.evaluation import (
    Evaluation,
    describe_several,
    predict_baselines,
    score_methods,
    several,
)
from betafold_mlx.evaluate.folding import Say
from betafold_mlx.evaluate.items import Item
from betafold_mlx.evaluate.predictions import PredictedChain, plddt_scale, read_predictions
from betafold_mlx.evaluate.references import ReferenceSet
from betafold_mlx.fold.output import safe_name
from betafold_mlx.structure.reader import find_structure_files

PREDICTION, _MODELS = "prediction", "models"
LONGEST = 100
"""Residues. The search of GDT_TS grows with the cube of the length; these are metrics for peptides."""

_STEM = re.compile(r"(\.(pdb|ent|cif|mmcif))?(\.gz)?$", flags=re.IGNORECASE)


@dataclass(frozen=True)
class Failure:
    """A reference or a file that could not be scored.

    Attributes
    ----------
    name : str
        Id of the reference or name of the file.
    what : str
        ``reference`` or ``file``.
    reason : str
        Why.
    """

    name: str
    what: str
    reason: str


@dataclass(frozen=True)
class External:
    """Scores of somebody's files.

    Attributes
    ----------
    evaluation : Evaluation
        Of the references that could be scored; perhaps of none.
    failures : list of Failure
        What could not be scored.
    """

    evaluation: Evaluation
    failures: list[Failure]


def evaluate_files(folder: Path, references: ReferenceSet, say: Say = lambda text: None) -> External:
    """Score the structure files of a folder.

    Parameters
    ----------
    folder : Path
        Folder of PDB and mmCIF files (also gzipped), searched with its subfolders; or one file.
    references : ReferenceSet
        What they should be like.
    say : callable
        Told about the progress.

    Returns
    -------
    External

    Raises
    ------
    BetafoldError
        Where there is no structure file.
    """
    files = sorted(find_structure_files(folder), key=_natural)
    failures = [Failure("references", "file", message) for message in references.failed]
    chains: dict[Path, list[PredictedChain]] = {}
    for path in files:
        try:
            chains[path] = read_predictions(path)
        except BetafoldError as error:
            failures.append(Failure(path.name, "file", str(error)))
    say(f"read {len(chains)} of {len(files)} files")
    assigned, orphans = assign_files(references.items, chains)
    failures += [Failure(path.name, "file", "no reference of this id or sequence") for path in orphans]

    notes = list(references.notes)
    scored: list[tuple[Item, list[PredictedChain]]] = []
    for index, item in enumerate(references.items):
        try:
            scored.append((item, _usable_models(item, assigned[index], chains, notes)))
        except BetafoldError as error:
            failures.append(Failure(item.id, "reference", str(error)))
    if not scored:
        return External(Evaluation([], {}, {}, None, [], notes), failures)
    return External(_evaluate(scored, references, notes, say), failures)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts ``model_2`` before ``model_10``."""
    parts = re.split(r"([0-9]+)", str(path))
    return [(int(part), "") if part.isdecimal() and part.isascii() else (0, part) for part in parts]


def assign_files(
    items: Sequence[Item], chains: dict[Path, list[PredictedChain]]
) -> tuple[dict[int, list[Path]], list[Path]]:
    """Find the files of each reference (see the module's docstring).

    Parameters
    ----------
    items : sequence of Item
        References.
    chains : dict
        File -> its chains, in the order in which files are ranked.

    Returns
    -------
    assigned : dict
        Index of the reference -> its files; empty where it has none.
    orphans : list of Path
        Files of no reference.
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
    """Return one chain for each model of the files, the first model first.

    Raises
    ------
    BetafoldError
        Where there is none that can be scored; the message says why.
    """
    if len(item) > LONGEST:
        raise BetafoldError(f"{len(item)} residues: this scores peptides of at most {LONGEST}")
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
    items = [item for item, _ in scored]
    say(f"scoring {sum(len(models) for _, models in scored)} models of {len(items)} references")
    factor, reason = plddt_scale(model for _, models in scored for model in models)
    ensembles = score_ensembles(
        items,
        [[model.scorable for model in models if model.scorable is not None] for _, models in scored],
        None
        if factor is None
        else [[factor * float(model.bfactors.mean()) for model in models] for _, models in scored],
    )
    first = ensembles.first()
    scores = {PREDICTION: first}
    descriptions = {PREDICTION: "the first model of the files"}
    more = any(len(models) > 1 for _, models in scored)
    if more:
        scores |= several(ensembles, _MODELS)
        descriptions |= describe_several(_MODELS, "the models of each reference")
    baselines = predict_baselines(items, references.dataset, say)
    scores |= score_methods(items, baselines.methods, say)
    descriptions |= {method.name: method.description for method in baselines.methods}
    only_ca = int(np.isnan(first.rmsd).sum())
    if only_ca:
        notes.append(f"{only_ca} predictions lack N or C atoms: their CA atoms alone are scored")
    plddt = None if factor is None else [factor * models[0].bfactors for _, models in scored]
    notes += [reason, *baselines.notes]
    details = [
        {"models": len(models), **known} for (_, models), known in zip(scored, baselines.details, strict=True)
    ]
    return Evaluation(
        items, scores, descriptions, plddt, details, notes, ensembles=ensembles if more else None
    )
