"""The command that writes a detector for other runtimes."""

from __future__ import annotations

import argparse
from pathlib import Path

from detection.cli.command import Command, option
from detection.cli.commands.detector import RUN
from detection.config import Config


def export(options: argparse.Namespace, config: Config) -> None:
    """Write a trained detector as one graph for ONNX Runtime, or for torch without this package.

    SPPnet takes a resized image and boxes, R-CNN warped crops; docs/export.md describes both. ONNX
    needs the extra 'onnx'.
    """
    from detection.runs.folder import model_file

    model_file(options.run)
    from detection.export.write import export_run

    notes = export_run(options.run, options.format, options.out)
    size = options.out.stat().st_size / 2**20
    print(f"{options.out}: {notes['method']} on {notes['backbone']}, {size:.1f} MiB")


EXPORT_COMMANDS = {
    "export": Command(
        run=export,
        options=(
            RUN,
            option("--format", "the kind of file", choices=("onnx", "torch-export"), required=True),
            option("--out", "the file to write", type=Path, metavar="FILE", required=True),
        ),
    ),
}
