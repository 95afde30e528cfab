"""Server limits."""

from __future__ import annotations

from dataclasses import dataclass

MAX_BODY = 16 << 10
"""Bytes of a request for one peptide."""

MAX_BATCH_BODY = 1 << 20
"""Bytes of a request with a FASTA file."""


@dataclass(frozen=True)
class ServerLimits:
    """Bounds that keep the memory of a server from growing, whatever it is asked.

    Attributes
    ----------
    queue : int
        Folds that wait for the model or are under way; the next is answered with 503.
    samples : int
        Models of one peptide.
    records : int
        Records of one FASTA batch.
    predictions : int
        Latest predictions that can be downloaded.
    batches, running_batches : int
        Latest FASTA batches that are kept, and those that are folded at the same time.
    """

    queue: int = 16
    samples: int = 20
    records: int = 1000
    predictions: int = 200
    batches: int = 4
    running_batches: int = 2
