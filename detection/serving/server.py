"""From run folders to a server that listens."""

from __future__ import annotations

import importlib.util
import ipaddress
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from detection.config import Config
from detection.data.folder import list_images
from detection.errors import ConfigError

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from detection.serving.connections import Patience

_LOG = logging.getLogger(__name__)

MAX_EXAMPLES = 12
"""Example images on the page; a folder may hold more."""

_COUNTED = ("asyncio", "uvicorn.error", "detection.serving.app", "python_multipart.multipart")
"""Loggers that a stranger can make write."""

_NEEDED = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}
_GRACE_SECONDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the server is reached and what it accepts.

    Attributes:
        host: the address to listen at.
        port: 0 takes a free one.
        max_upload_mib: the largest file.
        queue: how many images may wait.
        examples: a folder of images for the page.
        max_connections: open at once.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    max_upload_mib: int = 20
    queue: int = 16
    examples: Path | None = None
    max_connections: int = 128


def serve(runs: Sequence[Path], config: Config, options: Options, *, device: str = "auto") -> None:
    """Load the detectors and answer requests until the process is interrupted.

    Args:
        runs: folders that ``detection train`` wrote.
        config: how images are decoded and proposals searched.
        options: address and limits.
        device: ``cpu``, ``cuda``, ``auto``.

    Raises:
        ConfigError: if a library is missing, or the address cannot be listened at.
        CheckpointError: if a model is missing or damaged.
        DataError: if there is no example image in the folder.
    """
    require_libraries()
    from detection.serving.app import Limits, make_app
    from detection.serving.connections import Patience, allowed_connections
    from detection.serving.service import load_service

    examples = list_images([options.examples])[:MAX_EXAMPLES] if options.examples else []
    listener = listen(options.host, options.port)
    with listener:
        service = load_service(runs, config, device=device)
        service.warm_up()
        limits = Limits(
            max_upload_bytes=options.max_upload_mib * 2**20,
            places=options.queue,
            loopback_only=is_loopback(options.host),
        )
        _LOG.info("%s: ready; stop with Ctrl-C", address_of(listener))
        patience = Patience(connections=allowed_connections(options.max_connections))
        make_server(make_app(service, limits, examples), patience).run(sockets=[listener])


def make_server(app: FastAPI, patience: Patience) -> uvicorn.Server:
    """Return a server of bounded connections that answers what is queued when it is stopped."""
    import uvicorn

    from detection.serving.connections import BACKLOG, QUEUED, bounded_protocol
    from detection.serving.quiet_log import Counted

    class Server(uvicorn.Server):  # type: ignore[misc]
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            for one in sockets or ():
                one.listen(QUEUED)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # Before open connections are waited for: what is queued has its answer, 503, at once.
            app.state.stop()
            await super().shutdown(sockets)

    settings = uvicorn.Config(
        app,
        http=bounded_protocol(patience),
        backlog=BACKLOG,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    for name in _COUNTED:
        logger = logging.getLogger(name)
        if not any(isinstance(one, Counted) for one in logger.filters):
            logger.addFilter(Counted())
    return Server(settings)


def require_libraries() -> None:
    """Check that what the server is built on is installed.

    Raises:
        ConfigError: naming what is missing.
    """
    missing = [name for module, name in _NEEDED.items() if not importlib.util.find_spec(module)]
    if missing:
        message = (
            f"detection serve: expected the extra 'serve', got no {', '.join(missing)}; "
            "pip install 'sppnet-detection[serve]'"
        )
        raise ConfigError(message)


def listen(host: str, port: int) -> socket.socket:
    """Open the socket to listen at.

    Raises:
        ConfigError: if the address is not this machine's or the port is taken.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        message = (
            f"--host, --port: expected a free address of this machine, got {host} {port} "
            f"({reason}); choose another"
        )
        raise ConfigError(message) from error


def address_of(listener: socket.socket) -> str:
    """Return the URL to open in a browser on this machine."""
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "127.0.0.1" if listener.family == socket.AF_INET else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Return whether a listening address is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
