"""``betafold-mlx perplexity``."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from betafold_mlx.cli.options import (
    complete_peptide,
    device_option,
    esm_option,
    examples,
    is_fasta,
    json_option,
    usage_errors,
)
from betafold_mlx.cli.progress import say, shown
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import to_json

if TYPE_CHECKING:
    import numpy as np

    from betafold_mlx.esm.scores import SequenceScore

SCHEMA_VERSION = 1
MIN_SEPARATION = 6
"""The contact head was fitted on pairs at least so far apart (Rao et al. 2020); nearer ones are not listed."""


@click.command(
    epilog=examples(
        "betafold-mlx perplexity GIGKFLHSAKKFGKAFVGEIMNS --embedder weights/esm2_t6_8M_UR50D",
        "betafold-mlx perplexity peptides.fasta --embedder weights/esm2_t6_8M_UR50D --contacts --json",
    )
)
@click.argument("peptide", metavar="PEPTIDE|FASTA|-", shell_complete=complete_peptide)
@esm_option
@click.option("--contacts", "with_contacts", is_flag=True, help="Add the predicted contact map.")
@json_option
@device_option
def perplexity(peptide: str, embedder: Path, with_contacts: bool, as_json: bool) -> None:
    """Score sequences with ESM-2: how likely each residue is, given all the others.

    Masks one residue at a time. The pseudo-perplexity is exp of minus the mean log-probability: 1 where the model is
    sure of every residue, about 20 where it knows nothing. Up to 1022 residues; X, B, Z, U, O are read as well.
    """
    from betafold_mlx.esm.converted import load_esm
    from betafold_mlx.esm.scores import parse_sequence, predict_contacts, score_sequence

    records: Iterable[tuple[str, str | BetafoldError]]
    if peptide == "-" or is_fasta(peptide):
        records = _records(peptide)
    else:
        with usage_errors():
            records = [(parse_sequence(peptide),) * 2]
    esm = load_esm(embedder)
    results: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []
    for name, sequence in records:
        if isinstance(sequence, BetafoldError):
            failures.append({"id": name, "error": str(sequence)})
            say(f"{shown(name)}: {sequence}")
            continue
        score = score_sequence(esm.model, sequence)
        contacts = predict_contacts(esm.model, sequence) if with_contacts else None
        if as_json:
            results.append(_result(name, score, contacts))
        else:
            click.echo("\n".join([esm.label, *_table(name, score, contacts), ""]))
    if as_json:
        document = {
            "schema_version": SCHEMA_VERSION,
            "embedder": esm.to_dict(),
            "results": results,
            "errors": failures,
        }
        click.echo(to_json(document), nl=False)
    if failures:
        sys.exit(1)


def _records(source: str) -> Iterator[tuple[str, str | BetafoldError]]:
    """Yield id and sequence of each FASTA record, or what is wrong with it."""
    from betafold_mlx.esm.scores import parse_sequence
    from betafold_mlx.peptide.fasta import checked_records, read_fasta

    empty = True
    for record, checked in checked_records(read_fasta(source), lambda record: parse_sequence(record.text)):
        empty = False
        if record is None:  # the file itself is broken here
            yield "input", checked
        else:
            yield (record.name if isinstance(checked, BetafoldError) else record.id or checked), checked
    if empty:
        raise BetafoldError(f"{'standard input' if source == '-' else source} holds no FASTA records")


def _result(name: str, score: SequenceScore, contacts: np.ndarray | None) -> dict[str, Any]:
    from betafold_mlx.peptide.sequence import ALPHABET

    result: dict[str, Any] = {
        "id": name,
        "sequence": score.sequence,
        "perplexity": score.perplexity,
        "mean_log_probability": float(score.log_probabilities.mean()),
        "log_probabilities": score.log_probabilities.tolist(),
        "most_likely": score.most_likely,
        "alternatives": {"letters": ALPHABET, "log_probabilities": score.alternatives.tolist()},
    }
    return result if contacts is None else result | {"contacts": contacts.tolist()}


def _table(name: str, score: SequenceScore, contacts: np.ndarray | None) -> list[str]:
    """Return the lines for a terminal."""
    lines = [
        f"{shown(name)}  {len(score.sequence)} residues  pseudo-perplexity {score.perplexity:.2f}",
        "  place  residue   log p      p  most likely      p",
    ]
    best = score.alternatives.max(axis=1)
    rows = zip(score.sequence, score.log_probabilities, score.most_likely, best, strict=True)
    for place, (residue, log, other, top) in enumerate(rows, start=1):
        own = f"{residue:>7}  {log:>6.2f}  {math.exp(log):>5.3f}"
        lines.append(f"  {place:>5}  {own}  {other:>11}  {math.exp(top):>5.3f}")
    return lines if contacts is None else lines + _strongest(score.sequence, contacts)


def _strongest(sequence: str, contacts: np.ndarray) -> list[str]:
    """List the L most likely contacts."""
    import numpy as np

    first, second = np.triu_indices(len(sequence), MIN_SEPARATION)
    if not len(first):
        return [f"  contacts: no two residues are {MIN_SEPARATION} apart"]
    order = np.argsort(-contacts[first, second], kind="stable")[: len(sequence)]
    lines = [f"  contacts, {len(order)} most likely of the pairs at least {MIN_SEPARATION} apart"]
    for i, j in zip(first[order], second[order], strict=True):
        pair = f"{sequence[i]}{i + 1:<5} {sequence[j]}{j + 1:<5} {contacts[i, j]:>6.3f}"
        lines.append(f"  {pair}  {'#' * round(40 * float(contacts[i, j]))}".rstrip())
    return lines
