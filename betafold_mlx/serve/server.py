"""The process: server limits, socket, HTTP server."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI

from betafold_mlx.errors import BetafoldError

MAX_BODY = 16 << 10
"""Bytes of a request for one peptide."""

MAX_BATCH_BODY = 1 << 20
"""Bytes of a request with a FASTA file."""

_BACKLOG = 128
_MAX_CONNECTIONS = 256
_KEEP_ALIVE = 15  # seconds that an idle connection is held
_ARRIVAL = 60  # seconds that a request may take to arrive
_GRACE = 300  # seconds that an answer under way may take after a signal; a full queue takes less


@dataclass(frozen=True)
class ServerLimits:
    """Bounds that keep the memory of a server from growing, whatever it is asked."""

    queue: int = 16  # folds that wait for the model or are under way; the next is answered with 503
    samples: int = 20  # models of one peptide
    records: int = 1000  # records of one FASTA batch
    predictions: int = 200  # latest predictions that can be downloaded
    batches: int = 4  # latest FASTA batches that are kept
    running_batches: int = 2  # those folded at the same time


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address or host name; port 0 takes a free one.

    Raises
    ------
    BetafoldError
        No such address, or the port is taken.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except socket.gaierror as error:
        raise BetafoldError(f"cannot listen on {host[:60]!r}: {error.strerror}") from error
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BetafoldError(
            f"cannot listen on {host[:60]} port {port}: {reason} (choose another with --port)"
        ) from error


def address(bound: socket.socket) -> str:
    """Return the address of a listening socket as a browser takes it."""
    host, port = bound.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


class _Server(uvicorn.Server):
    """Closes connections whose request does not arrive in time; uvicorn closes only those that wait for another one."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        # Since when: by the connection and its request before.
        self._arriving: dict[tuple[Any, Any], float] = {}

    async def on_tick(self, counter: int) -> bool:
        """Look after the connections once a second; uvicorn calls this ten times a second."""
        if counter % 10 == 0:
            self._close_late()
        return await super().on_tick(counter)

    def _close_late(self) -> None:
        now, before, self._arriving = time.monotonic(), self._arriving, {}
        connections: set[Any] = self.server_state.connections
        for connection in connections:
            if connection.conn.their_state in (h11.IDLE, h11.SEND_BODY):
                key = connection, connection.cycle
                self._arriving[key] = before.get(key, now)
                if now - self._arriving[key] > _ARRIVAL:
                    connection.transport.abort()


def make_server(app: FastAPI) -> uvicorn.Server:
    """Return the server of an application: after a signal it takes no more requests, and finishes those under way."""
    config = uvicorn.Config(
        app,
        http="h11",
        access_log=False,
        log_level="error",
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
    )
    return _Server(config)
