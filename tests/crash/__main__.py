"""Disturb commands at random moments and on full disks; a line of JSON each, exit code 1 if any
result differs from that of an undisturbed run."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch

from tests.crash.commands import COMMANDS, prepare
from tests.crash.lives import all_rounds


def main(words=None):
    parser = argparse.ArgumentParser(prog="scripts/crash", description=__doc__)
    parser.add_argument("--verbs", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--kills", type=int, default=20, help="rounds of each command")
    parser.add_argument("--interrupts", type=int, default=20, help="with SIGINT, likewise")
    parser.add_argument("--terms", type=int, default=20, help="with SIGTERM, likewise")
    parser.add_argument("--fills", type=int, default=20, help="on full disks, likewise")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no_mounts", action="store_true", help="limit files instead")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    bad = 0
    counts = {
        "killed": options.kills,
        "interrupted": options.interrupts,
        "terminated": options.terms,
        "fills": options.fills,
    }
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        mounts = not options.no_mounts
        for report in all_rounds(Path(folder), options.verbs, counts, options.seed, mounts=mounts):
            print(json.dumps(report), flush=True)  # noqa: T201
            bad += report["different"] + report["left_over"] + len(report["unclear"])
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
