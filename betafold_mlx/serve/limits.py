"""What a server puts up with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The bounds of a server: with them its memory does not grow, whatever is asked of it.

    Attributes
    ----------
    queue : int
        Folds that may wait for the model or be under way; the next is answered with 503.
    samples : int
        Models of one peptide.
    records : int
        Of one FASTA batch.
    body : int
        Bytes of a request for one peptide.
    batch_body : int
        Bytes of a request with a FASTA file.
    body_seconds : float
        In which the body of a request must have come.
    requests : int
        Under way at the same time.
    kept, kept_bytes : int
        Predictions that can be downloaded, and the bytes of their arrays; the oldest go first.
    batches, batches_running : int
        FASTA batches that are kept, finished or not, and that are folded at the same time.
    """

    queue: int = 16
    samples: int = 20
    records: int = 1000
    body: int = 16 << 10
    batch_body: int = 1 << 20
    body_seconds: float = 20.0
    requests: int = 64
    kept: int = 200
    kept_bytes: int = 64 << 20
    batches: int = 4
    batches_running: int = 2
