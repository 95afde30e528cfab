"""File names of a run, each given to one record only, a million of them in a few megabytes."""

from __future__ import annotations

import hashlib
from array import array

from betafold_mlx.fold.output import safe_name

_SMALLEST = 1024  # a power of two


class Names:
    """Gives every record a name of its own: ``a``, ``a_2``, ``a_3`` ...

    Names that differ in case only are the same here, as they are on some file systems. What is kept of a name is a hash
    of 8 bytes: two names that share it (one chance in 10^7 for a million records) are taken for the same, so one of
    them gets a number that it did not need. The names depend on nothing but the identifiers before.
    """

    def __init__(self) -> None:
        self._last = _Numbers()

    def claim(self, identifier: str) -> str:
        """Return a file name (`betafold_mlx.fold.output.safe_name`) that no other record of this run has."""
        base = safe_name(identifier)
        key = _hash(base)
        number = self._last.get(key)
        if number == 0:
            self._last.set(key, 1)
            return base
        while True:
            number += 1
            name = f"{base}_{number}"
            if self._last.get(_hash(name)) == 0:
                self._last.set(key, number)
                self._last.set(_hash(name), 1)
                return name


def _hash(name: str) -> int:
    """Return a hash of 8 bytes that is the same in every process, and never 0."""
    return int.from_bytes(hashlib.blake2b(name.casefold().encode(), digest_size=8).digest(), "little") or 1


class _Numbers:
    """A map from hashes to numbers in two flat arrays: 24 to 48 bytes an entry, where a dict takes 130."""

    def __init__(self) -> None:
        self._count = 0
        self._allocate(_SMALLEST)

    def _allocate(self, size: int) -> None:
        self._keys = array("Q", bytes(8 * size))  # 0: free
        self._values = array("I", bytes(array("I").itemsize * size))

    def _slot(self, key: int) -> int:
        """Return where a key is, or where it belongs."""
        keys, last = self._keys, len(self._keys) - 1
        slot = key & last
        while keys[slot] not in (0, key):
            slot = (slot + 1) & last
        return slot

    def get(self, key: int) -> int:
        """Return the number of a key, 0 where it has none."""
        return self._values[self._slot(key)]

    def set(self, key: int, value: int) -> None:
        """Set the number of a key, which is above 0."""
        slot = self._slot(key)
        if self._keys[slot] == 0:
            self._keys[slot] = key
            self._count += 1
        self._values[slot] = value
        if 2 * self._count > len(self._keys):
            self._grow()

    def _grow(self) -> None:
        keys, values = self._keys, self._values
        self._allocate(2 * len(keys))
        for key, value in zip(keys, values, strict=True):
            if key:
                slot = self._slot(key)
                self._keys[slot], self._values[slot] = key, value
