"""The ranks of a command that ``mlx.launch`` started several times."""

from __future__ import annotations

import json
import os
import signal
import types
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from betafold_mlx._version import __version__
from betafold_mlx.distributed.control import Address, Control, meet
from betafold_mlx.errors import BetafoldError

PATIENCE = 120.0
"""Seconds in which all ranks must have started."""
SILENCE = 60.0
"""Seconds without a sign of life after which a rank counts as lost; ``BETAFOLD_RANK_TIMEOUT`` says otherwise."""
_RING_SECONDS = 40.0  # MLX tries for 31 to connect


class Ranks:
    """A process by itself, and what several have in common.

    As a context manager it ends for all ranks at the same time: with an error of one, the others stop too.

    Attributes
    ----------
    rank, size : int
        This process, from 0, and how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def main(self) -> bool:
        """Whether this is the rank that writes and reports."""
        return self.rank == 0

    def share(self) -> slice:
        """Return which elements of a list are this rank's: every element is some rank's, and all get about as many."""
        return slice(self.rank, None, self.size)

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, by rank, on all of them. Values are what JSON can hold.

        Raises
        ------
        RankLostError
            Where another rank is gone or gave up, here and in all that follows.
        """
        return [value]

    def from_main(self, make: Callable[[], Any]) -> Any:
        """Return on all ranks what `make` returns on the main one; it is called there only."""
        return self.gather(make() if self.main else None)[0]

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        self.gather(None)

    def same(self, what: str, value: Any) -> None:
        """Check that all ranks have the same value.

        Raises
        ------
        BetafoldError
            On all ranks, naming one that differs.
        """
        first, *others = self.gather(value)
        for rank, other in enumerate(others, start=1):
            if other != first:
                raise BetafoldError(
                    f"rank {rank} has {_difference(what, other, first)}: all must have the same"
                )

    def sum(self, arrays: Sequence[mx.array]) -> list[mx.array]:
        """Return the sums of float32 arrays over the ranks, the same bits on all."""
        return list(arrays)

    def broadcast(self, arrays: Sequence[mx.array], root: int = 0) -> list[mx.array]:
        """Return the arrays of one rank, bit by bit, on all; where shapes or types differ, raise BetafoldError."""
        return list(arrays)

    def broadcast_bytes(self, data: bytes | None, root: int) -> bytes:
        """Return the bytes of one rank on all; the others give None."""
        assert data is not None
        return data

    def send(self, data: bytes, to: int) -> None:
        """Send bytes from the main rank to another, or back: beside all that the ranks do together, at any time.

        One thread at a time sends to a rank. What is sent to one that is gone is lost.
        """
        raise ValueError("a process by itself has nobody to send to")

    def receive(self, sender: int) -> bytes:
        """Return what another rank sent to this one next; wait for it.

        Raises
        ------
        RankLostError
            Where a rank is gone or gave up.
        """
        raise ValueError("a process by itself has nobody to hear from")

    def __enter__(self) -> Ranks:
        """Go to work."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        """Part, after the last is done."""


ALONE = Ranks()


class RingRanks(Ranks):
    """One of several processes on MLX's ring.

    Parameters
    ----------
    group : mx.distributed.Group
        The ring.
    control : Control
        The connections beside it.
    """

    def __init__(self, group: mx.distributed.Group, control: Control) -> None:
        self.rank, self.size = control.rank, control.size
        self._group, self._control = group, control
        # Of its own: on that of the computation a collective that waits for a lost rank would block the checkpoint.
        self._stream = mx.new_stream(mx.cpu)

    def gather(self, value: Any) -> list[Any]:
        """As `Ranks.gather`, over the control connections."""
        return self._control.exchange(value)

    def sum(self, arrays: Sequence[mx.array]) -> list[mx.array]:
        """As `Ranks.sum`, in one go over the ring."""
        flat = mx.concatenate([array.reshape(-1) for array in arrays])
        return _cut(self._all_sum(flat), arrays, [array.size for array in arrays])

    def broadcast(self, arrays: Sequence[mx.array], root: int = 0) -> list[mx.array]:
        """As `Ranks.broadcast`: a sum in which all others are zero."""
        self.same("arrays", [[str(array.dtype), *array.shape] for array in arrays])
        flat = mx.concatenate([array.reshape(-1).view(mx.uint8) for array in arrays])
        total = self._all_sum(flat if self.rank == root else mx.zeros_like(flat))
        return _cut(total, arrays, [array.nbytes for array in arrays])

    def broadcast_bytes(self, data: bytes | None, root: int) -> bytes:
        """As `Ranks.broadcast_bytes`."""
        size = self.gather(None if data is None else len(data))[root]
        own = np.zeros(size, np.uint8) if data is None else np.frombuffer(data, np.uint8)
        return bytes(np.array(self.broadcast([mx.array(own)], root)[0]))

    def send(self, data: bytes, to: int) -> None:
        """As `Ranks.send`, over the control connections."""
        self._control.send(data, to)

    def receive(self, sender: int) -> bytes:
        """As `Ranks.receive`, over the control connections."""
        return self._control.receive(sender)

    def _all_sum(self, array: mx.array) -> mx.array:
        total = mx.distributed.all_sum(array, group=self._group, stream=self._stream)
        try:
            mx.async_eval(total)
        except RuntimeError as error:
            self._control.broke(error)
        self._control.watch(lambda: mx.eval(total))
        return total

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        """Part: by an error at once, else after the last is done."""
        try:
            if error is None or isinstance(error, SystemExit):
                self.barrier()
            else:
                self._control.give_up(" ".join(str(error).split()) or "interrupted")
        finally:
            self._control.close()


def join() -> Ranks:
    """Return the ranks that this process is one of.

    Returns
    -------
    Ranks
        `ALONE` for a process that was not started by ``mlx.launch``, or as the only one; nothing is initialised then.

    Raises
    ------
    BetafoldError
        Where the ranks cannot come together, or are of different versions.
    """
    if "MLX_RANK" not in os.environ:
        return ALONE
    rank, addresses = _launched()
    size = len(addresses)
    if size < 2:
        return ALONE
    control = meet(rank, size, addresses[0], PATIENCE, _silence())
    try:
        ranks = RingRanks(_ring(), control)
        # NumPy's too: every rank draws the examples of a step.
        ranks.same(
            "the version of", {"betafold-mlx": __version__, "mlx": version("mlx"), "numpy": np.__version__}
        )
    except BaseException as error:
        control.give_up(str(error))
        control.close()
        raise
    return ranks


def _launched() -> tuple[int, list[Address]]:
    """Return this rank, and the address of each."""
    path = os.environ.get("MLX_HOSTFILE")
    if path is None:
        if os.environ.get("MLX_WORLD_SIZE") == "1":
            return 0, []
        raise BetafoldError("several ranks work over the ring only: mlx.launch --backend ring")
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
        hosts = json.loads(text) if text else []  # mlx.launch -n 1 writes an empty one
        pairs = [str(addresses[0]).rpartition(":") for addresses in hosts]
        return int(os.environ["MLX_RANK"]), [(host, int(port)) for host, _, port in pairs]
    except (OSError, ValueError, TypeError, IndexError, KeyError) as error:
        raise BetafoldError(f"{path}, named by MLX_HOSTFILE, is not a list of ring addresses") from error


def _silence() -> float:
    text = os.environ.get("BETAFOLD_RANK_TIMEOUT", str(SILENCE))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1.0 <= seconds <= 86_400.0:
        raise BetafoldError(f"BETAFOLD_RANK_TIMEOUT={text:.20} is not a number of seconds from 1 to 86400")
    return seconds


def _ring() -> mx.distributed.Group:
    """Return the ring of all ranks.

    MLX waits for a neighbour without end, and holds Python's lock meanwhile. A signal ends that wait.
    """
    previous = signal.signal(signal.SIGALRM, lambda number, frame: None)
    signal.setitimer(signal.ITIMER_REAL, _RING_SECONDS)
    try:
        return mx.distributed.init(strict=True, backend="ring")
    except RuntimeError as error:
        raise BetafoldError(f"the ranks cannot make a ring: {error}") from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, previous)


def _cut(flat: mx.array, like: Sequence[mx.array], sizes: Sequence[int]) -> list[mx.array]:
    """Cut a vector into arrays of the shapes and types of others."""
    parts = mx.split(flat, np.cumsum(sizes)[:-1].tolist())
    return [part.view(one.dtype).reshape(one.shape) for part, one in zip(parts, like, strict=True)]


def _difference(what: str, other: Any, first: Any) -> str:
    """Say how two values differ; of two dictionaries, in which entry."""
    if isinstance(other, dict) and isinstance(first, dict):
        for key in [*first, *other]:
            if other.get(key) != first.get(key):
                return _difference(f"{what} {key}", other.get(key), first.get(key))
    return f"{what} {other!s:.40}, rank 0 {first!s:.40}"
