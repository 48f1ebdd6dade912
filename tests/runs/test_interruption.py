import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from detection.config import Config
from detection.runs.config_io import write_config
from detection.runs.interruption import resume_line, says_how_to_resume

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "my run").mkdir()
    (tmp_path / "my run" / "config.yaml").write_text(write_config(Config()))
    return tmp_path / "my run"


def test_the_line_is_a_command_with_the_settings_of_the_run(run: Path) -> None:
    line = f"to continue: detection train --config '{run}/config.yaml' --out '{run}' --resume\n"
    assert resume_line("train", run) == line


def test_a_finished_run_and_none_have_nothing_to_continue(run: Path) -> None:
    assert resume_line("train", run.parent) == ""
    (run / "model.safetensors").write_bytes(b"x")
    assert resume_line("train", run) == ""


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), ValueError()])
def test_interruptions_say_it_and_mistakes_do_not(
    run: Path, error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(type(error)), says_how_to_resume("train", run):
        raise error
    said = capsys.readouterr().err
    assert said == ("" if isinstance(error, ValueError) else resume_line("train", run))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_sigterm_says_it_and_ends_the_process_as_ever(run: Path) -> None:
    program = (
        "import os, signal, sys, time\n"
        "reading, writing = os.pipe()\n"
        "from detection.runs.interruption import says_how_to_resume\n"
        "with says_how_to_resume('pretrain', sys.argv[1]):\n"
        "    forked = os.fork()\n"
        "    if not forked:\n"
        "        os.write(writing, b'!')\n"
        "        time.sleep(60)\n"
        "        os._exit(1)\n"
        "    os.read(reading, 1)\n"
        "    os.kill(forked, signal.SIGTERM), os.waitpid(forked, 0)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, run],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGTERM
    assert done.stderr == resume_line("pretrain", run)
