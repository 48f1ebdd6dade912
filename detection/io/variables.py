"""Environment variables that set a limit."""

from __future__ import annotations

import math
import os

from detection.errors import ConfigError


def positive_variable(name: str, default: float, unit: str, below: float) -> float:
    """Return the value of an environment variable.

    Args:
        name: of the variable.
        default: where it is not set.
        unit: of the value, for the message.
        below: the value must be smaller.

    Raises:
        ConfigError: if it is no positive number below that.
    """
    text = os.environ.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < below:
        message = f"{name}: expected a positive number of {unit}, got {text[:80]!r}"
        raise ConfigError(message)
    return value
