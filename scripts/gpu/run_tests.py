"""Run the test suite where its tests on a GPU are not skipped: what matters first, or the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from common import ROOT, read_settings, write

from detection.io.device import device_name

FIRST = ("devices", "features", "heads", "training", "test_postprocess.py")
TWICE = "tests/devices/test_fake_gpu.py::test_the_same_on_the_cpu_and_on_a_device"
"""The fake GPU's part of what runs on the real one as well."""


def words_of(part: str, *, smoke: bool) -> list[str]:
    """Return the words for pytest; one process takes all tests of a file, which share set-ups."""
    paths = [f"tests/{name}" for name in FIRST]
    if smoke:
        alone = {"first": "tests/heads/test_normalisation.py", "rest": "tests/runs/test_skipped.py"}
        return [alone[part], "-n", "0"]
    several = ["-n", "6", "--dist", "loadfile"]
    if part == "first":
        return [*paths, *several, "-m", "gpu or not slow", f"--deselect={TWICE}"]
    return ["tests", *several, *(f"--ignore={path}" for path in paths)]


def main() -> int:
    """Run them in a process of their own, which counts into ``gpu_tests.json`` as it goes."""
    settings = read_settings(__doc__, part=("first", "rest"))
    part = settings.words.part
    if part == "first":
        write(settings, "tests", {})
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ["PYTHONPATH"]]),
        "GPU_TALLY": str(settings.out.resolve() / "gpu_tests.json"),
        "GPU_PART": part,
        "GPU_CARD": device_name(settings.device),
    }
    # the plug-in pytest-benchmark, where it is installed, turns a warning of its own into an error
    pytest = [sys.executable, "-m", "pytest", "-p", "tally", "-p", "no:benchmark"]
    pytest += ["-p", "no:cacheprovider", "--timeout", "200", "-q"]
    words = words_of(part, smoke=settings.smoke)
    return subprocess.run([*pytest, *words], cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
