from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from detection.config import Config
from detection.errors import DataError
from detection.io import files
from detection.io.files import (
    FolderLock,
    remove_leftovers,
    sha256_of_bytes,
    sha256_of_file,
    slug,
    to_plain,
    whole_folder,
    write_bytes_atomic,
    write_json_atomic,
    write_text_atomic,
)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_written_bytes_are_read_back_and_no_temporary_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.bin"
    write_bytes_atomic(path, b"one")
    write_bytes_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert names_in(path.parent) == ["a.bin"]


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "a.txt", "Zürich 山")
    assert (tmp_path / "a.txt").read_bytes() == "Zürich 山".encode()


def test_json_of_nan_is_null_and_of_arrays_a_list(tmp_path: Path) -> None:
    value = {"ap": float("nan"), "boxes": torch.ones(1, 4), "n": np.int64(3), "at": tmp_path}
    write_json_atomic(tmp_path / "a.json", value)
    read = json.loads((tmp_path / "a.json").read_text())
    assert read == {"ap": None, "boxes": [[1.0] * 4], "n": 3, "at": str(tmp_path)}


def test_plain_dataclass_is_a_dict_of_its_fields() -> None:
    plain = to_plain(Config())
    assert plain["features"]["scales"] == [688]
    assert next(iter(plain)) == "data"


def test_sha256_of_a_file_equals_that_of_its_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(data)
    assert sha256_of_file(tmp_path / "a") == sha256_of_bytes(data)
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of_bytes(b"abc") == expected


def test_sha256_of_a_missing_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.bin: expected a readable file, got No such file"):
        sha256_of_file(tmp_path / "gone.bin")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_keeps_the_old_file_and_says_no_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(DataError, match=rf"{path}: no space: need 5,000 bytes, have "):
        files.write_bytes_atomic(path, b"x" * 5000)
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a.bin"]


def test_a_limit_on_the_size_of_a_file_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    code = """
        import resource, signal, sys
        from pathlib import Path
        from detection.errors import DataError
        from detection.io.files import write_bytes_atomic
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write_bytes_atomic(Path(sys.argv[1]), b"x" * 5000)
        except DataError as error:
            print(error)
    """
    result = run_python(code, path)
    expected = f"{path}: expected to write 5,000 bytes, got a limit of 1,000 bytes on one file"
    assert expected in result.stdout, result.stderr
    assert "no space" not in result.stdout
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a.bin"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_a_writer_killed_at_any_moment_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    code = """
        import sys
        from pathlib import Path
        from detection.io.files import write_bytes_atomic
        path = Path(sys.argv[1])
        write_bytes_atomic(path, b"0" * 1_000_000)
        print("started", flush=True)
        for step in range(10_000):
            write_bytes_atomic(path, str(step % 10).encode() * 1_000_000)
    """
    for wait in (0.0, 0.003, 0.011, 0.032, 0.05):
        command = [sys.executable, "-c", textwrap.dedent(code), str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"started\n"
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
        data = path.read_bytes()
        assert len(data) == 1_000_000
        assert len(set(data)) == 1
    remove_leftovers(tmp_path)
    assert names_in(tmp_path) == ["a.bin"]


def test_leftovers_of_killed_writers_are_removed_and_counted(tmp_path: Path) -> None:
    code = """
