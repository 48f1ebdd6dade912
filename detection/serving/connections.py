"""Connections that stay bounded: in number, in the time of their headers, in that of a request."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

RESERVED_DESCRIPTORS = 64
"""Descriptors that are not connections: libraries, images, pipes of worker processes."""

BACKLOG = 128
"""Connections that the system may hand over at once, before any of them is looked at."""

QUEUED = 1024
"""Connections that wait in the system, which takes no descriptor; it resets those beyond."""

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    b'Connection: close\r\n\r\n{"detail": "too many connections; try again in 1 s"}'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How many connections there may be, and how long each may take.

    Attributes:
        connections: open at once.
        header_seconds: for the request line and the headers, from the first moment on.
        request_seconds: for the whole request, the file included.
    """

    connections: int = 128
    header_seconds: float = 10.0
    request_seconds: float = 120.0


def allowed_connections(wanted: int) -> int:
    """Return how many connections the process's descriptors allow, at most those wanted."""
    if sys.platform == "win32":
        return wanted
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, limit - RESERVED_DESCRIPTORS - BACKLOG))


def bounded_protocol(patience: Patience) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol with these bounds.

    Where there are too many connections, the one that has been silent for longest goes: who sends a
    request at once is served, whoever else only holds a connection.
    """
    quiet: dict[Any, None] = {}  # connections whose headers have not come, oldest first

    class Bounded(H11Protocol):  # type: ignore[misc]
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            if len(self.connections) >= patience.connections:
                oldest = next(iter(quiet), None)
                if oldest is None:
                    transport.write(_FULL)
                    transport.close()
                    return
                oldest.give_up()
                self.connections.discard(oldest)
            super().connection_made(transport)
            self._wait_for_headers()

        def data_received(self, data: bytes) -> None:
            if self.transport is None:  # refused
                return
            if self._timer is None:
                self._wait_for_headers()
            super().data_received(data)
            self._look()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            if self.transport is not None:
                super().connection_lost(exc)

        def on_response_complete(self) -> None:
            self._stop()
            super().on_response_complete()
            self._look()

        def give_up(self) -> None:
            """Close the connection at once."""
            self._stop()
            self.transport.abort()

        def _look(self) -> None:
            """Go from one deadline to the next as the parts of a request come in."""
            if self.cycle is None or self.cycle.response_complete:
                return
            if not self.cycle.more_body:
                self._stop()
            elif self in quiet:
                self._wait(patience.request_seconds)

        def _wait_for_headers(self) -> None:
            self._wait(patience.header_seconds)
            quiet[self] = None

        def _wait(self, seconds: float) -> None:
            self._stop()
            self._timer = self.loop.call_later(seconds, self.give_up)

        def _stop(self) -> None:
            quiet.pop(self, None)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Bounded
