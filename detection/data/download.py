"""Fetch PASCAL VOC, check it, and put it where the readers look."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detection.data.archive import extract_tar
from detection.data.transfer import Patience, fetch, md5_of_file
from detection.errors import ConfigError, DataError
from detection.io.files import FolderLock, write_json_atomic


@dataclass(frozen=True, slots=True, kw_only=True)
class VocArchive:
    """One published archive.

    Attributes:
        url: where its publisher keeps it.
        md5: of the file.
        folder: the VOC folder inside it.
    """

    url: str
    md5: str
    folder: str

    @property
    def filename(self) -> str:
        """The last part of the address."""
        return self.url.rsplit("/", maxsplit=1)[-1]


def voc_archives() -> Mapping[str, VocArchive]:
    """Return the archives by year; only ``2007-test`` has public test annotations.

    Source:
        torchvision.datasets.voc, which keeps the addresses and checksums up to date.
    """
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    return {
        key: VocArchive(url=entry["url"], md5=entry["md5"], folder=entry["base_dir"])
        for key, entry in DATASET_YEAR_DICT.items()
    }


def download_voc(
    year: int,
    root: Path,
    *,
    mirrors: Sequence[str] = (),
    archive: Sequence[Path] = (),
    patience: Patience | None = None,
) -> Path:
    """Make sure that a year of VOC is below ``root``, and return its folder.

    An archive is fetched, or taken from ``archive``, compared with its checksum, extracted beside
    its place and moved there as a whole; a stamp then says that it is complete. What is stamped is
    not fetched again. VOC2007 comes with its test set.

    Args:
        year: 2007 to 2012.
        root: the folder to be; VOC goes to ``root/VOCdevkit/VOC<year>``.
        mirrors: addresses of folders that hold the archives; asked before the publisher.
        archive: archives that are here already; nothing is fetched then.
        patience: how long to try.

    Raises:
        ConfigError: if there is no such year.
        DataError: if the archive cannot be had or is not the published one, or if something else
            is in its place.
    """
    wanted = {key: item for key, item in voc_archives().items() if key.split("-")[0] == str(year)}
    if not wanted:
        message = f"year: expected 2007 to 2012, got {year}"
        raise ConfigError(message)
    if archive:
        wanted, files = _match(archive, wanted)
    target = root / "VOCdevkit" / f"VOC{year}"
    with FolderLock(root):
        for key, item in wanted.items():
            if _stamp(target, key).is_file():
                continue
            if target.exists() and not list(target.glob(".installed-*.json")):
                message = (
                    f"{target}: expected nothing or an earlier download, got another folder; move "
                    "it away or choose another root"
                )
                raise DataError(message)
            path = files[key] if archive else root / item.filename
            if not archive:
                folders = [mirror.rstrip("/") for mirror in mirrors]
                urls = [*(f"{folder}/{item.filename}" for folder in folders), item.url]
                fetch(urls, path, md5=item.md5, patience=patience)
            _install(key, item, path, root, target)
            if not archive:
                path.unlink()
    return target


def _stamp(target: Path, key: str) -> Path:
    return target / f".installed-{key}.json"


def _match(
    paths: Sequence[Path], wanted: Mapping[str, VocArchive]
) -> tuple[dict[str, VocArchive], dict[str, Path]]:
    """Find out by their checksums which archives the files are.

    Raises:
        DataError: if a file is none of them.
    """
    keys = {item.md5: key for key, item in wanted.items()}
    files: dict[str, Path] = {}
    for path in paths:
        got = md5_of_file(path)
        if got not in keys:
            expected = " or ".join(f"{item.md5} ({item.filename})" for item in wanted.values())
            message = f"{path}: expected md5 {expected}, got {got}; fetch the archive again"
            raise DataError(message)
        files[keys[got]] = path
    return {key: wanted[key] for key in wanted if key in files}, files


def _install(key: str, item: VocArchive, archive: Path, root: Path, target: Path) -> None:
    """Extract beside the target, then move: a target is either complete or not stamped."""
    temporary = root / f".{key}.extracting"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        count = extract_tar(archive, temporary)
        extracted = temporary / item.folder
        if not extracted.is_dir():
            message = f"{archive}: expected a folder {item.folder}, got none"
            raise DataError(message)
        stamp = {"archive": item.filename, "md5": item.md5, "files": count}
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            write_json_atomic(_stamp(extracted, key), stamp)
            extracted.replace(target)
        else:
            _merge(extracted, target)
            write_json_atomic(_stamp(target, key), stamp)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _merge(source: Path, target: Path) -> None:
    """Move every file to its place, the lists of images last."""
    files = [path for path in source.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda p: ("ImageSets" in p.parts, p)):
        destination = target / path.relative_to(source)
        destination.parent.mkdir(parents=True, exist_ok=True)
        path.replace(destination)
