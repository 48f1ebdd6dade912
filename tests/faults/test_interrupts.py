"""Ctrl-C ends a command at once with 130 and one line; errors of the machine end it with 2."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from detection.inference import proposal_prefetch as ahead
from detection.io import files
from detection.proposals import dataset
from tests.faults.conftest import Trained
from tests.faults.small import SETTINGS, fail, run, where, write_tree

pytestmark = pytest.mark.usefixtures("interruptible")

COMMANDS = ["propose", "train", "evaluate", "detect"]


def words(name: str, trained: Trained, out: Path) -> tuple[str, ...]:
    """Return a command that searches every image anew and may leave out any."""
    boxes = ("--proposals.folder", str(out / "boxes"))
    skip = ("--data.max_skipped", "1")
    return {
        "propose": ("propose", *trained.where, *boxes, *skip),
        "train": ("train", *SETTINGS, *trained.where, *boxes, *skip, "--out", str(out / "run")),
        "evaluate": (
            *("evaluate", str(trained.run), *boxes, "--out", str(out / "result")),
            *("--evaluation.allow_missing", "true"),
        ),
        "detect": (
            *("detect", str(trained.run), str(trained.tree.root / "JPEGImages")),
            *("--out", str(out / "found")),
        ),
    }[name]


def as_numba_does(*_: object, **__: object) -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        message = "<function search> returned a result with an exception set"
        raise SystemError(message) from error


@pytest.mark.parametrize("name", COMMANDS)
def test_an_interrupt_in_compiled_code_blames_no_image(
    trained: Trained,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(dataset, "propose_all", as_numba_does)
    monkeypatch.setattr(ahead, "propose", as_numba_does)
    one = ("--proposals.workers", "1")
    assert run(*words(name, trained, tmp_path / "out"), *one) == 130
    said = capsys.readouterr().err
    assert said.strip().splitlines()[-1] == "error: interrupted"
    assert ".jpg" not in said
    assert not list((tmp_path / "out").rglob("model.safetensors"))
    assert not list((tmp_path / "out").rglob("metrics.json"))


def computed(process: int) -> float:
    """Return the seconds that a process has computed for."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("searched", [0, 1, 10])
def test_ctrl_c_of_a_terminal_is_one_line(tmp_path: Path, workers: str, searched: int) -> None:
    tree = write_tree(tmp_path / "data", train=100)
    command = (sys.executable, "-m", "detection", "propose", *where(tree, tmp_path / "boxes"))
    child = subprocess.Popen(
        (*command, "--proposals.workers", workers, "--data.max_skipped", "1"),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    while computed(child.pid) < 0.15:  # from here on the command itself has begun
        time.sleep(0.01)
    while len(list((tmp_path / "boxes").rglob("*.safetensors"))) < searched:
        assert child.poll() is None
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGINT)  # a terminal interrupts the workers too
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130, said
    assert said.strip().splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in said
    assert ".jpg" not in said


@pytest.mark.parametrize("name", ["propose", "train", "evaluate"])
@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EIO]
)
def test_a_store_that_cannot_be_written_stops_the_run(
    trained: Trained,
    tmp_path: Path,
    name: str,
    number: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write = files.os.fsync
    calls = iter(range(1000))

    def full(descriptor: int) -> None:
        is_boxes = "boxes" in str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if is_boxes and next(calls) >= 2:
            raise OSError(number, os.strerror(number))
        write(descriptor)

    monkeypatch.setattr(files.os, "fsync", full)
    message = fail(capsys, *words(name, trained, tmp_path / "out"), "--proposals.workers", "1")
    assert message.startswith(str(tmp_path / "out" / "boxes"))
    assert "safetensors" in message
    assert "unreadable" not in message
    assert not list((tmp_path / "out").rglob("model.safetensors"))
    assert not list((tmp_path / "out").rglob("skipped.csv"))


@pytest.mark.parametrize("name", COMMANDS)
def test_memory_that_runs_out_stops_the_run(
    trained: Trained,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def grow(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(dataset, "propose_all", grow)
    monkeypatch.setattr(ahead, "propose", grow)
    one = ("--proposals.workers", "1")
    assert "not enough memory" in fail(capsys, *words(name, trained, tmp_path / "out"), *one)
    assert not list((tmp_path / "out").rglob("skipped.csv"))


def test_a_disk_that_fails_under_an_image_is_no_unreadable_image(
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    read = Path.read_bytes

    def fails(path: Path) -> bytes:
        if path.name == "000002.jpg":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", fails)
    command = words("detect", trained, tmp_path / "out")
    message = fail(capsys, *command, "--proposals.workers", "1")
    assert "000002.jpg: expected a readable file, got Input/output error" in message


def test_a_full_disk_under_the_drawings_is_one_line(
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    command = words("detect", trained, tmp_path / "out")
    assert "no space" in fail(capsys, *command, "--proposals.workers", "1")


def test_drawings_that_a_killed_command_left_go_with_the_next(
    trained: Trained, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "found"
    out.mkdir(parents=True)
    left = out / f".000001.png.{files._machine()}-99999999-0123456789ab.tmp"
    left.write_bytes(b"half a drawing")
    command = words("detect", trained, tmp_path / "out")
    assert run(*command, "--proposals.workers", "1") == 0
    assert not left.exists()
    assert len(json.loads((out / "detections.json").read_text())) == 9


def test_an_interrupted_write_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_bytes_atomic(tmp_path / "1.png", b"drawing")
    assert list(tmp_path.iterdir()) == []
