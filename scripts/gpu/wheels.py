"""Install the wheels of a folder that this Python lacks, without the internet.

``python scripts/gpu/wheels.py WHEELS TARGET``. TARGET is to be put on PYTHONPATH; what is installed
already stays as it is.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def missing(wheels: Sequence[Path]) -> list[Path]:
    """Return the wheels whose distribution is not installed, of whatever version."""
    there = {
        re.sub(r"[-_.]+", "_", found.name).lower() for found in importlib.metadata.distributions()
    }
    return [path for path in wheels if path.name.split("-")[0].lower() not in there]


def main() -> int:
    """Install and say what."""
    source, target = map(Path, sys.argv[1:])
    lacking = missing(sorted(source.glob("*.whl")))
    if not lacking:
        print(f"{source}: no wheel that is lacking here")
        return 0
    print(f"installing {', '.join(path.name for path in lacking)}")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    command = [*pip, "--target", str(target), *map(str, lacking)]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
