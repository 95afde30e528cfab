"""A process that helps another of this machine to fold a library: ``python -m betafold_mlx.library.helper``.

It is told over its standard input what to load and what to fold, and answers over its standard output. It ends when
there is no more to do, and when the main process is gone.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from betafold_mlx.device import use_device
from betafold_mlx.distributed.ranks import Ranks
from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.library.pipe import Pipe
from betafold_mlx.library.settings import Settings, identity
from betafold_mlx.library.share import help_main


class _Main(Ranks):
    """The main process, seen from here."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    def send(self, data: bytes, to: int) -> None:
        """Send an answer."""
        self._pipe.send(data)

    def receive(self, sender: int) -> bytes:
        """Return the next task."""
        return self._pipe.receive()


def main() -> None:
    """Help until there is no more to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the main process too, which ends this one
    pipe = Pipe(sys.stdin.buffer, os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # a library that prints must not disturb the answers
    try:
        _help(pipe)
    except BetafoldError as error:
        pipe.send(str(error).encode(), failed=True)
    except (EOFError, BrokenPipeError):
        os._exit(1)  # the main process is gone: nobody to tell


def _help(pipe: Pipe) -> None:
    opening = json.loads(pipe.receive())
    use_device(opening["identity"]["device"])
    predictor = Predictor.load(opening["model"], opening["embedder"])
    settings = Settings(**opening["settings"])
    if json.loads(json.dumps(identity(predictor, settings))) != opening["identity"]:
        raise BetafoldError("the model, its embedder or the package was exchanged while a library is folded")
    help_main(predictor, settings, _Main(pipe))


if __name__ == "__main__":
    main()
