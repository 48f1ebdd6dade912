"""How long another process may be silent before it counts as lost."""

from __future__ import annotations

import math
import os

from detection.errors import ConfigError

VARIABLE = "DETECTION_SILENT_SECONDS"
"""The environment variable that sets it."""

DEFAULT = 25.0
"""Seconds: with the half minute in which torchrun ends the others, all is over within a minute."""


def silent_seconds() -> float:
    """Return how many seconds another process may be silent.

    Raises:
        ConfigError: if the environment variable is no positive number.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return DEFAULT
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < 1e6:
        message = f"{VARIABLE}: expected a positive number of seconds, got {text[:80]!r}"
        raise ConfigError(message)
    return seconds