import os, sys
from detection.io import files
files.os.fsync = lambda descriptor: os._exit(0)
files.write_bytes_atomic(sys.argv[1], b"half")
"""
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.bin"], check=True, timeout=60)
    (left,) = names_in(tmp_path)
    assert left.startswith(".a.bin.")
    assert left.endswith(".tmp")
    (tmp_path / "a.bin").write_bytes(b"whole")
    assert remove_leftovers(tmp_path) == 1
    assert names_in(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("number", [os.getpid(), os.getppid(), 1], ids=["own", "parent", "init"])
def test_what_a_living_process_is_writing_stays(tmp_path: Path, number: int) -> None:
    (tmp_path / f".a.bin.{files._machine()}-{number}-0123456789ab.tmp").write_bytes(b"half")
    assert remove_leftovers(tmp_path) == 0


@pytest.mark.parametrize(
    "owner", ["abcdef-1", "0123456789ab", "", "abcdef-x", f"{10**30}-{10**30}"]
)
def test_what_another_machine_was_writing_stays_for_a_day(tmp_path: Path, owner: str) -> None:
    path = tmp_path / f".a.bin.{owner}-0123456789ab.tmp"
    path.write_bytes(b"half")
    assert remove_leftovers(tmp_path) == 0
    os.utime(path, (time.time() - 90_000,) * 2)
    assert remove_leftovers(tmp_path) == 1


def test_what_an_earlier_process_of_this_number_was_writing_goes(tmp_path: Path) -> None:
    """In a container that is started again, each has the same number."""
    path = tmp_path / f".a.bin.{files._machine()}-{os.getpid()}-0123456789ab.tmp"
    path.write_bytes(b"half")
    os.utime(path, (files._STARTED - 1,) * 2)
    assert remove_leftovers(tmp_path) == 1


@pytest.mark.parametrize("number", [2**22 + 1, 2**70])
def test_a_number_that_no_process_has_is_a_dead_one(tmp_path: Path, number: int) -> None:
    (tmp_path / f".a.bin.{files._machine()}-{number}-0123456789ab.tmp").write_bytes(b"half")
    assert remove_leftovers(tmp_path) == 1


def interrupted(folder: Path) -> None:
    with whole_folder(folder) as partial:
        (partial / "a").write_text("a")
        raise KeyboardInterrupt


def test_a_folder_is_there_when_all_of_it_is(tmp_path: Path) -> None:
    target = tmp_path / "set"
    target.mkdir()
    with whole_folder(target) as partial:
        (partial / "a").write_text("a")
        assert names_in(target) == []
    assert names_in(target) == ["a"]
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "other")
    assert names_in(tmp_path) == ["set"]


def test_what_a_killed_writer_left_of_a_folder_goes_and_nothing_else(tmp_path: Path) -> None:
    dead, alive = (f"{files._machine()}-{process}-0123456789ab" for process in (2**70, 1))
    names = [f".set.{alive}.tmp", f".other.{dead}.tmp", f".set.x.{dead}.tmp", ".set.mine.tmp"]
    for name in (f".set.{dead}.tmp", *names):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - 90_000,) * 2)
    with whole_folder(tmp_path / "set"):
        pass
    assert names_in(tmp_path) == sorted([*names, "set"])


def test_a_file_where_a_folder_is_needed_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be written"):
        write_bytes_atomic(tmp_path / "file" / "a.bin", b"")


def test_a_second_lock_on_a_folder_names_the_first_ones_process(tmp_path: Path) -> None:
    with FolderLock(tmp_path), pytest.raises(DataError, match=rf"locked by pid {os.getpid()},"):
        FolderLock(tmp_path).__enter__()
    assert names_in(tmp_path) == []


def test_the_lock_file_of_a_dead_process_stops_nobody(tmp_path: Path) -> None:
    code = """
        import os, signal, sys
        from pathlib import Path
        from detection.io.files import FolderLock
        FolderLock(Path(sys.argv[1])).__enter__()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run_python(code, tmp_path).returncode == -signal.SIGKILL
    assert names_in(tmp_path) == [".lock"]
    with FolderLock(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def test_of_six_processes_at_the_same_moment_one_gets_the_lock(tmp_path: Path) -> None:
    code = """
        import sys
        from pathlib import Path
        from detection.errors import DataError
        from detection.io.files import FolderLock
        print("ready", flush=True)
        sys.stdin.readline()
        try:
            with FolderLock(Path(sys.argv[1])):
                print("mine", flush=True)
                sys.stdin.readline()
        except DataError as error:
            print(error, flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    processes = [subprocess.Popen(command, **pipes) for _ in range(6)]  # type: ignore[call-overload]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 6
    for process in processes:
        process.stdin.write("go\n")
    answers = sorted(process.stdout.readline() for process in processes)
    for process in processes:
        process.communicate("end\n", timeout=30)
    assert answers[-1] == "mine\n"
    assert all("locked by pid" in answer for answer in answers[:-1])


@pytest.mark.parametrize("name", ["cat", "tvmonitor", "potted-plant", "a.b", "x" * 60])
def test_safe_names_are_their_own_file_names(name: str) -> None:
    assert slug(name) == name


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>", "a/b", "../x", "a\nb", "猫", "x" * 300, "", ".hidden", "a b"],
)
def test_unsafe_names_become_safe_file_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{slug(name)}.txt"
    path.write_text("")
    assert path.parent == tmp_path
    assert path.is_file()
    assert slug(name).isascii()
    assert "/" not in slug(name)
