"""The process: a socket, an application, and an end without loss."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from betafold_mlx.errors import BetafoldError

_BACKLOG = 128
_MOST_CONNECTIONS = 256
_KEEP_ALIVE = 15  # seconds that an idle connection is held
_GRACE = 300  # seconds that an answer under way may take after a signal; a full queue takes less


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Parameters
    ----------
    host : str
        Address or name to bind to.
    port : int
        0 for a free one.

    Raises
    ------
    BetafoldError
        No such address, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise BetafoldError(
            f"cannot listen on {host[:60]!r}: {getattr(error, 'strerror', None) or error}"
        ) from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise BetafoldError(
            f"cannot listen on {host} port {port}: {error.strerror or error} (choose another with --port)"
        ) from error
    return bound


def address(bound: socket.socket) -> str:
    """Return the address of a listening socket as a browser takes it."""
    host, port = bound.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def make_server(app: Starlette) -> uvicorn.Server:
    """Return what answers requests to an application."""
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="error",
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
    )
    return uvicorn.Server(config)


def serve(server: uvicorn.Server, bound: socket.socket) -> None:
    """Answer requests until SIGTERM or SIGINT comes: then accept no more, finish those under way, and return.

    Raises
    ------
    KeyboardInterrupt
        At the second SIGINT: what is under way is not finished.
    """
    # uvicorn raises the signals that ended it once more when all is done; they have had their effect.
    with _ignored(signal.SIGTERM, signal.SIGINT):
        server.run(sockets=[bound])
    if server.force_exit:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _ignored(*signals: signal.Signals) -> Iterator[None]:
    """Let signals do nothing, but where something inside handles them itself."""
    if threading.current_thread() is not threading.main_thread():  # only that one is told of signals
        yield
        return
    before = [(number, signal.signal(number, lambda *_: None)) for number in signals]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
