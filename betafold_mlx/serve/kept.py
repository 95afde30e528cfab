"""Predictions that the page can still download, in bounded memory."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.serve.problems import RequestError
from betafold_mlx.serve.requests import FoldRequest


class KeptPrediction(NamedTuple):
    """A prediction and what was asked."""

    request: FoldRequest
    prediction: Prediction


class Kept:
    """Keeps the latest predictions under keys that cannot be guessed.

    Parameters
    ----------
    most : int
        Predictions.
    most_bytes : int
        Of their arrays.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._entries: OrderedDict[str, tuple[KeptPrediction, int]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: KeptPrediction) -> str:
        """Keep a prediction, drop the least used ones, and return its key."""
        key, size = secrets.token_urlsafe(16), _bytes(entry.prediction)
        self._entries[key] = entry, size
        self._bytes += size
        while len(self._entries) > 1 and (len(self._entries) > self._most or self._bytes > self._most_bytes):
            _, (_, dropped) = self._entries.popitem(last=False)
            self._bytes -= dropped
        return key

    def get(self, key: str) -> KeptPrediction:
        """Return a prediction.

        Raises
        ------
        RequestError
            It is not kept, or no longer (404).
        """
        if key not in self._entries:
            raise RequestError(404, "this prediction is no longer kept: fold the peptide again")
        self._entries.move_to_end(key)
        return self._entries[key][0]


def _bytes(value: object) -> int:
    """Return the bytes of an array, or of the arrays that an object holds."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, tuple):
        return sum(map(_bytes, value))
    return sum(map(_bytes, vars(value).values())) if hasattr(value, "__dict__") else 0
