"""Processes of this machine that help to fold a library, one for each further processor.

MLX does the many small operations of a fold on one processor, and a second one in the same process is half idle; two
processes are not. To the main process they are what ranks are: it hands out tasks and writes.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import types
from dataclasses import asdict
from pathlib import Path

import mlx.core as mx

import betafold_mlx
from betafold_mlx._blas import blas_threads, usable_processors
from betafold_mlx.distributed.control import RankLostError
from betafold_mlx.distributed.ranks import Ranks
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.library.pipe import Pipe
from betafold_mlx.library.settings import Settings, identity

MOST_PROCESSES = 8
"""Started without being asked for: from there on the one that writes is the slowest."""

_SECONDS_TO_END = 10.0


def automatic_processes() -> int:
    """Return how many processes keep this machine busy: one a processor, one in all where a GPU computes."""
    if mx.default_device().type != mx.DeviceType.cpu:
        return 1
    processors = blas_threads() if betafold_mlx.OPENBLAS else usable_processors()
    return min(processors, MOST_PROCESSES)


class Processes(Ranks):
    """The main process and those that help it. Each starts when it is first sent something.

    A context manager: all have ended when it is left.

    Parameters
    ----------
    predictor : Predictor
        What folds; the others load the same directories.
    settings : Settings
        How.
    size : int
        Processes in all, 1 or more.
    """

    def __init__(self, predictor: Predictor, settings: Settings, size: int) -> None:
        self.size = size
        self._predictor, self._settings = predictor, settings
        self._helpers: dict[int, _Helper] = {}

    @property
    def started(self) -> bool:
        """Whether any helps by now."""
        return bool(self._helpers)

    def send(self, data: bytes, to: int) -> None:
        """As `Ranks.send`; nothing is sent to one that did not start, to tell it that there is nothing to do."""
        if to not in self._helpers:
            if not data:
                return
            self._helpers[to] = _Helper()
            self._helpers[to].send(self._opening())
        self._helpers[to].send(data)

    def receive(self, sender: int) -> bytes:
        """As `Ranks.receive`."""
        return self._helpers[sender].receive()

    def _opening(self) -> bytes:
        """Return what a helper must load, and what must then be equal."""
        embedder = self._predictor.embedder
        document = {
            "model": str(self._predictor.loaded.path.absolute()),
            "embedder": None if embedder is None else str(embedder.esm.path.absolute()),
            "settings": asdict(self._settings),
            "identity": identity(self._predictor, self._settings),
        }
        return json.dumps(document).encode()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        """End them all: by an error at once."""
        for helper in self._helpers.values():
            helper.end(at_once=error is not None)


class _Helper:
    """One process, seen from the main one."""

    def __init__(self) -> None:
        # The package that runs here, wherever it was imported from.
        places = [str(Path(betafold_mlx.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "betafold_mlx.library.helper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._pipe = Pipe(self._process.stdout, self._process.stdin)  # type: ignore[arg-type]
        # Read as soon as it comes: two that both wait for the other to read would wait for ever.
        self._received: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def send(self, data: bytes) -> None:
        try:
            self._pipe.send(data)
        except OSError:
            return  # whoever waits for the answer finds out

    def receive(self) -> bytes:
        found = self._received.get()
        if isinstance(found, EOFError):
            status = self._process.wait()
            how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
            raise RankLostError(f"a process that helped to fold is gone ({how})") from found
        if isinstance(found, Exception):
            raise found
        return found

    def end(self, at_once: bool) -> None:
        if at_once:
            self._process.kill()  # it holds nothing that could be lost
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join()
        self._pipe.close()

    def _listen(self) -> None:
        while True:
            try:
                self._received.put(self._pipe.receive())
            except Exception as error:
                self._received.put(error)
                return
