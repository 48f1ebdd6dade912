"""Named tensors and a JSON header in one safetensors file: checked when read, atomic when written.

Nothing is pickled, so reading a file never runs code. The header holds a hash of the tensors: a
flipped bit is found when the file is read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from detection.errors import CheckpointError, shown
from detection.io.files import to_plain, write_bytes_atomic
from detection.io.reading import require_plain

_HEADER = "header"
_DIGEST = "sha256"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors (any device, any strides) with metadata; equal ones make equal files.

    Args:
        path: conventionally ``*.safetensors``.
        tensors: by name.
        metadata: values that JSON can hold.

    Raises:
        DataError: where the disk is full or the folder cannot be written; the old file stays.
    """
    plain = _separate(tensors)
    header = json.dumps(to_plain(dict(metadata)), ensure_ascii=False)
    extra = {_HEADER: header, _DIGEST: _digest(plain, header)}
    write_bytes_atomic(path, _in_order(safetensors.torch.save(plain, metadata=extra)))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read any safetensors file: (tensors on the CPU, header).

    Raises:
        CheckpointError: if the file is missing, truncated, not safetensors, altered, or holds a
            value that is not finite.
    """
    path = Path(path)
    require_plain(path, "a safetensors file", CheckpointError)
    try:
        _read_ahead(path)
        with safetensors.safe_open(str(path), framework="pt", device="cpu") as file:
            extra = file.metadata() or {}
            # A copy: the original is the file itself, and would change, or end, with it.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(_explain(path, error)) from error
    _check(path, tensors, extra)
    return tensors, _header_of(path, extra)


def read_header(path: Path) -> dict[str, Any]:
    """Read what a safetensors file says of itself, without reading its tensors.

    Raises:
        CheckpointError: if the file is missing, truncated or not safetensors.
    """
    path = Path(path)
    require_plain(path, "a safetensors file", CheckpointError)
    try:
        with safetensors.safe_open(str(path), framework="pt", device="cpu") as file:
            extra = file.metadata() or {}
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(_explain(path, error)) from error
    return _header_of(path, extra)


def _header_of(path: Path, extra: Mapping[str, str]) -> dict[str, Any]:
    """Return the header among the metadata, or the metadata of another program's file."""
    try:
        header = json.loads(extra[_HEADER]) if _HEADER in extra else dict(extra)
    except (ValueError, RecursionError) as error:
        message = f"{path}: header: expected JSON, got {error}"
        raise CheckpointError(message) from error
    if not isinstance(header, dict):
        message = f"{path}: header: expected names and values, got {shown(header)}"
        raise CheckpointError(message)
    return header


def _read_ahead(path: Path) -> None:
    """Ask the system for the whole file at once; it is mapped, and comes in small parts else."""
    if hasattr(os, "posix_fadvise"):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(handle)


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy to the CPU what is elsewhere, strided, or a view of memory that others share."""
    plain: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        storage = value.untyped_storage()
        whole = storage.nbytes() == value.nbytes
        alone = all(storage.data_ptr() != p.untyped_storage().data_ptr() for p in plain.values())
        plain[name] = value if whole and alone else value.clone()
    return plain


def _in_order(data: bytes) -> bytes:
    """Sort the metadata of a safetensors file, which the library writes in any order."""
    start = 8 + int.from_bytes(data[:8], "little")
    entries = json.loads(data[8:start])
    entries["__metadata__"] = dict(sorted(entries["__metadata__"].items()))
    head = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)  # the tensors begin at a multiple of eight bytes
    return b"".join((len(head).to_bytes(8, "little"), head, memoryview(data)[start:]))


def _digest(tensors: Mapping[str, Tensor], header: str) -> str:
    """Hash names, shapes, types and values."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        # As bytes: NumPy has no bfloat16.
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check(path: Path, tensors: Mapping[str, Tensor], extra: Mapping[str, str]) -> None:
    """Raise CheckpointError if the tensors are not what was written, or not finite."""
    if _DIGEST in extra and extra[_DIGEST] != _digest(tensors, extra.get(_HEADER, "")):
        message = f"{path}: expected the content it was written with, got altered bytes; restore it"
        raise CheckpointError(message)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.element_size() < 2:
            message = (
                f"{path}: tensor {name}: expected at least 16 bits per number, got {tensor.dtype}"
            )
            raise CheckpointError(message)
        if tensor.is_floating_point() and not is_finite(tensor):
            message = f"{path}: tensor {name}: expected finite values, got NaN or infinity"
            raise CheckpointError(message)


def is_finite(tensor: Tensor) -> bool:
    """Return whether all values are finite, in one pass: the extremes are, and NaN spreads."""
    if tensor.numel() == 0:
        return True
    return bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all())


def _explain(path: Path, error: Exception) -> str:
    """Say in one line why a file is not readable."""
    if isinstance(error, OSError) and not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        return f"{path}: expected a safetensors file, got {what}"
    try:
        size, expected = path.stat().st_size, _expected_size(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{path}: expected a safetensors file, got something else ({error})"
    if size < expected:
        return f"{path}: truncated ({size:,} of {expected:,} bytes); restore or write it again"
    return f"{path}: expected a safetensors file, got a broken one ({error})"


def _expected_size(path: Path) -> int:
    """Return the file size that a safetensors header announces."""
    with path.open("rb") as file:
        prefix = file.read(8)
        size = os.fstat(file.fileno()).st_size
        if len(prefix) < 8:
            return 8
        length = int.from_bytes(prefix, "little")
        if length > 100_000_000:
            message = "not a header"
            raise ValueError(message)
        if size < 8 + length:
            return 8 + length
        entries = json.loads(file.read(length))
    ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
    return 8 + length + max(ends, default=0)
