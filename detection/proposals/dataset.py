"""The proposals of a whole data set: what a store lacks is computed in worker processes."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from detection.config import ProposalConfig
from detection.data.images import MAX_PIXELS, decode_image, read_file, read_size
from detection.errors import DataError, ImageError
from detection.io.files import remove_leftovers, sha256_of_bytes
from detection.io.interrupts import raise_if_interrupted
from detection.io.parallel import parallel_map
from detection.io.progress import track
from detection.io.shards import DEATHS, Parallel
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
    parallel: Parallel | None = None,
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
        parallel: where instead, and how many images a worker takes at a time: one if each has a
            limit of time. Workers of other machines need the same folders.

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
    if parallel is None:
        store.failed = _compute(store, missing, max_pixels)
    else:
        store.failed = _compute_elsewhere(store, missing, max_pixels, parallel)
        remove_leftovers(store.folder)  # of workers that were killed
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


def _compute(
    store: ProposalStore,
    records: Sequence[Record],
    max_pixels: int,
    parallel: Parallel | None = None,
) -> dict[str, str]:
    """Compute and store proposals; return for each image that failed its error."""
    config = store.config
    size = 1 if parallel is None or config.time_limit else parallel.images
    parts = [records[start : start + size] for start in range(0, len(records), size)]
    results = parallel_map(
        partial(_propose_each, partial(_propose_record, store, max_pixels)),
        parts,
        workers=config.workers if parallel is None else parallel.workers,
        backend=config.parallel if parallel is None else parallel.backend,
        names=[_name(part) for part in parts],
        timeout=config.time_limit or None,
        deaths=0 if parallel is None else DEATHS,
    )
    failures: dict[str, str] = {}
    what = "proposals" if size == 1 else "proposals, shards"
    for _, failed in track(results, len(parts), what):
        failures.update(failed)
    return {r.image_id: failures[r.image_id] for r in records if r.image_id in failures}


def _compute_elsewhere(
    store: ProposalStore, records: Sequence[Record], max_pixels: int, parallel: Parallel
) -> dict[str, str]:
    """Do the same where workers may have other folders of their own."""
    sent = copy.copy(store)
    sent.folder = store.folder.absolute()
    absolute = [replace(record, path=record.path.absolute()) for record in records]
    places = {record.image_id: str(record.path) for record in records}
    failures = _compute(sent, absolute, max_pixels, parallel)
    return {
        key: text.replace(str(Path(places[key]).absolute()), places[key])
        for key, text in failures.items()
    }


def _name(records: Sequence[Record]) -> str:
    """Return what to call images that are searched together."""
    more = f" and the {len(records) - 1} after it" if len(records) > 1 else ""
    return f"{records[0].path}{more}"


def _propose_each(propose: Callable[[Record], object], records: Sequence[Record]) -> dict[str, str]:
    """Compute and store the proposals of some images; return for each that failed its error."""
    failures: dict[str, str] = {}
    for record in records:
        try:
            propose(record)
        except ImageError as error:
            raise_if_interrupted(error)
            text = " ".join(str(error).split())
            place = str(record.path)
            failures[record.image_id] = text if place in text else f"{place}: {text}"
    return failures


def _propose_record(store: ProposalStore, max_pixels: int, record: Record) -> int:
    """Compute and store the proposals of one image; return their number."""
    data = read_file(record.path)
    image = decode_image(data, record.image_id, max_pixels=max_pixels)
    proposals = propose_all(image, store.config)
    store.write(record, proposals, sha256_of_bytes(data))
    return len(proposals.boxes)
