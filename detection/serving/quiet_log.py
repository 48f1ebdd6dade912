"""Log lines that repeat are counted instead of written: a stranger must not fill the disk."""

from __future__ import annotations

import logging
import re
import time

PERIOD_SECONDS = 10.0
MOST_KINDS = 1000


class Counted(logging.Filter):
    """Lets a message through once a period; the next one says how many there were between."""

    def __init__(self, period: float = PERIOD_SECONDS) -> None:
        super().__init__()
        self._period = period
        self._seen: dict[tuple[str, int, str], list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is written; ``record`` takes the count of those before it."""
        # Some write their numbers into the text, such as the place of a wrong letter in a form.
        key = (record.name, record.levelno, re.sub(r"\d+", "0", str(record.msg)))
        now = time.monotonic()
        if len(self._seen) > MOST_KINDS:
            self._seen.clear()
        last = self._seen.get(key)
        if last is not None and now - last[0] < self._period:
            last[1] += 1
            return False
        if last is not None and last[1]:
            record.msg = f"{record.getMessage()} ({last[1]:.0f} more of these since)"
            record.args = ()
        self._seen[key] = [now, 0.0]
        return True
