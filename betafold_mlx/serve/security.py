"""Security middleware: host check, origin check, headers."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from betafold_mlx.serve.error_responses import error_response
from betafold_mlx.serve.server import MAX_BATCH_BODY, MAX_BODY

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content security policy of the pages: nothing is loaded from or sent to another server."""

REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads allow-modals; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""Content security policy of a report, which itself names its inline scripts by their hashes.

The sandbox gives it an origin of its own: it can reach neither the page nor this server.
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
"""Headers of every response that does not set them itself."""

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


_TOO_LARGE = error_response(
    413, f"too long: {MAX_BODY >> 10} kB are read of a peptide, and {MAX_BATCH_BODY >> 10} kB of a FASTA file"
)
"""In the place of Starlette's answer to a body above a path's limit, which is plain text."""


class SecurityMiddleware:
    """Refuse what pages of other sites can make a browser send here, and add the security headers.

    The ``Host`` must be an address, ``localhost`` or an allowed name: a name that was pointed at this machine (DNS
    rebinding) is none of these. (Starlette's TrustedHostMiddleware compares names only; an address cannot be pointed
    elsewhere, so any address will do.) Requests that change something must also come from a page of this server, by
    ``Origin`` and ``Sec-Fetch-Site``; clients that are no browser send neither.

    Parameters
    ----------
    app : ASGI application
        The application behind it.
    names : iterable of str
        Allowed host names besides ``localhost``.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str] = ()) -> None:
        self._app = app
        self._names = {"localhost", *(name.lower().rstrip(".") for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        refused = False

        async def send_with_headers(message: Message) -> None:
            nonlocal refused
            if refused:
                return  # the rest of Starlette's answer
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if message["status"] == 413 and headers["content-type"].startswith("text/plain"):
                    await _TOO_LARGE(scope, receive, send_with_headers)
                    refused = True
                    return
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        app: ASGIApp = self._app
        if not self._known_host(headers):
            app = error_response(
                421,
                "this server is not known under that name: use its address, or start it with --allow-host",
            )
        elif scope["method"] not in _SAFE_METHODS and not _from_here(headers):
            app = error_response(403, "a page of another site may not ask this server for that")
        await app(scope, receive, send_with_headers)

    def _known_host(self, headers: Headers) -> bool:
        hosts = headers.getlist("host")
        match = (
            re.fullmatch(r"(\[[0-9a-f:.]+\]|[\w.-]+)(:\d+)?", hosts[0].lower()) if len(hosts) == 1 else None
        )
        if match is None:
            return False
        name = match[1].strip("[]").rstrip(".")
        return name in self._names or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _from_here(headers: Headers) -> bool:
    """Tell whether a request comes from a page of this server, or from no page at all."""
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc.lower() == headers["host"].lower()
    except ValueError:
        return False
