"""How a section of ``scripts/bench`` is measured, by us and by the peers alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

LEAST, MOST = 3, 50  # calls that are counted
BUDGET = 1.0  # seconds of counted calls after which no more are made
LENGTHS, BATCHES = (12, 22, 32, 52), (1, 16, 64)  # of the ESM-2 embeddings
RESIDUES, PEPTIDES = 30, (1, 64, 4096)  # of NeRF
PAIRS, FEW_PAIRS = 10_000, 1000  # of superposition; the second with --quick
ONE_BY_ONE = 64  # what works on one peptide at a time is measured on so many, and its time multiplied


class Time(NamedTuple):
    """Seconds of one call: on the wall, and of all processors together, which a busy machine changes less."""

    wall: float
    cpu: float


Times = dict[str, list[Time]]
"""Of each case."""


def measure(call: Callable[[], object], quick: bool) -> list[Time]:
    """Return how long a call takes, several times over.

    Parameters
    ----------
    call : callable
        Does the work, and returns when it is done.
    quick : bool
        Count two calls, not more.

    Returns
    -------
    list of Time
        Of each call after a first one, which compiles and allocates.
    """
    call()
    times: list[Time] = []
    least, most = (2, 2) if quick else (LEAST, MOST)
    while len(times) < least or (sum(each.wall for each in times) < BUDGET and len(times) < most):
        start, cpu = time.perf_counter(), time.process_time()
        call()
        times.append(Time(time.perf_counter() - start, time.process_time() - cpu))
    return times


def embedding_name(length: int, batch: int) -> str:
    """Return how a case of the section ``embed`` is called."""
    return f"{length} residues x {batch}"


def nerf_name(batch: int) -> str:
    """Return how a case of the section ``nerf`` is called."""
    return f"{RESIDUES} residues x {batch}"


def superposition_name(pairs: int) -> str:
    """Return how a case of the section ``superpose`` is called."""
    return f"{pairs:,} pairs of {RESIDUES} residues (N, CA, C)"


INFERENCE, STEP = "inference, 64 x 32 residues", "training step, 96 x 32 residues"
