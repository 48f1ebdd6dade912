"""A plug-in of pytest that counts outcomes into a JSON file while the tests run.

A suite that is cut off by its time limit leaves what it got to. ``GPU_TALLY`` names the file,
``GPU_PART`` the key in it, ``GPU_CARD`` the GPU.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

EVERY_S = 1.0


class Tally:
    """Counts, and writes at most once a second."""

    def __init__(self, path: Path, part: str, card: str) -> None:
        self.path, self.part = path, part
        self.file: dict[str, Any] = {"card": card}
        if path.exists():
            self.file = json.loads(path.read_text(encoding="utf-8"))
        self.start = self.written = time.monotonic()
        self.counts = {"passed": 0, "failed": 0, "skipped": 0, "gpu_passed": 0}
        self.failures: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count one phase of one test: its call, or a set-up that skips or fails."""
        if report.when != "call" and report.outcome == "passed":
            return
        self.counts[report.outcome] += 1
        self.counts["gpu_passed"] += report.outcome == "passed" and "gpu" in report.keywords
        if report.outcome == "failed":
            self.failures.append(report.nodeid)
        if time.monotonic() - self.written > EVERY_S:
            self.write(complete=False)

    def pytest_sessionfinish(self) -> None:
        """Write that nothing was cut off."""
        self.write(complete=True)

    def write(self, *, complete: bool) -> None:
        """Write what was counted so far."""
        self.written = time.monotonic()
        found = {**self.counts, "failures": self.failures, "complete": complete}
        self.file[self.part] = found | {"seconds": round(self.written - self.start, 1)}
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.file, indent=1), encoding="utf-8")
        part.replace(self.path)


def pytest_configure(config: pytest.Config) -> None:
    """Count in the process that hears of all tests, not in its workers."""
    if not hasattr(config, "workerinput"):
        names = ("GPU_TALLY", "GPU_PART", "GPU_CARD")
        path, part, card = (os.environ[name] for name in names)
        config.pluginmanager.register(Tally(Path(path), part, card))
