"""Kill the making of a table at given moments; it is then made to the end by further lives.

``python -m tests.reproduce.killed FOLDER`` prints how each life ended. Lives are forked from a
process that has imported what is needed, so that one costs no start-up time.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from detection.reproduce import run
from detection.reproduce.run import reproduce
from detection.training.finetune import FineTuner
from tests.reproduce.small import TABLE, set_up


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_the_fine_tuning() -> None:
    """Die in the second row, when there is a checkpoint to go on from."""
    step = FineTuner.step

    def last_step(self, index):
        if index == 8:
            die()
        return step(self, index)

    FineTuner.step = last_step


def after_a_row() -> None:
    """Die between two rows, the table written."""
    write = run.write_table

    def last_table(table, results, out):
        files = write(table, results, out)
        if results[2].state == "done":
            die()
        return files

    run.write_table = last_table


def in_a_test() -> None:
    """Die in a row that is trained and not tested."""
    evaluate = run.evaluate

    def last_test(*arguments):
        if arguments[2].parent.name.endswith("ft-fc6"):
            die()
        return evaluate(*arguments)

    run.evaluate = last_test


def life(folder: Path, out: str, accident: Callable[[], None] | None) -> int:
    """Fork a life; return the signal that ended it, 0 for none."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    code = 1
    try:
        if accident:
            accident()
        reproduce(TABLE, set_up(folder, out))
        code = 0
    finally:
        os._exit(code)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    set_up(folder)
    ends = [life(folder, "straight", None)]
    accidents = (in_the_fine_tuning, after_a_row, in_a_test, None)
    ends += [life(folder, "killed", accident) for accident in accidents]
    sys.stdout.write(json.dumps(ends) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
