"""Send a server with a tiny detector many hostile requests: no failure, no growth, nobody waits.

python scripts/hostile_requests.py [REQUESTS], from the root of a checkout with the extras serve and
fast. Prints the server's memory before and after; the exit code is 1 for an answer that may not be.
"""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.serving.hostile import NAMES, attack

ROOT = Path(__file__).resolve().parent.parent
SERVER = """
from tests.serving import served
with served.listening(served.service("sppnet")) as address:
    print(address, flush=True)
    import sys
    sys.stdin.read()
"""


def memory_mib(process: int) -> float:
    """Return what a process holds in memory, in MiB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


requests = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
with subprocess.Popen(
    [sys.executable, "-c", SERVER],
    cwd=ROOT,
    env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
) as server:
    address = server.stdout.readline().strip()
    attack(address, 100, seed=1)  # what is loaded and kept at first use
    before = memory_mib(server.pid)
    outcome = attack(address, requests)
    after = memory_mib(server.pid)
    server.stdin.close()
print(f"{outcome.format()}; memory {before:.0f} MiB before, {after:.0f} MiB after")
for kind, status in sorted(set(outcome.wrong)):
    print(f"wrong: {kind}: {NAMES.get(status, status)}")
sys.exit(bool(outcome.wrong))
