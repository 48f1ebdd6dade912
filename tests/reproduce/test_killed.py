"""A table whose making is killed three times ends as one that is made in one go."""

import json
import os
import signal
import subprocess
import sys

import pytest

from detection.reproduce.settings import Choices
from tests.reproduce.small import values_of


@pytest.mark.slow
def test_a_table_that_was_killed_in_rows_and_between_them_ends_the_same(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.reproduce.killed", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout.splitlines()[-1])
    killed = int(signal.SIGKILL)
    assert ends == [0, killed, killed, killed, 0]
    straight, resumed = (Choices(out=tmp_path / name) for name in ("straight", "killed"))
    assert values_of(resumed) == values_of(straight)
    clock = json.loads((tmp_path / "killed/trainings/tiny-ft-fc7.time.json").read_text())
    assert not clock["whole"]
