"""What may be asked: bodies, JSON, and the fields of a fold, each checked before anything is computed."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.chemistry import NO_CAP, checked_caps, checked_disulfides
from betafold_mlx.peptide.sequence import FastaRecord, Peptide, parse_fasta
from betafold_mlx.serve.limits import Limits
from betafold_mlx.serve.problems import Problem, RequestError, invalid

AUTO = "auto"
STRUCTURES = ("cif", "pdb")
LONGEST_ID = 200
MOST_SEED = 2**31 - 1

_FOLD = (
    *("sequence", "id", "cyclic", "disulfides", "d_amino_acids", "n_cap", "c_cap"),
    *("samples", "seed", "include", "keep"),
)
_BATCH = ("fasta", "auto_disulfides", "samples", "seed", "include")


@dataclass(frozen=True)
class FoldRequest:
    """A fold that was asked for, checked.

    Attributes
    ----------
    peptide : Peptide
        What to fold.
    id : str
        Its name.
    auto_disulfides : bool
        Bond the cysteines as the model prefers.
    samples, seed : int
        As in `betafold_mlx.fold.predictor.Predictor.fold`.
    include : tuple of str
        Structure files to send along: ``cif``, ``pdb``.
    keep : bool
        Keep the prediction for downloads.
    """

    peptide: Peptide
    id: str
    auto_disulfides: bool = False
    samples: int = 1
    seed: int = 0
    include: tuple[str, ...] = ()
    keep: bool = False


@dataclass(frozen=True)
class BatchRequest:
    """A FASTA file that is to be folded, its records not yet checked.

    Attributes
    ----------
    records : tuple of FastaRecord
        At least one.
    auto_disulfides, samples, seed
        As in `FoldRequest`.
    include : tuple of str
        Structure files to write.
    """

    records: tuple[FastaRecord, ...]
    auto_disulfides: bool
    samples: int
    seed: int
    include: tuple[str, ...]


async def read_body(request: Request, most: int, seconds: float) -> bytes:
    """Return the body of a request.

    Raises
    ------
    RequestError
        More than `most` bytes (413), or not all there after so many seconds (408).
    """
    too_large = RequestError(413, f"the request is too large: at most {most:,} bytes are read here")
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and (len(declared) > 12 or int(declared) > most):
        raise too_large

    async def read() -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise too_large
        return bytes(body)

    try:
        return await asyncio.wait_for(read(), seconds)
    except asyncio.TimeoutError:
        raise RequestError(408, f"the request did not come within {seconds:.0f} s") from None
    except ClientDisconnect:
        raise RequestError(400, "the request was cut short") from None


async def read_json(request: Request, most: int, seconds: float) -> dict[str, Any]:
    """Return the JSON object that a request holds.

    Raises
    ------
    RequestError
        As `read_body`; another media type (415), no JSON (400), JSON but no object (422).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # a page of another site cannot send this type without being asked first
        raise RequestError(415, "send JSON, with the header Content-Type: application/json")
    body = await read_body(request, most, seconds)
    try:
        document = json.loads(
            body.decode("utf-8"), object_pairs_hook=_without_repetition, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RequestError(400, f"this is no JSON: {reason}"[:300]) from None
    if not isinstance(document, dict):
        raise invalid([Problem("", "send a JSON object")])
    return document


def fold_request(document: dict[str, Any], limits: Limits) -> FoldRequest:
    """Check what was asked of one peptide.

    Raises
    ------
    RequestError
        422 with all that is wrong, field by field.
    """
    fields = _Fields(document, _FOLD)
    text = fields.text("sequence", None)
    name = fields.text("id", "", LONGEST_ID)
    cyclic = fields.flag("cyclic")
    pairs = fields.disulfides()
    d_amino_acids = fields.flag("d_amino_acids")
    caps = {end: fields.text(end, None) if document.get(end) is not None else None for end in _CAPS}
    samples, seed = fields.sampling(limits)
    include, keep = fields.structures(()), fields.flag("keep")

    sequence = ""
    if text is not None:
        with fields.told("sequence"):
            sequence = Peptide.parse(text).sequence
    if sequence and isinstance(pairs, list):
        with fields.told("disulfides"):
            checked_disulfides(sequence, pairs)
    for end in _CAPS:
        with fields.told(end):
            checked_caps(
                caps["n_cap"] if end == "n_cap" else None, caps["c_cap"] if end == "c_cap" else None, False
            )
    if cyclic and any(cap not in (None, NO_CAP) for cap in caps.values()):
        with fields.told("cyclic"):
            checked_caps(caps["n_cap"], caps["c_cap"], True)
    fields.finish()
    stated = pairs if isinstance(pairs, list) else []
    peptide = Peptide.parse(sequence, cyclic, stated, d_amino_acids, caps["n_cap"], caps["c_cap"])
    return FoldRequest(
        peptide=peptide,
        id=(name or "").strip() or peptide.sequence,
        auto_disulfides=pairs == AUTO,
        samples=samples,
        seed=seed,
        include=include,
        keep=keep,
    )


def batch_request(document: dict[str, Any], limits: Limits) -> BatchRequest:
    """Check what was asked of a FASTA file; its records are checked when they are folded.

    Raises
    ------
    RequestError
        422 with all that is wrong, field by field.
    """
    fields = _Fields(document, _BATCH)
    text = fields.text("fasta", None)
    auto = fields.flag("auto_disulfides")
    samples, seed = fields.sampling(limits)
    include = fields.structures(("cif",))
    records: list[FastaRecord] = []
    if text is not None:
        with fields.told("fasta"):
            for record in parse_fasta(text.splitlines()):
                records.append(record)
                if len(records) > limits.records:
                    raise BetafoldError(
                        f"more than {limits.records:,} records: fold this file with betafold-mlx fold"
                    )
            if not records:
                raise BetafoldError("there are no records: paste FASTA, or choose a file")
    fields.finish()
    return BatchRequest(tuple(records), auto, samples, seed, include)


_CAPS = ("n_cap", "c_cap")
_MOST_UNKNOWN = 5  # fields that are told: a request may have thousands, and each takes time


class _Fields:
    """The fields of a request, and what is wrong with them."""

    def __init__(self, document: dict[str, Any], known: Collection[str]) -> None:
        self._document = document
        self._problems: list[Problem] = []
        for name in sorted(set(document) - set(known))[:_MOST_UNKNOWN]:
            meant = difflib.get_close_matches(name, known, n=1)
            hint = f"is {meant[0]} meant?" if meant else "known are " + ", ".join(known)
            self._problems.append(Problem(name[:60], f"there is no such field: {hint}"))

    @contextlib.contextmanager
    def told(self, name: str) -> Iterator[None]:
        """Make a `BetafoldError` of the block a problem of a field."""
        try:
            yield
        except BetafoldError as error:
            self._wrong(name, str(error))

    def finish(self) -> None:
        """Raise where anything is wrong."""
        if self._problems:
            raise invalid(self._problems)

    def text(self, name: str, default: str | None, longest: int | None = None) -> str | None:
        """Return a text; where `default` is None it must be there."""
        value = self._document.get(name, default)
        if value is None:
            self._wrong(name, "this is missing" if name not in self._document else "this must be text")
        elif not isinstance(value, str):
            self._wrong(name, "this must be text")
        elif longest is not None and len(value) > longest:
            self._wrong(name, f"this is longer than {longest} characters")
        else:
            return value
        return None

    def flag(self, name: str) -> bool:
        """Return true or false; false where it is not there."""
        value = self._document.get(name, False)
        if not isinstance(value, bool):
            self._wrong(name, "this must be true or false")
            return False
        return value

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`."""
        value = _whole(self._document.get(name, default))
        if value is None or not low <= value <= high:
            self._wrong(name, f"this must be a whole number from {low:,} to {high:,}")
            return default
        return value

    def sampling(self, limits: Limits) -> tuple[int, int]:
        """Return the number of models, and their seed."""
        return self.whole("samples", 1, 1, limits.samples), self.whole("seed", 0, 0, MOST_SEED)

    def disulfides(self) -> list[tuple[int, int]] | str:
        """Return pairs of positions, or ``auto``."""
        value = self._document.get("disulfides", [])
        if value == AUTO:
            return AUTO
        pairs = []
        for pair in value if isinstance(value, list) else [None]:
            numbers = [_whole(each) for each in pair] if isinstance(pair, list) else []
            if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
                self._wrong("disulfides", 'this must be a list of pairs of positions, [[1, 15]], or "auto"')
                return []
            pairs.append((numbers[0], numbers[1]))
        return pairs

    def structures(self, default: tuple[str, ...]) -> tuple[str, ...]:
        """Return the structure files that are wanted."""
        value = self._document.get("include", list(default))
        if not isinstance(value, list) or any(each not in STRUCTURES for each in value):
            self._wrong("include", f"this must be a list of {' and '.join(STRUCTURES)}, or empty")
            return ()
        return tuple(dict.fromkeys(value))

    def _wrong(self, name: str, message: str) -> None:
        self._problems.append(Problem(name, message))


def _whole(value: object) -> int | None:
    """Return a number of JSON that is whole (1.0 is, by JSON Schema), or None."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):  # which of the two is meant?
        raise ValueError("a name stands twice in one object")
    return document


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
