"""What torchrun tells the processes that it starts, checked before anything waits for others."""

from __future__ import annotations

import os

from detection.errors import ConfigError

_NEEDED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_REMEDY = "start it with torchrun --nproc_per_node 2, or unset WORLD_SIZE for one process"


def world_size() -> int:
    """Return the number of processes that train together; 1 without torchrun.

    Raises:
        ConfigError: if the variables that torchrun sets are incomplete or no numbers.
    """
    size = _number("WORLD_SIZE", os.environ.get("WORLD_SIZE") or "1", 1)
    if size == 1:
        return 1
    missing = [name for name in _NEEDED if not os.environ.get(name)]
    if missing:
        message = f"WORLD_SIZE {size}: expected {', '.join(missing)} beside it, got none; {_REMEDY}"
        raise ConfigError(message)
    for name in ("RANK", "LOCAL_RANK", "MASTER_PORT"):
        _number(name, os.environ[name], 0)
    if int(os.environ["RANK"]) >= size:
        message = f"RANK: expected less than WORLD_SIZE {size}, got {os.environ['RANK']}; {_REMEDY}"
        raise ConfigError(message)
    return size


def _number(name: str, text: str, least: int) -> int:
    number = int(text) if text.isascii() and text.isdecimal() else -1
    if number < least:
        message = f"{name}: expected a number from {least}, got {text!r:.40}; {_REMEDY}"
        raise ConfigError(message)
    return number
