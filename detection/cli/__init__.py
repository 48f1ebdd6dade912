"""The command line: ``detection VERB ...``. Nothing here imports torch before a verb runs."""

from detection.cli.main import main

__all__ = ["main"]
