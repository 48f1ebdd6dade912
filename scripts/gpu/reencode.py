"""Copy a VOC folder, its images as JPEG of quality 80: less than half of the bytes.

``python scripts/gpu/reencode.py VOC TARGET``; VOC is a folder ``VOCdevkit``, or one of its years.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import PIL.Image

QUALITY = 80


def years(root: Path) -> Iterator[Path]:
    """Return the folders of a devkit that hold images; the folder itself if it does."""
    yield from (
        path for path in (root, *sorted(root.glob("VOC*"))) if (path / "JPEGImages").is_dir()
    )


def reencode(source: Path, target: Path) -> int:
    """Copy one year; return the number of images."""
    for name in ("Annotations", "ImageSets"):
        shutil.copytree(source / name, target / name, dirs_exist_ok=True)
    (target / "JPEGImages").mkdir(parents=True, exist_ok=True)
    paths = sorted((source / "JPEGImages").glob("*.jpg"))
    for path in paths:
        with PIL.Image.open(path) as image:
            exif = image.info.get("exif", b"")  # how the camera was held
            image.save(target / "JPEGImages" / path.name, quality=QUALITY, exif=exif)
    return len(paths)


def main() -> None:
    """Copy and say how many."""
    root, target = map(Path, sys.argv[1:])
    found = list(years(root))
    if not found:
        sys.exit(f"error: {root}: expected a VOC folder with JPEGImages, got none")
    for year in found:
        count = reencode(year, target / (year.name if year != root else "VOC2012"))
        print(f"{year}: {count} images")


if __name__ == "__main__":
    main()
