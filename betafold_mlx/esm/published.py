"""Which checkpoint files are the published ones, by their checksum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from betafold_mlx.esm.checkpoint import SourceFile
from betafold_mlx.esm.config import SIZES

DEFAULT_HUB_ID = "facebook/esm2_t6_8M_UR50D"


class Published(NamedTuple):
    """A published file: the model it belongs to, its size in bytes and SHA-256."""

    hub_id: str
    bytes: int
    sha256: str


PUBLISHED = {
    # As several public analyses pin it (revision c731040fcd8d73dceaa04b0a8e6329b345b0f5df of the model on the hub).
    "8M": Published(
        DEFAULT_HUB_ID, 31_384_292, "24c5fa474c48f3b754b86efe752d5f189d2bcd88190fa2270fc92b2ef3034189"
    ),
}
"""By size. For sizes that are not here nothing is on record."""

CHECKS = {
    "match": "the published ESM-2 weights",
    "different": "NOT the published ESM-2 weights",
    "unknown": "not checked against the published ESM-2 weights",
}
"""The outcomes of `check_published`, in words that end a sentence about weights."""


def hub_id(size: str | None) -> str | None:
    """Return the id of a published size on the hub: ``facebook/esm2_tLAYERS_SIZE_UR50D``; None for any other size.

    Examples
    --------
    >>> hub_id("650M")
    'facebook/esm2_t33_650M_UR50D'
    """
    return f"facebook/esm2_t{SIZES[size][0]}_{size}_UR50D" if size in SIZES else None


def check_published(size: str, files: Sequence[SourceFile]) -> str:
    """Compare files of weights with the published ones.

    Parameters
    ----------
    size : str
        Name of the size, as `EsmConfig.size`.
    files : sequence of SourceFile
        What the weights were read from.

    Returns
    -------
    str
        ``match``, ``different``, or ``unknown`` where no checksum is on record for the size.
    """
    known = PUBLISHED.get(size)
    if known is None:
        return "unknown"
    return "match" if [(file.bytes, file.sha256) for file in files] == [known[1:]] else "different"
