"""Kill or stop a process of a training under torchrun: the others end, and --resume goes on.

``python scripts/experiments/stop_a_rank.py --config synthetic_sppnet --out runs/x`` trains with two
processes without trouble; then again, and kills the second one (SIGKILL) once there is a
checkpoint; then again, and stops it (SIGSTOP). Each time it waits until all have ended, continues
with ``--resume`` and compares the model with the first one, byte for byte. What else is on the
command line is passed on to ``detection train``, which has to fine-tune. Linux only.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from processes import descendants, told

SIGNALS = {"killed": signal.SIGKILL, "stopped": signal.SIGSTOP}


def start(words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a training of two processes on one thread each; what they say goes to a file."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}"]
    line = [sys.executable, *launcher, "-m", "detection", "train", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        return subprocess.Popen(line, env=environment, stdout=file, stderr=file)


def finish(words: Sequence[str], log: Path) -> None:
    """Train to the end.

    Raises:
        SystemExit: where that fails.
    """
    if start(words, log).wait() != 0:
        raise SystemExit(f"expected exit code 0, got another; see {log}")


def disturb(training: subprocess.Popen[bytes], out: Path, number: signal.Signals) -> list[int]:
    """Send a signal to the second process once there is a checkpoint; return all processes.

    Raises:
        SystemExit: where the training ends before.
    """
    while training.poll() is None:
        processes = descendants(training.pid)
        ranks = [p for p in processes if "\0RANK=1\0" in told(p, "environ")]
        if ranks and any(out.rglob("step-*.pt")):
            os.kill(ranks[0], number)
            return processes
        time.sleep(0.05)
    raise SystemExit("expected a checkpoint before the end, got none; checkpoint more often")


def errors_in(log: Path) -> list[str]:
    """Return the lines of error of a training."""
    lines = log.read_text(errors="replace").splitlines()
    return [line for line in lines if line.startswith("error:")]


def main() -> None:
    """Train, disturb, resume and compare."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    options, words = parser.parse_known_args()
    model = "model.safetensors"
    finish([*words, "--out", str(options.out / "sound")], options.out / "sound.log")
    expected = (options.out / "sound" / model).read_bytes()
    different, closing = 0, []
    for what, number in SIGNALS.items():
        out, log = options.out / what, options.out / f"{what}.log"
        training = start([*words, "--out", str(out)], log)
        processes = disturb(training, out, number)
        began = time.monotonic()
        training.wait()
        while any("train" in told(process, "cmdline") for process in processes):
            time.sleep(0.05)
        seconds, said = time.monotonic() - began, errors_in(log)
        finish([*words, "--out", str(out), "--resume"], options.out / f"{what}-resumed.log")
        equal = (out / model).read_bytes() == expected
        different += not equal
        closing += [
            f"rank 1 {what}: all ended after {seconds:.0f} s, {len(said)} line of error; resumed: "
            f"{model} {'equal' if equal else 'DIFFERENT'}",
            *said,
        ]
    print("\n".join(closing))
    sys.exit(different > 0)


if __name__ == "__main__":
    main()
