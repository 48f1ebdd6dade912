"""Checkpoints of the pass over the training images in which SVMs and box regressors are trained.

::

    checkpoints/mining/started-00000000.0.safetensors   objects' features, written once
                       examples-00000012.0.safetensors  of the images since the checkpoint before
                       state-00000012.0.safetensors     SVMs and the cache of negatives
                       manifest.json                    which of them belong together

The manifest is written last and names complete files only: whenever a process is killed, the folder
holds a good checkpoint or none. The state is replaced by each checkpoint, the old one being removed
when the new one is complete; the examples of the box regressors only grow.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from detection.errors import DetectionError
from detection.io.files import remove_leftovers, write_json_atomic
from detection.io.tensors import load_tensors, save_tensors

_LOG = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_FILE_BYTES = 1 << 28
"""Tensors go into files of about this size: writing one takes three times as much memory."""
_SECONDS = 60.0
"""After so long an image is worth a checkpoint although the SVMs were not trained anew."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Part:
    """Tensors by name, and values that JSON can hold."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class MiningState:
    """What an interrupted pass goes on from.

    Attributes:
        images: how many have been seen.
        started: what was known before the first.
        state: what the images have changed; None if the first was not reached.
        examples: of the box regressors, in order.
    """

    images: int
    started: Part
    state: Part | None
    examples: tuple[dict[str, Tensor], ...]


class MiningCheckpoints:
    """The folder of the checkpoints of one pass.

    Args:
        folder: of its own; made where it is missing.
        identity: of data and settings, which JSON can hold: a checkpoint of others is not used.
        resume: whether to go on from what the folder holds.
        every: retrainings between checkpoints.
    """

    def __init__(
        self, folder: Path, identity: Mapping[str, Any], *, resume: bool, every: int = 1
    ) -> None:
        self.folder = Path(folder)
        self.every = every
        self._identity = json.loads(json.dumps(identity))
        self._resume = resume
        self._manifest: dict[str, Any] = {}
        self._last = (time.monotonic(), 0)

    def load(self) -> MiningState | None:
        """Return what to go on from; None where there is nothing, or nothing that can be used.

        A checkpoint that is damaged or of other settings is passed over with a warning.
        """
        manifest = self._read_manifest() if self._resume else None
        if manifest is None:
            self.remove()
            return None
        try:
            state = self._loaded(manifest)
        except (DetectionError, KeyError, TypeError, ValueError) as error:
            _LOG.warning("%s: the mining starts anew (%s)", self.folder, error)
            self.remove()
            return None
        self._manifest = manifest
        self._last = (time.monotonic(), manifest["retrainings"])
        self._sweep()
        _LOG.info("%s: mining resumed after image %d", self.folder, state.images)
        return state

    def start(self, started: Part) -> None:
        """Write what is known before the first image."""
        files = self._write("started-00000000", started.tensors)
        self._commit(
            {
                "identity": self._identity,
                "images": 0,
                "retrainings": 0,
                "started": {"files": files, "values": started.values},
                "state": None,
                "examples": [],
            }
        )

    def due(self, retrainings: int) -> bool:
        """Return whether a checkpoint is due after so many retrainings."""
        since, before = self._last
        return retrainings - before >= self.every or time.monotonic() - since > _SECONDS

    def save(
        self, images: int, retrainings: int, state: Part, examples: Mapping[str, Tensor]
    ) -> None:
        """Write a checkpoint.

        Args:
            images: how many have been seen.
            retrainings: how often the SVMs were trained.
            state: what the images have changed.
            examples: of the box regressors, of the images since the checkpoint before.

        Raises:
            DataError: where the disk is full or the folder cannot be written; the old one stays.
        """
        own = self._write(f"examples-{images:08d}", examples) if examples else []
        written = {
            "images": images,
            "retrainings": retrainings,
            "state": {
                "files": self._write(f"state-{images:08d}", state.tensors),
                "values": state.values,
            },
            "examples": [*self._manifest["examples"], *([own] if own else [])],
        }
        self._commit({**self._manifest, **written})
        self._last = (time.monotonic(), retrainings)

    def remove(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # checkpoints of fine-tuning stay
            self.folder.parent.rmdir()

    def _commit(self, manifest: dict[str, Any]) -> None:
        write_json_atomic(self.folder / _MANIFEST, manifest)
        self._manifest = manifest
        self._sweep()

    def _sweep(self) -> None:
        """Remove the files that the manifest does not name."""
        remove_leftovers(self.folder)
        named = set(_named(self._manifest))
        for path in self.folder.glob("*.safetensors"):
            if path.name not in named:
                path.unlink(missing_ok=True)

    def _write(self, stem: str, tensors: Mapping[str, Tensor]) -> list[str]:
        """Write tensors into one file or several; return their names."""
        names = []
        for number, group in enumerate(_grouped(tensors)):
            names.append(f"{stem}.{number}.safetensors")
            save_tensors(self.folder / names[-1], group, {})
        return names

    def _read(self, names: list[str]) -> dict[str, Tensor]:
        """Read what ``_write`` wrote."""
        tensors: dict[str, Tensor] = {}
        for name in names:
            tensors |= load_tensors(self.folder / Path(name).name)[0]
        return tensors

    def _read_manifest(self) -> dict[str, Any] | None:
        """Return the manifest; None where there is none that can be used."""
        path = self.folder / _MANIFEST
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            _LOG.warning("%s: the mining starts anew (%s)", path, error)
            return None
        if not isinstance(manifest, dict) or manifest.get("identity") != self._identity:
            _LOG.warning("%s: of other settings or data; the mining starts anew", path)
            return None
        return manifest

    def _loaded(self, manifest: Mapping[str, Any]) -> MiningState:
        started, state = manifest["started"], manifest["state"]
        return MiningState(
            images=manifest["images"],
            started=Part(tensors=self._read(started["files"]), values=started["values"]),
            state=state and Part(tensors=self._read(state["files"]), values=state["values"]),
            examples=tuple(self._read(names) for names in manifest["examples"]),
        )


def _named(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield the files that a manifest names."""
    yield from manifest["started"]["files"]
    if manifest["state"]:
        yield from manifest["state"]["files"]
    for names in manifest["examples"]:
        yield from names


def _grouped(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Divide tensors into groups of at most ``_FILE_BYTES``, or of one."""
    group: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors.items():
        own = tensor.numel() * tensor.element_size()
        if group and size + own > _FILE_BYTES:
            yield group
            group, size = {}, 0
        group[name] = tensor
        size += own
    yield group
