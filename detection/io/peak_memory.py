"""The peak memory of a part of a program's life, where the system can tell it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

_PROCESS = Path("/proc/self")
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def start_peak_memory() -> Callable[[], float | None]:
    """Return what returns the peak memory of this process since this call, GiB.

    It is None where the system cannot begin anew (all but Linux). What the process held at the call
    counts too; memory of a GPU and of other processes does not.
    """
    try:
        (_PROCESS / "clear_refs").write_text("5")  # the peak becomes what is held now
    except OSError:
        return lambda: None
    return _peak_gib


def _peak_gib() -> float | None:
    with contextlib.suppress(OSError):
        found = _PEAK.search((_PROCESS / "status").read_text())
        if found:
            return int(found[1]) / 2**20
    return None
