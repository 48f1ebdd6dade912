"""Proposals on disk: one small file per image, with everything that they depend on.

A file is used only if the image file's content, the parameters and the backend's version are those
that it was written with; otherwise it is computed anew. Files are written atomically, so that
several processes, or several runs, may fill the same store, and a killed one loses at most the
images that it was working on. The whole ranked list is kept; ``max_boxes`` cuts when loading.
"""

from __future__ import annotations

import logging
import urllib.parse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from detection.config import ProposalConfig
from detection.errors import CheckpointError, ImageError
from detection.io.files import sha256_of_bytes, sha256_of_file, to_plain
from detection.io.tensors import load_tensors, save_tensors
from detection.proposals.search import resolve_backend, truncate
from detection.structures import Proposals, Record

logger = logging.getLogger(__name__)

# What a list does not depend on.
_NOT_IN_KEY = ("backend", "max_boxes", "workers", "parallel", "time_limit", "import_file", "folder")
_MAX_NAME = 150


class ProposalStore:
    """The proposals of many images, made with one set of parameters, in one folder.

    Attributes:
        config: what the proposals are made with.
        parameters: all that they depend on besides the image.
        failed: image -> why ``propose_dataset`` found no proposals for it.
        folder: of the files.

    Args:
        folder: of all stores; each set of parameters has its own folder below it.
        config: what the proposals are made with.

    Raises:
        DataError: if ``config.import_file`` is set and cannot be read.
    """

    def __init__(self, folder: Path, config: ProposalConfig) -> None:
        self.config = config
        self.parameters = store_parameters(config)
        self.failed: dict[str, str] = {}
        digest = sha256_of_bytes(repr(sorted(self.parameters.items())).encode())[:12]
        name = f"{self.parameters['backend']}-{config.mode}-{digest}"
        if config.import_file:
            name = f"imported-{digest}"
        self.folder = Path(folder) / name

    def load(self, record: Record) -> Proposals | None:
        """Return the best ``max_boxes`` stored proposals of an image, or None if none are stored.

        None also where the image or a parameter changed since, or the file is damaged.
        """
        proposals = self._read(record, sha256_of_file(record.path))
        return None if proposals is None else truncate(proposals, self.config.max_boxes)

    def save(self, record: Record, proposals: Proposals) -> None:
        """Store the whole ranked list of an image.

        Raises:
            DataError: where the disk is full or the folder cannot be written.
        """
        self.write(record, proposals, sha256_of_file(record.path))

    def holds(self, record: Record) -> bool:
        """Return whether an image's proposals are stored; never for an unreadable image."""
        try:
            return self.load(record) is not None
        except ImageError:
            return False

    def path(self, image_id: str) -> Path:
        """Return the file of an image's proposals, whatever characters its id holds."""
        name = urllib.parse.quote(image_id, safe=" ")
        if len(name) > _MAX_NAME or name.startswith("."):
            name = f"{name[:60].lstrip('.')}-{sha256_of_bytes(image_id.encode())[:16]}"
        return self.folder / f"{name}.safetensors"

    def _read(self, record: Record, content: str) -> Proposals | None:
        expected = self._header(record.image_id, content)
        for path in (self.path(record.image_id), self._own_path(record.image_id, content)):
            tensors, header = self._load(path)
            if "boxes" in tensors and all(header.get(key) == expected[key] for key in expected):
                return Proposals(image_id=record.image_id, boxes=tensors["boxes"])
        return None

    def write(self, record: Record, proposals: Proposals, content: str) -> None:
        """Store the ranked list of an image whose content has this SHA-256.

        Where another image of the same name, of another folder or as it was before, has its boxes
        already, these stay: who works with that image needs them.
        """
        path = self.path(record.image_id)
        header = self._header(record.image_id, content)
        if self._load(path, quiet=True)[1].get("image_sha256", content) != content:
            path = self._own_path(record.image_id, content)
        save_tensors(path, {"boxes": proposals.boxes}, header)

    def _own_path(self, image_id: str, content: str) -> Path:
        """Return the file of an image whose usual file is another's of the same name."""
        path = self.path(image_id)
        return path.with_name(f"{path.stem}-{content[:16]}{path.suffix}")

    @staticmethod
    def _load(path: Path, *, quiet: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the tensors and the header of a file; nothing where it is not there or damaged."""
        if not path.is_file():
            return {}, {}
        try:
            tensors, header = load_tensors(path)
        except CheckpointError as error:
            if not quiet:
                logger.warning("%s; computing it again", error)
            return {}, {}
        return tensors, header

    def _header(self, image_id: str, content: str) -> dict[str, Any]:
        """Return everything a list of boxes depends on."""
        return {"image_id": image_id, "image_sha256": content, "parameters": self.parameters}


def store_parameters(config: ProposalConfig) -> dict[str, Any]:
    """Return everything besides the image that its full list of boxes depends on."""
    if config.import_file:
        return {"backend": "imported", "file_sha256": sha256_of_file(Path(config.import_file))}
    backend = resolve_backend(config)
    parameters = {k: v for k, v in asdict(config).items() if k not in _NOT_IN_KEY}
    plain: dict[str, Any] = to_plain(parameters)
    return {"backend": backend, "version": backend_version(backend), **plain}


def backend_version(backend: str) -> str:
    """Return the version that a list of boxes depends on."""
    if backend == "native":
        from detection.proposals.selective_search.native import VERSION

        return VERSION
    import cv2

    return str(cv2.__version__)
