"""Run a script of the checkout as a person would."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_script(script, *words, code=""):
    """Return what a script prints, or code in its place, with the package of this checkout."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    start = ["-c", code] if code else [str(script)]
    line = [sys.executable, *start, *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=environment)
    return done.stdout
