from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from detection.errors import CheckpointError
from detection.io.tensors import load_tensors, read_header, save_tensors


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "m.safetensors"
    tensors = {"weight": torch.arange(12.0).reshape(3, 4), "bias": torch.zeros(3)}
    save_tensors(path, tensors, {"class_names": ["cat", "Hund"], "factor": 1e-4})
    return path


def test_tensors_and_header_come_back_as_written(saved: Path) -> None:
    tensors, header = load_tensors(saved)
    assert set(tensors) == {"weight", "bias"}
    assert torch.equal(tensors["weight"], torch.arange(12.0).reshape(3, 4))
    assert header == {"class_names": ["cat", "Hund"], "factor": 1e-4}


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(12.0).reshape(3, 4).T,
        torch.arange(12.0).reshape(3, 4)[1:, 1:],
        torch.zeros(0, 4),
        torch.tensor(2.0),
        torch.tensor([True, False]),
        torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        torch.tensor([2**40]),
        torch.nn.Parameter(torch.ones(2)),
    ],
    ids=["transposed", "part", "empty", "scalar", "bool", "bfloat16", "int64", "parameter"],
)
def test_any_tensor_comes_back_equal(tensor: torch.Tensor, tmp_path: Path) -> None:
    save_tensors(tmp_path / "m", {"t": tensor, "same memory": tensor}, {})
    read = load_tensors(tmp_path / "m")[0]
    for name in ("t", "same memory"):
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor.detach())


def test_a_file_of_another_programme_is_read_without_a_header(tmp_path: Path) -> None:
    safetensors.torch.save_file({"w": torch.ones(2)}, tmp_path / "w", metadata={"format": "pt"})
    tensors, header = load_tensors(tmp_path / "w")
    assert torch.equal(tensors["w"], torch.ones(2))
    assert header == {"format": "pt"}


def test_a_header_is_read_without_the_tensors(saved: Path, tmp_path: Path) -> None:
    assert read_header(saved) == load_tensors(saved)[1]
    data = saved.read_bytes()
    half = tmp_path / "half"
    half.write_bytes(data[:-4])
    for path, said in ((half, "truncated"), (tmp_path / "none", "no such file")):
        with pytest.raises(CheckpointError, match=said):
            read_header(path)


@pytest.mark.parametrize("cut", [0, 4, 10, 200, -10])
def test_a_truncated_file_is_refused_with_both_sizes(saved: Path, cut: int) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[:cut])
    size = len(data[:cut])
    with pytest.raises(CheckpointError, match=rf"m.safetensors: truncated \({size} of \d+ bytes"):
        load_tensors(saved)


def test_every_flipped_bit_of_the_values_is_found(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    for position in range(len(data) - 60, len(data), 7):
        changed = bytearray(data)
        changed[position] ^= 1
        saved.write_bytes(changed)
        with pytest.raises(CheckpointError, match="altered bytes"):
            load_tensors(saved)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_by_name(tmp_path: Path, bad: float) -> None:
    save_tensors(tmp_path / "m", {"fine": torch.ones(2), "fc6": torch.tensor([1.0, bad])}, {})
    with pytest.raises(CheckpointError, match="tensor fc6: expected finite values"):
        load_tensors(tmp_path / "m")


@pytest.mark.parametrize("content", [b"PK\x03\x04 a pickle in a zip", b"<html>" * 50])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"w.pt: expected a safetensors file"):
        load_tensors(tmp_path / "w.pt")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        load_tensors(tmp_path / "gone")
    with pytest.raises(CheckpointError, match="a folder"):
        load_tensors(tmp_path)


def test_equal_tensors_and_headers_make_equal_files(tmp_path: Path) -> None:
    """The library's order of its metadata changes from call to call."""
    tensors = {"b": torch.arange(3.0), "a": torch.ones(2, 2)}
    contents = set()
    for number in range(20):
        path = tmp_path / str(number)
        save_tensors(path, tensors, {"x": [1, 2], "name": "\u00e9"})
        contents.add(path.read_bytes())
        loaded, header = load_tensors(path)
        assert header == {"x": [1, 2], "name": "\u00e9"}
        assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert len(contents) == 1
