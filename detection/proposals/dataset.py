"""The proposals of a whole data set: what a store lacks is computed in worker processes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from detection.config import ProposalConfig
from detection.data.images import MAX_PIXELS, decode_image, read_file, read_size
from detection.errors import DataError, ImageError
from detection.io.files import remove_leftovers, sha256_of_bytes
from detection.io.parallel import parallel_map
from detection.io.progress import track
from detection.proposals.mat_file import import_mat
from detection.proposals.search import propose_all, resolve_backend
from detection.proposals.store import ProposalStore
from detection.structures import Dataset, Record
from detection.words import counted

logger = logging.getLogger(__name__)


def propose_dataset(
    dataset: Dataset,
    config: ProposalConfig,
    folder: Path,
    *,
    max_pixels: int = MAX_PIXELS,
    max_failed: float = 0.0,
) -> ProposalStore:
    """Compute the proposals that a store lacks, in ``config.workers`` processes; return the store.

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
    """Log which images failed; raise if they are too many or if raising a limit is the remedy.

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
        images = counted(len(failures), "image")
        message = f"{dataset.name}: proposals failed on {images}: {shown}{more}"
        raise DataError(message)
    for record in dataset.records:
        if record.image_id in store.failed and _num_pixels(record) > max_pixels:
            raise DataError(store.failed[record.image_id])


def _num_pixels(record: Record) -> int:
    """Return the number of pixels according to an image's header; 0 if unreadable."""
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
    from detection.proposals.opencv import check_installation, warn_of_several
    from detection.proposals.selective_search.native import warm_up

    warn_of_several()
    if resolve_backend(config) == "native":
        warm_up()
    else:
        check_installation()


def _compute(store: ProposalStore, records: Sequence[Record], max_pixels: int) -> dict[str, str]:
    """Compute and store proposals; return for each image that failed its error."""
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
    """Compute and store the proposals of one image; return their number."""
    data = read_file(record.path)
    image = decode_image(data, record.image_id, max_pixels=max_pixels)
    proposals = propose_all(image, store.config)
    store.write(record, proposals, sha256_of_bytes(data))
    return len(proposals.boxes)
