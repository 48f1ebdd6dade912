"""The command line: ``detection COMMAND ...``. Nothing here imports torch before a command runs."""

from detection.cli.main import main

__all__ = ["main"]
