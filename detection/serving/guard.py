"""What stands before the application: who may ask, how much may be sent, which headers go out."""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FRAMING_BYTES = 64 * 1024
"""What a form may hold besides the file: boundaries, headers of the parts."""

DRAINED_BYTES = 256 * 2**20
"""What is read of a refused body, and thrown away: most clients read no answer before they have
sent everything."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"^(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]/@\s]+))(?::\d+)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardRules:
    """What the guard enforces.

    Attributes:
        loopback_only: refuse requests that were sent to another name than this machine's own: a
            foreign page may point its own name here (DNS rebinding).
        max_upload_bytes: the largest file.
        headers: added to every answer.
    """

    loopback_only: bool
    max_upload_bytes: int
    headers: Mapping[str, str]


class Guard:
    """Refuses foreign hosts, foreign origins and long bodies before anything is read."""

    def __init__(self, app: ASGIApp, rules: GuardRules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(dict(self._rules.headers))
            await send(message)

        headers = Headers(scope=scope)
        refusal = self._refusal(str(scope["method"]), headers)
        if refusal is not None:
            status, why = refusal
            # Who asks whether to send the body is told not to: reading it would say "continue".
            if headers.get("expect", "").lower() != "100-continue":
                await _drain(receive)
            response = JSONResponse({"detail": why}, status, {"Connection": "close"})
            await response(scope, receive, send_with_headers)
            return
        limited = _limited(receive, self._rules.max_upload_bytes)
        await _answer(self._app, scope, limited, send_with_headers)

    def _refusal(self, method: str, headers: Headers) -> tuple[int, str] | None:
        """Return the status and reason with which a request is refused."""
        host = headers.get("host", "")
        if self._rules.loopback_only and not is_loopback_name(host):
            return 400, (
                f"Host: expected 127.0.0.1, localhost or [::1], got {host!r}; to be reached by "
                "another name, start the server with --host"
            )
        if method in _SAFE_METHODS:
            return None
        origin = headers.get("origin")
        if origin is not None and _host_of(origin) != host.lower():
            status = 400 if _host_of(origin) is None else 403
            return status, f"Origin: expected a page of this server, got {origin!r}"
        length = headers.get("content-length", "0")
        limit = self._rules.max_upload_bytes
        if not length.isdecimal() or int(length) > limit + FRAMING_BYTES:
            return 413, too_large(limit)
        return None


async def _answer(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Let the application answer, or say that the server stops where its time has run out."""
    started = False

    async def note(message: Message) -> None:
        nonlocal started
        started = True
        await send(message)

    try:
        await app(scope, receive, note)
    except asyncio.CancelledError:
        if started:
            raise
        headers = {"Retry-After": "10", "Connection": "close"}
        await JSONResponse({"detail": "the server stops"}, 503, headers)(scope, receive, send)


def too_large(limit: int) -> str:
    """Return the message for a file that is too large."""
    return (
        f"image: expected a file of at most {limit / 2**20:g} MiB, got a larger one; make it "
        "smaller, or start the server with a higher --max_upload_mib"
    )


def _host_of(origin: str) -> str | None:
    """Return the host and port of an Origin header; None where it is no address."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def is_loopback_name(host: str) -> bool:
    """Return whether a Host header, with or without a port, names this machine."""
    match = _HOST.match(host)
    if match is None:
        return False
    name = (match["v6"] or match["name"]).lower().rstrip(".")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _limited(receive: Receive, limit: int) -> Receive:
    """Stop a body that turns out longer than it may be."""
    seen = 0

    async def receive_some() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit + FRAMING_BYTES:
            await _drain(receive, message)
            raise HTTPException(413, too_large(limit))
        return message

    return receive_some


async def _drain(receive: Receive, message: Message | None = None) -> None:
    """Read the rest of a body, as far as that is reasonable.

    Args:
        receive: returns the rest.
        message: the last part that was read; None before the first.
    """
    seen = 0
    while seen < DRAINED_BYTES and (message is None or message.get("more_body", False)):
        message = await receive()
        seen += len(message.get("body", b""))
