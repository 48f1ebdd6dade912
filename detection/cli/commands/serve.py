"""The command that shows detectors to a browser."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from detection.cli.command import Command, folder, of_run, option
from detection.cli.commands.detector import DEVICE, RUN
from detection.cli.parser import whole_number
from detection.config import Config
from detection.io.interrupts import forget

MAX_PIXELS, TIME_LIMIT = 24_000_000, 60.0
"""What an image may have, and the seconds of its search, where the settings allow more."""


def serve(options: argparse.Namespace, config: Config) -> None:
    """Show a page in the browser that finds objects in images, and a JSON interface.

    Settings start from those of the first run; all runs score the same boxes. An image may have
    data.max_pixels, here 24 million at most, and its search may take proposals.time_limit, here 60
    seconds unless the run says otherwise. Needs the extra 'serve'.
    """
    from detection.data.folder import list_images
    from detection.runs.folder import model_file

    for path in (options.run, *options.others):
        model_file(path)
    if options.examples is not None:
        list_images([options.examples])
    from detection.serving.server import Options
    from detection.serving.server import serve as run

    settings = Options(
        host=options.host,
        port=options.port,
        max_upload_mib=options.max_upload_mib,
        queue=options.queue,
        examples=options.examples,
        max_connections=options.max_connections,
    )
    try:
        run([options.run, *options.others], config, settings, device=options.device)
    except KeyboardInterrupt:  # the ordinary end
        forget()
        print("stopped")


def bounded(options: argparse.Namespace) -> Config:
    """Start from the run's configuration with bounds for images that anybody may send.

    A search takes about 100 bytes and, on a slow core, a few microseconds per pixel.
    """
    config = of_run(options)
    pixels = min(config.data.max_pixels, MAX_PIXELS)
    seconds = config.proposals.time_limit or TIME_LIMIT
    return replace(
        config,
        data=replace(config.data, max_pixels=pixels),
        proposals=replace(config.proposals, time_limit=seconds),
    )


def port_number(text: str) -> int:
    """Read a port: 0 to 65535."""
    number = int(text) if text.isdecimal() else -1
    if not 0 <= number <= 65535:
        message = f"expected a port from 0 to 65535, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return number


SERVE_COMMANDS = {
    "serve": Command(
        run=serve,
        options=(
            RUN,
            option("others", "a second detector to compare with, or more", nargs="*", type=Path),
            option("--host", "the address to listen at; 0.0.0.0 for all", default="127.0.0.1"),
            option("--port", "0 takes a free one", type=port_number, default=8000),
            option("--max_upload_mib", "the largest file", type=whole_number, default=20),
            option("--queue", "images that may wait", type=whole_number, default=16),
            option("--max_connections", "open at once", type=whole_number, default=128),
            folder("--examples", "images to try on the page"),
            DEVICE,
        ),
        base=bounded,
        sections=("data", "proposals"),
    ),
}
