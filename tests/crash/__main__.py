"""Disturb commands at random moments and on full disks; a line of JSON each, and a table at last.

The exit code is 1 if any result differs from that of an undisturbed run.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch

from tests.crash.commands import COMMANDS, prepare
from tests.crash.lives import all_rounds, table


def main(words=None):
    parser = argparse.ArgumentParser(prog="scripts/crash", description=__doc__)
    parser.add_argument("--verbs", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--kills", type=int, default=20, help="moments of each command")
    parser.add_argument("--interrupts", type=int, default=20, help="with SIGINT, likewise")
    parser.add_argument("--terms", type=int, default=20, help="with SIGTERM, likewise")
    parser.add_argument("--fills", type=int, default=20, help="on full disks, likewise")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no_mounts", action="store_true", help="limit files instead")
    parser.add_argument("--out", type=Path, help="a file of JSON lines to add to and to tabulate")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    counts = {
        "killed": options.kills,
        "interrupted": options.interrupts,
        "terminated": options.terms,
        "fills": options.fills,
    }
    reports = read(options.out)
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        mounts = not options.no_mounts
        for report in all_rounds(Path(folder), options.verbs, counts, options.seed, mounts=mounts):
            print(json.dumps(report), flush=True)  # noqa: T201
            if options.out:
                with options.out.open("a") as file:
                    file.write(json.dumps(report) + "\n")
            reports.append(report)
    print(table(reports))  # noqa: T201
    return (
        1 if any(one["different"] or one["left_over"] or one["unclear"] for one in reports) else 0
    )


def read(out):
    """Return the reports that a file holds already."""
    return list(map(json.loads, out.read_text().splitlines())) if out and out.exists() else []


if __name__ == "__main__":
    sys.exit(main())
