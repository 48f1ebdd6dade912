"""How long another process may be silent before it counts as lost."""

from __future__ import annotations

from detection.io.variables import positive_variable

VARIABLE = "DETECTION_SILENT_SECONDS"
"""The environment variable that sets it."""

DEFAULT = 20.0
"""Seconds: with the half minute that torchrun may wait for the others, all is over in a minute."""


def silent_seconds(default: float = DEFAULT) -> float:
    """Return how many seconds another process may be silent.

    Args:
        default: where the environment says nothing.

    Raises:
        ConfigError: if the environment variable is no positive number.
    """
    return positive_variable(VARIABLE, default, "seconds", 1e6)
