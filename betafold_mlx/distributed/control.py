"""How ranks find each other, talk of small things, and notice that one of them is gone.

MLX's ring moves arrays. It knows nothing of errors, and waits for a peer that stopped as long as that takes. So every
rank also keeps a connection to rank 0, which passes on what the others say. A process that dies closes its connection;
a machine that is cut off falls silent. What goes over it is lines of JSON, and bytes behind a line that announces them.

Rank 0 listens for the others at its own address in the ring, before the ring takes that: no other port has to be open.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

from betafold_mlx.errors import BetafoldError

Address = tuple[str, int]

_LONGEST_LINE = 1 << 28  # bytes; a validation of a thousand peptides takes 1e5
_PIECE = 1 << 20  # bytes that are sent in one go: between them other words, and signs of life, get their turn
_NAMING_SECONDS = 10.0  # a process that died is named at once
_BEATS = 6  # signs of life in the time after which silence means death


class RankLostError(BetafoldError):
    """Another rank is gone, or gave up: what this one began with it cannot be ended."""


class Control:
    """The connections of one rank.

    Parameters
    ----------
    rank, size : int
        This rank, and how many there are.
    peers : dict of int to socket.socket
        Rank 0: all the others; another rank: rank 0.
    silence : float
        Seconds without a sign of life after which a peer counts as lost.
    """

    def __init__(self, rank: int, size: int, peers: dict[int, socket.socket], silence: float) -> None:
        self.rank, self.size, self.silence = rank, size, silence
        self._peers = peers
        self._heard: dict[int, deque[Any]] = {peer: deque() for peer in peers}
        self._received: dict[int, deque[bytes]] = {peer: deque() for peer in peers}
        self._first_failure: str | None = None
        self._failure: str | None = None  # the same, when the others were told
        self._changed = threading.Condition()
        self._sending = {peer: threading.Lock() for peer in peers}
        self._closed = threading.Event()
        self._listeners = [threading.Thread(target=self._listen, args=(peer,), daemon=True) for peer in peers]
        for connection in peers.values():
            connection.settimeout(silence)
        for thread in [*self._listeners, threading.Thread(target=self._beat, daemon=True)]:
            thread.start()

    def exchange(self, value: Any) -> list[Any]:
        """Return what all ranks gave, by rank; every rank must call it, in the same order.

        Parameters
        ----------
        value : JSON value
            What this rank gives.

        Raises
        ------
        RankLostError
            Where another rank is gone.
        """
        if self.rank:
            self._send(0, "value", value)
            values: list[Any] = self._next(0)
            return values
        values = [json.loads(json.dumps(value)), *(self._next(peer) for peer in sorted(self._peers))]
        for peer in self._peers:
            self._send(peer, "value", values)
        return values

    def send(self, data: bytes, to: int) -> None:
        """Send bytes to rank 0, or from there to another rank, one thread at a time for each of them.

        What is sent to a rank that is gone is lost; who waits for its answer finds out.
        """
        pieces = [data[begin : begin + _PIECE] for begin in range(0, len(data), _PIECE)] or [b""]
        for number, piece in enumerate(pieces, start=1):
            if self._failure is not None:
                return
            self._send(to, "piece", [len(piece), number == len(pieces)], piece)

    def receive(self, peer: int) -> bytes:
        """Return what a rank sent next.

        Raises
        ------
        RankLostError
            Where another rank is gone.
        """
        self._wait(lambda: bool(self._received[peer]))
        return self._received[peer].popleft()

    def watch(self, work: Callable[[], None]) -> None:
        """Do what waits for other ranks in a thread of its own, and wait for it only as long as all of them live.

        Raises
        ------
        RankLostError
            Where another rank is gone; the thread is left behind.
        """
        outcome: list[Exception | None] = []

        def run() -> None:
            try:
                work()
                result = None
            except Exception as error:
                result = error
            with self._changed:
                outcome.append(result)
                self._changed.notify_all()

        threading.Thread(target=run, daemon=True).start()
        self._wait(lambda: bool(outcome))
        if outcome[0] is not None:
            self.broke(outcome[0])

    def broke(self, error: Exception) -> NoReturn:
        """Raise what became of a ring that failed: it notices at once, but not which rank it was.

        Raises
        ------
        RankLostError
            Naming the rank, where that turns out.
        """
        with contextlib.suppress(TimeoutError):
            self._wait(lambda: False, _NAMING_SECONDS)
        raise RankLostError(f"the connection between the ranks broke ({error})") from error

    def give_up(self, reason: str) -> None:
        """Tell the others that this rank cannot go on, and why."""
        for peer in self._peers:
            self._send(peer, "failed", f"rank {self.rank} stopped: {reason}")

    def close(self) -> None:
        """End the connections. A rank that says so is not lost: others may still have to hear what this one did."""
        self._closed.set()
        if self._failure is None:
            for peer in self._peers:
                self._send(peer, "left")
        for connection in self._peers.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)  # what was sent still arrives
        for thread in self._listeners:
            thread.join(1.0)
        for connection in self._peers.values():
            connection.close()

    def _next(self, peer: int) -> Any:
        self._wait(lambda: bool(self._heard[peer]))
        return self._heard[peer].popleft()

    def _wait(self, ready: Callable[[], bool], seconds: float | None = None) -> None:
        """Wait; what is ready counts even where a rank is gone since."""
        end = None if seconds is None else time.monotonic() + seconds
        with self._changed:
            while not ready():
                if self._failure is not None:
                    raise RankLostError(self._failure)
                left = 1.0 if end is None else end - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self._changed.wait(min(left, 1.0))

    def _send(self, peer: int, kind: str, value: Any = None, behind: bytes = b"") -> None:
        line = json.dumps([kind, value]).encode() + b"\n"
        try:
            with self._sending[peer]:
                self._peers[peer].sendall(line + behind)
        except TimeoutError:  # half a line may have gone: nothing more can be said to this one
            if kind != "failed":
                self._fail(peer, self._silent(peer))
        except OSError:
            pass  # the listener of a broken connection says so

    def _listen(self, peer: int) -> None:
        pieces: list[bytes] = []
        try:
            with self._peers[peer].makefile("rb") as lines:
                while line := lines.readline(_LONGEST_LINE):
                    kind, value = json.loads(line)
                    if kind == "left":
                        return
                    if kind == "failed":
                        self._fail(peer, str(value))
                    elif kind == "value":
                        with self._changed:
                            self._heard[peer].append(value)
                            self._changed.notify_all()
                    elif kind == "piece":
                        size, last = value
                        if not 0 <= size <= _PIECE:
                            raise ValueError("more than a rank sends in one go")
                        pieces.append(lines.read(size))
                        if len(pieces[-1]) < size:
                            break  # the end of the connection
                        if last:
                            with self._changed:
                                self._received[peer].append(b"".join(pieces))
                                self._changed.notify_all()
                            pieces = []
            self._fail(peer, f"rank {peer} was lost: its process ended")
        except TimeoutError:
            self._fail(peer, self._silent(peer))
        except ConnectionError:
            self._fail(peer, f"rank {peer} was lost: its process ended")
        except OSError as error:
            self._fail(peer, f"rank {peer} was lost: {error.strerror or error}")
        except (ValueError, TypeError):
            self._fail(peer, f"rank {peer} was lost: it sent something else than a rank does")

    def _silent(self, peer: int) -> str:
        return f"rank {peer} was lost: no sign of life for {self.silence:.0f} seconds"

    def _fail(self, peer: int, message: str) -> None:
        with self._changed:
            if self._first_failure is not None or self._closed.is_set():
                return
            self._first_failure = message  # a peer that hears of it, and gives up in turn, is none
        for other in self._peers:  # before this rank itself: once it knows, it may be gone at any time
            if other != peer:
                self._send(other, "failed", message)
        with self._changed:
            self._failure = message
            self._changed.notify_all()

    def _beat(self) -> None:
        while not self._closed.wait(self.silence / _BEATS):
            for peer in self._peers:
                self._send(peer, "beat")


def meet(rank: int, size: int, address: Address, patience: float, silence: float) -> Control:
    """Connect the ranks.

    Parameters
    ----------
    rank, size : int
        This rank, and how many there are.
    address : (str, int)
        Where rank 0 listens until all are there: host and port.
    patience : float
        Seconds to wait for the others.
    silence : float
        As in `Control`.

    Raises
    ------
    BetafoldError
        Where the others do not come, or the address cannot be used.
    """
    end = time.monotonic() + patience
    peers = {0: _knock(rank, size, address, end)} if rank else _gather(size, address, end, patience)
    return Control(rank, size, peers, silence)


def _gather(size: int, address: Address, end: float, patience: float) -> dict[int, socket.socket]:
    """Rank 0: let all others in, then tell them that the address is free for the ring."""
    peers: dict[int, socket.socket] = {}
    try:
        with contextlib.ExitStack() as stack, socket.create_server(address, backlog=size) as server:
            while len(peers) < size - 1:
                server.settimeout(max(0.0, end - time.monotonic()))
                connection, _ = server.accept()
                stack.callback(connection.close)
                try:
                    connection.settimeout(max(0.1, min(5.0, end - time.monotonic())))
                    other, of = json.loads(_line(connection))
                    if of != size or type(other) is not int or other in peers or not 0 < other < size:
                        raise ValueError("not one of these ranks")
                except (OSError, ValueError, TypeError):
                    connection.close()  # some stranger
                    continue
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                peers[other] = connection
            stack.pop_all()  # all are here: they stay
    except (TimeoutError, BlockingIOError) as error:
        missing = ", ".join(str(other) for other in range(1, size) if other not in peers)
        raise BetafoldError(f"rank {missing} did not come within {patience:.0f} seconds") from error
    except OSError as error:
        raise BetafoldError(
            f"rank 0 cannot listen at {address[0]}:{address[1]} ({error.strerror or error}): "
            "name a free port (mlx.launch --starting-port)"
        ) from error
    for connection in peers.values():
        with contextlib.suppress(OSError):
            connection.sendall(b"go\n")
    return peers


def _knock(rank: int, size: int, address: Address, end: float) -> socket.socket:
    """Another rank: connect to rank 0 and wait until all are there."""
    while True:
        try:
            connection = socket.create_connection(address, timeout=max(0.1, end - time.monotonic()))
            break
        except OSError as error:
            if time.monotonic() > end:
                raise BetafoldError(
                    f"rank {rank} cannot reach rank 0 at {address[0]}:{address[1]} ({error.strerror or error})"
                ) from error
            time.sleep(0.1)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(json.dumps([rank, size]).encode() + b"\n")
        connection.settimeout(
            max(0.1, end - time.monotonic()) + 5.0
        )  # rank 0 gives up first, and says who is missing
        if _line(connection) != b"go\n":
            raise ConnectionError("rank 0 does not wait for this rank")
    except OSError as error:
        connection.close()
        raise BetafoldError(f"rank {rank} was not let in by rank 0 ({error.strerror or error})") from error
    return connection


def _line(connection: socket.socket) -> bytes:
    """Read one short line, and not a byte more."""
    line = b""
    while not line.endswith(b"\n") and len(line) < 100:
        byte = connection.recv(1)
        if not byte:
            break
        line += byte
    return line
