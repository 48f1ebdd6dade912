"""Run commands at the same moment: ``python -m tests.faults.at_once JSON`` prints how they ended.

Each command runs in a process that is forked from one that has imported what is needed, so that all
of them begin together. The JSON is a list of lists of words; what comes out is a list of
``[exit code, error output]``, in their order.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import torch

from detection.cli.main import main
from detection.inference.dataset import evaluate
from detection.proposals.selective_search.native import warm_up
from detection.training.pipeline import train

IMPORTED = (evaluate, train)


def start(words: list[str], barrier: int, error_file: Path) -> int:
    """Fork a process that begins when the pipe is closed; return its process id."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        torch.set_num_threads(1)
        with error_file.open("w") as sys.stderr, Path(os.devnull).open("w") as sys.stdout:
            os.read(barrier, 1)
            code = main(words)
            sys.stderr.flush()
    finally:
        os._exit(code)


def run_at_once(commands: list[list[str]]) -> list[tuple[int, str]]:
    """Run all commands; return exit code and error output of each."""
    warm_up()
    reading, writing = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / str(number) for number in range(len(commands))]
        children = []
        for words, file in zip(commands, files, strict=True):
            children.append(start(words, reading, file))
        os.write(writing, b"!" * len(commands))
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        return [(code, file.read_text()) for code, file in zip(codes, files, strict=True)]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run_at_once(json.loads(sys.argv[1]))) + "\n")
