"""What every request passes: who may ask, how many at a time, and the headers of the answer."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from betafold_mlx.serve.problems import RequestError

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content security policy of the pages: what is not from this server is neither loaded nor sent to."""

REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads allow-modals; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""That of a report: its inline scripts, which it names by their hashes itself, in an origin of its own.

So they can reach neither the page nor this server.
"""

HEADERS = {
    "content-security-policy": PAGE_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
"""Of every answer that says nothing else."""

_SAFE = ("GET", "HEAD", "OPTIONS")
_BUSY_SECONDS = 1


class Guard:
    """ASGI middleware that refuses requests from elsewhere.

    A page of another site can make a browser send requests here. It is refused by ``Host``, where its name was pointed
    at this machine (DNS rebinding: an address, ``localhost`` or a name that the user allowed cannot be pointed), and
    for what is not a plain read by ``Origin`` and ``Sec-Fetch-Site``. Clients that are no browser send neither.

    Parameters
    ----------
    app : ASGI application
        What is guarded.
    names : iterable of str
        Host names, other than ``localhost``, under which the server may be asked.
    requests : int
        Requests at the same time; the next is answered with 503.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str], requests: int) -> None:
        self._app = app
        self._names = {name.lower().rstrip(".") for name in names} | {"localhost"}
        self._requests = requests
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(scope["method"], Headers(scope=scope))
            if self._under_way >= self._requests:
                raise RequestError(503, "too many requests at a time", retry_after=_BUSY_SECONDS)
        except RequestError as error:
            await _refuse(error, send_guarded)
            return
        self._under_way += 1
        try:
            await self._app(scope, receive, send_guarded)
        finally:
            self._under_way -= 1

    def _check(self, method: str, headers: Headers) -> None:
        hosts = headers.getlist("host")
        name = _name(hosts[0]) if len(hosts) == 1 else ""
        if not (_is_address(name) or name in self._names):
            raise RequestError(
                421,
                "this server is not known under that name: use its address, or start it with --allow-host",
            )
        if method in _SAFE:
            return
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        if (origin is not None and _netloc(origin) != hosts[0].lower()) or site not in (
            "same-origin",
            "none",
        ):
            raise RequestError(403, "another site may not ask this server for that")


async def _refuse(error: RequestError, send: Send) -> None:
    body = json.dumps(error.document()).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _name(host: str) -> str:
    """Return the name or address in a ``Host`` header, empty for what is none."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises for what is no number
    except ValueError:
        return ""
    plain = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    return (parts.hostname or "").rstrip(".") if plain else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
