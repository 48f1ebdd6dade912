"""Pool 2,000 windows on the GPU: ``scripts/benchmarks/spp_pooling.py``, its lines as they come."""

from __future__ import annotations

import json
import subprocess
import sys

from common import ROOT, read_settings, write

SCRIPT = ROOT / "scripts" / "benchmarks" / "spp_pooling.py"
SMALLEST = ("--rois", "20", "--repeats", "1", "--loop-repeats", "1", "--threads", "1")


def main() -> int:
    """Run it and write after every line, so that a run that is cut off leaves its first ones."""
    settings = read_settings(__doc__)
    words = ["--json", *(SMALLEST if settings.smoke else ())]
    if settings.device.type == "cuda":  # it takes no other device than this and the CPU
        words += ["--cuda", "1"]
    command = [sys.executable, str(SCRIPT), *words]
    values = {"command": " ".join(["python", str(SCRIPT.relative_to(ROOT)), *words]), "lines": []}
    write(settings, "pooling", values)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for text in process.stdout:
            print(text, end="")
            if text.startswith("{"):
                values["lines"].append(json.loads(text))
                write(settings, "pooling", values)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
