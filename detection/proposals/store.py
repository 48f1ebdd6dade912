"""Proposals on disk: one small file an image, with everything that they depend on.

A file is used only if the image file's content, the parameters and the backend's version are those
that it was written with; otherwise it is computed anew. Files are written atomically, so that
several processes, or several runs, may fill the same store, and a killed one loses at most the
images that it was working on. The whole ranked list is kept; ``max_boxes`` cuts when loading.
"""

from __future__ import annotations

import logging
import urllib.parse
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from detection.config import ProposalConfig
from detection.data.images import MAX_PIXELS, decode_image, read_file, read_size
from detection.errors import CheckpointError, DataError, ImageError
from detection.proposals.search import propose_all, resolve_backend, truncate
from detection.runs.files import remove_leftovers, sha256_of_bytes, sha256_of_file, to_plain
from detection.runs.parallel import parallel_map
from detection.runs.progress import track
from detection.runs.tensors import load_tensors, save_tensors
from detection.structures import Dataset, Proposals, Record

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
        folder: of all stores; each set of parameters has a folder of its own below it.
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
        """Give the stored proposals of an image, the best ``max_boxes``; None if there are none.

        None also where the image or a parameter changed since, or the file is damaged.
        """
        found = self._read(record, sha256_of_file(record.path))
        return None if found is None else truncate(found, self.config.max_boxes)

    def save(self, record: Record, proposals: Proposals) -> None:
        """Store the whole ranked list of an image.

        Raises:
            DataError: where the disk is full or the folder cannot be written.
        """
        self._write(record, proposals, sha256_of_file(record.path))

    def holds(self, record: Record) -> bool:
        """Tell whether an image's proposals are there; an unreadable image's are not."""
        try:
            return self.load(record) is not None
        except ImageError:
            return False

    def path(self, image_id: str) -> Path:
        """Give the file of an image, whatever characters its identifier holds."""
        name = urllib.parse.quote(image_id, safe=" ")
        if len(name) > _MAX_NAME or name.startswith("."):
            name = f"{name[:60].lstrip('.')}-{sha256_of_bytes(image_id.encode())[:16]}"
        return self.folder / f"{name}.safetensors"

    def _read(self, record: Record, content: str) -> Proposals | None:
        path = self.path(record.image_id)
        if not path.is_file():
            return None
        try:
            tensors, header = load_tensors(path)
        except CheckpointError as error:
            logger.warning("%s; computing it again", error)
            return None
        expected = self._header(record.image_id, content)
        if "boxes" not in tensors or any(header.get(key) != expected[key] for key in expected):
            return None
        return Proposals(image_id=record.image_id, boxes=tensors["boxes"])

    def _write(self, record: Record, proposals: Proposals, content: str) -> None:
        header = self._header(record.image_id, content)
        save_tensors(self.path(record.image_id), {"boxes": proposals.boxes}, header)

    def _header(self, image_id: str, content: str) -> dict[str, Any]:
        """Give all that a list of boxes depends on."""
        return {"image_id": image_id, "image_sha256": content, "parameters": self.parameters}


def store_parameters(config: ProposalConfig) -> dict[str, Any]:
    """Give everything besides the image that its full list of boxes depends on."""
    if config.import_file:
        return {"backend": "imported", "file_sha256": sha256_of_file(Path(config.import_file))}
    backend = resolve_backend(config)
    parameters = {k: v for k, v in asdict(config).items() if k not in _NOT_IN_KEY}
    plain: dict[str, Any] = to_plain(parameters)
    return {"backend": backend, "version": backend_version(backend), **plain}


def backend_version(backend: str) -> str:
    """Give the version that a list of boxes depends on."""
    if backend == "native":
        from detection.proposals.native import VERSION

        return VERSION
    import cv2

    return str(cv2.__version__)


def propose_dataset(
    dataset: Dataset,
    config: ProposalConfig,
    folder: Path,
    *,
    max_pixels: int = MAX_PIXELS,
    max_failed: float = 0.0,
) -> ProposalStore:
    """Compute the proposals that a store lacks, in ``config.workers`` processes; give the store.

    Finished images are kept whatever happens to the others.

    Args:
        dataset: of which images.
        config: how.
        folder: of the stores.
        max_pixels: a larger image is refused.
        max_failed: fraction of the images that may fail; each is named in the log and in the
            store's ``failed``.

    Raises:
        ConfigError: if the backend is not installed or lacks the mode.
        DataError: naming the images, if more of them failed; naming one that is too large, whatever
            the fraction.
    """
    store = ProposalStore(folder, config)
    if config.import_file:
        from detection.proposals.imported import import_mat

        import_mat(Path(config.import_file), dataset, store)
        return store
    check_backend(config)
    remove_leftovers(store.folder)
    missing = [record for record in dataset.records if not store.holds(record)]
    if missing:
        done = len(dataset.records) - len(missing)
        logger.info("proposals: %d of %d images have theirs already", done, len(dataset.records))
    store.failed = _compute(store, missing, max_pixels)
    _stop_at_failures(store, dataset, max_pixels, max_failed)
    return store


def _stop_at_failures(
    store: ProposalStore, dataset: Dataset, max_pixels: int, max_failed: float
) -> None:
    """Say which images failed, and stop where they are too many or raising a limit is the remedy.

    Raises:
        DataError: see ``propose_dataset``.
    """
    failures = list(store.failed.values())
    too_many = len(failures) > max_failed * len(dataset.records) + 1e-9
    for message in failures[3 if too_many else 0 :]:
        logger.warning("%s", message)
    if too_many:
        shown = "; ".join(failures[:3])
        more = f"; and {len(failures) - 3} more" if len(failures) > 3 else ""
        message = f"{dataset.name}: proposals failed on {len(failures)} images: {shown}{more}"
        raise DataError(message)
    for record in dataset.records:
        if record.image_id in store.failed and _num_pixels(record) > max_pixels:
            raise DataError(store.failed[record.image_id])


def _num_pixels(record: Record) -> int:
    """Give the number of pixels that an image's header says; 0 where there is none."""
    try:
        height, width = read_size(record.path)
    except ImageError:
        return 0
    return height * width


def check_backend(config: ProposalConfig) -> None:
    """Fail, or compile, once and before any search.

    Raises:
        ConfigError: if the backend is not installed.
    """
    from detection.proposals.native import warm_up
    from detection.proposals.opencv import check_installation

    if resolve_backend(config) == "native":
        warm_up()
    else:
        check_installation()


def _compute(store: ProposalStore, records: Sequence[Record], max_pixels: int) -> dict[str, str]:
    """Compute and store proposals; give for each image that failed its error."""
    failures: dict[str, str] = {}

    def note(index: int, error: ImageError) -> None:
        failures[records[index].image_id] = str(error)

    results = parallel_map(
        partial(_propose_record, store, max_pixels),
        records,
        workers=store.config.workers,
        backend=store.config.parallel,
        names=[str(record.path) for record in records],
        timeout=store.config.time_limit or None,
        on_error=note,
    )
    for _ in track(results, len(records), "proposals"):
        pass
    return failures


def _propose_record(store: ProposalStore, max_pixels: int, record: Record) -> int:
    """Compute and store the proposals of one image; give their number."""
    data = read_file(record.path)
    image = decode_image(data, record.image_id, max_pixels=max_pixels)
    proposals = propose_all(image, store.config)
    store._write(record, proposals, sha256_of_bytes(data))
    return len(proposals.boxes)
