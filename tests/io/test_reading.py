"""What has no end is refused wherever a path is opened; what is too large, before it is read."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from detection.backbones.caffe.caffemodel import read_caffemodel
from detection.backbones.weight_files import read_state
from detection.backbones.weight_list import _read_header
from detection.data.archive import extract_tar
from detection.data.images import read_file, read_header, read_image
from detection.data.label_tables import read_text
from detection.data.synthetic import _drawn_before
from detection.errors import ConfigError, DataError, DetectionError
from detection.evaluation.results import read_coco_json
from detection.io.files import sha256_of_file
from detection.io.reading import MAX_BYTES, VARIABLE, max_bytes, odd_kind, read_plain
from detection.io.tensors import load_tensors
from detection.proposals.mat_file import read_mat
from detection.runs.config_io import read_config_file
from detection.runs.fingerprint import _read as read_fingerprint

READERS: dict[str, Callable[[Path], object]] = {
    "model": load_tensors,
    "weights": read_state,
    "Caffe weights": read_caffemodel,
    "image": read_image,
    "image header": read_header,
    "annotation": read_file,
    "list or table": read_text,
    "hash": sha256_of_file,
    "configuration": read_config_file,
    "detections": read_coco_json,
    "MATLAB boxes": read_mat,
    "fingerprint": read_fingerprint,
    "archive": lambda path: extract_tar(path, path.parent / "new"),
}


@contextmanager
def odd_files(folder: Path) -> Iterator[dict[str, Path]]:
    """Make one of each kind of file that has no end."""
    made = {"a named pipe": folder / "pipe", "a socket": folder / "socket"}
    os.mkfifo(made["a named pipe"])
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(made["a socket"]))
        yield {**made, "a device": Path("/dev/zero")}


@pytest.mark.parametrize("name", READERS)
def test_what_has_no_end_is_refused_by_every_reader(tmp_path: Path, name: str) -> None:
    with odd_files(tmp_path) as made:
        for kind, path in made.items():
            with pytest.raises(DetectionError, match=f"{path}: expected .*, got {kind}"):
                READERS[name](path)


@pytest.mark.parametrize("name", READERS)
def test_a_folder_is_refused_by_every_reader(tmp_path: Path, name: str) -> None:
    with pytest.raises(DetectionError, match=str(tmp_path)):
        READERS[name](tmp_path)


def test_files_that_are_looked_for_are_passed_over_where_they_have_no_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "data.json")
    os.mkfifo(tmp_path / "a.safetensors")
    assert _read_header(tmp_path / "a.safetensors") == {}
    with pytest.raises(DataError, match="expected a new folder"):
        _drawn_before(tmp_path, overwrite=True)


@pytest.mark.parametrize("name", ["model", "weights", "image", "list or table", "detections"])
def test_a_sparse_file_is_refused_by_its_size(tmp_path: Path, name: str) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(50_000_000_000)
    said = f"of at most {MAX_BYTES:,} bytes, got 50,000,000,000; if it is right, set {VARIABLE}"
    with pytest.raises(DetectionError, match=said):
        READERS[name](path)


def test_the_limit_is_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(2**20 + 1))
    read = partial(read_plain, path, "a file")
    assert len(read()) == 2**20 + 1
    monkeypatch.setenv(VARIABLE, str(2.0**-10))
    assert max_bytes() == 2**20
    with pytest.raises(DataError, match="at most 1,048,576 bytes, got 1,048,577"):
        read()
    monkeypatch.setenv(VARIABLE, "8")
    assert max_bytes() == 2 * MAX_BYTES


@pytest.mark.parametrize("text", ["much", "0", "-1", "nan", "inf", "1e300"])
def test_a_limit_that_is_no_size_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ConfigError, match=f"{VARIABLE}: expected a positive number of GiB"):
        max_bytes()


def test_plain_files_folders_and_missing_ones_are_no_odd_kind(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    assert [odd_kind(path) for path in (tmp_path, tmp_path / "a", tmp_path / "b")] == [""] * 3
