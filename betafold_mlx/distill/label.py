"""Label sequences with a teacher, a few at a time, and keep what it is sure of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from betafold_mlx.data.identity import canonical
from betafold_mlx.distill.gathering import Gathering
from betafold_mlx.distill.guard import Guard
from betafold_mlx.distill.labelling import Labelling
from betafold_mlx.distill.sequences import Unlabelled
from betafold_mlx.distill.teacher import Teacher
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.structure.backbone import Backbone

TOGETHER = 1024
"""Sequences checked and labelled at a time."""


def label_sequences(
    sequences: Iterable[Unlabelled],
    teacher: Teacher,
    guard: Guard,
    how: Labelling,
    advance: Callable[[int], None] = lambda number: None,
) -> Gathering:
    """Label sequences.

    Parameters
    ----------
    sequences : iterable of Unlabelled
        Read `TOGETHER` at a time.
    teacher : Teacher
        Who labels them.
    guard : Guard
        What must not be labelled.
    how : Labelling
        Settings.
    advance : callable
        Told that so many more sequences are done.

    Returns
    -------
    Gathering
        Labels as backbones of kind ``unknown``, in the order of the sequences. What is left out is a bad record, a
        duplicate, has an experimental structure, is like something of the evaluation splits, has a stated bond that
        the teacher does not make, or is of low confidence.
    """
    found = Gathering()
    seen: dict[tuple[str, bool], str] = {}
    waiting = iter(sequences)
    while chunk := list(islice(waiting, TOGETHER)):
        found.read += len(chunk)
        kept = list(_to_label(chunk, guard, found, seen))
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


def _to_label(
    chunk: list[Unlabelled], guard: Guard, found: Gathering, seen: dict[tuple[str, bool], str]
) -> Iterator[tuple[str, Peptide]]:
    """Yield what is to be labelled of a chunk, and note the rest."""
    usable: list[tuple[str, Peptide]] = []
    for each in chunk:
        if each.peptide is None:
            found.drop(each.id, "bad records", each.problem)
            found.failed.append(f"{each.id}: {each.problem}")
            continue
        key = canonical(each.peptide.sequence, each.peptide.cyclic), each.peptide.cyclic
        if key in seen:
            found.drop(each.id, "duplicates", f"of {seen[key]}")
            continue
        seen[key] = each.id
        if guard.is_known(each.peptide.sequence, each.peptide.cyclic):
            found.drop(each.id, "with an experimental structure", "in the train split")
        else:
            usable.append((each.id, each.peptide))
    leaks = guard.leaks([p.sequence for _, p in usable], [p.cyclic for _, p in usable])
    for (name, peptide), leak in zip(usable, leaks, strict=True):
        if leak is None:
            yield name, peptide
        else:
            found.drop(name, "like evaluation data", leak)
