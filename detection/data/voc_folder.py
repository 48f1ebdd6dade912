"""Find images and their VOC annotations: in VOC's folders, or lying about as tools leave them."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from detection.data.foreign_paths import without_prefix
from detection.data.image_files import EXTENSIONS, read_file
from detection.data.issues import composed
from detection.data.roots import require_folder
from detection.data.split import Parts, named_parts, parts_of
from detection.data.voc_xml import parse_annotation
from detection.errors import DataError
from detection.words import counted

_LOG = logging.getLogger(__name__)

_MOST_FILES = 500_000
"""A folder with more files below it is not searched: it is hardly the one that was meant."""

_DESCRIBED: set[Path] = set()
"""Folders whose reading has been described: once a process is enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VocFolder:
    """Images, each with an annotation file, and the lists of those that belong together.

    Attributes:
        path: the folder; it has ``JPEGImages``, ``Annotations`` and ``ImageSets/Main``, or files in
            any order.
        images: stem (NFC), with the folders above it where there are any -> path below ``path``.
        twins: the same -> all such paths, where there are several.
        annotations: the same -> path below ``path``, where it is not the usual one.
        splits: name -> identifiers, where there are no lists in ``ImageSets``.
        drawn: whether these were drawn, by chance or from a file of an earlier draw.
    """

    path: Path
    images: Mapping[str, str]
    twins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    drawn: bool = False

    @property
    def name(self) -> str:
        """The folder's name, for example ``VOC2012``."""
        return self.path.name

    def image_path(self, image_id: str) -> Path:
        """Return the path of an image; its usual name if it does not exist."""
        return self.path / self.images.get(image_id, f"JPEGImages/{image_id}.jpg")

    def annotation_path(self, image_id: str) -> Path:
        """Return the path of an annotation."""
        return self.path / self.annotations.get(image_id, f"Annotations/{image_id}.xml")

    def split_path(self, split: str) -> Path:
        """Return the path of a split's image list."""
        return self.path / "ImageSets" / "Main" / f"{split}.txt"

    def made_split(self, split: str) -> tuple[str, ...]:
        """Return a list of a folder that came without lists.

        Raises:
            DataError: if there is no such list.
        """
        if split not in self.splits:
            message = (
                f"{self.path}: expected one of the lists {', '.join(sorted(self.splits))}, got "
                f"{split!r}; set data.train_split and data.test_split"
            )
            raise DataError(message)
        return self.splits[split]

    def only(self, image_ids: Collection[str]) -> VocFolder:
        """Return the same folder with the names of some images, to be sent to another process."""
        ids = dict.fromkeys(image_ids)  # many such parts are cut from a folder of many images
        return replace(
            self,
            images={key: self.images[key] for key in ids if key in self.images},
            twins={key: self.twins[key] for key in ids if key in self.twins},
            annotations={key: self.annotations[key] for key in ids if key in self.annotations},
            splits={},
        )


def open_voc_folder(root: Path, year: int = 0, lists: str = "") -> VocFolder:
    """Find the folder in VOC layout at or below ``root``, or images with an XML file each.

    A folder in VOC layout is ``root`` itself, a ``VOC<year>`` in it, or one in its ``VOCdevkit``.
    Without any, every image below ``root`` that has an annotation of its name is taken, wherever
    the two lie; folders called train, val or test divide them, or else a fifth is drawn to test on.

    Args:
        root: where to look.
        year: which ``VOC<year>``; 0 takes the only one there is.
        lists: the file of lists that were drawn before; empty draws.

    Raises:
        DataError: if there is none, or more than one and no year.
    """
    require_folder(root)
    folders = [root] if _is_voc(root) else []
    for devkit in (root, root / "VOCdevkit"):
        if not folders and devkit.is_dir():
            pattern = f"VOC{year}" if year else "VOC*"
            folders = sorted(path for path in devkit.glob(pattern) if _is_voc(path))
    if not folders and not year:
        loose = _loose_folder(root, lists)
        if loose is not None:
            return loose
    if len(folders) != 1:
        wanted = f"VOC{year}" if year else "one VOC<year> folder"
        names = ", ".join(path.name for path in folders) or "none"
        message = (
            f"{root}: expected {wanted} with JPEGImages, Annotations and ImageSets/Main, or images "
            f"with an XML file of the same name, got {names}; set data.root or data.year"
        )
        raise DataError(message)
    return _voc_folder(folders[0])


def has_voc_layout(root: Path) -> bool:
    """Return whether a folder, or one in it or in its ``VOCdevkit``, is in VOC layout."""
    below = (path for devkit in (root, root / "VOCdevkit") for path in devkit.glob("VOC*"))
    return _is_voc(root) or any(_is_voc(path) for path in below)


def _is_voc(path: Path) -> bool:
    parts = ("JPEGImages", "Annotations", "ImageSets/Main")
    return all((path / part).is_dir() for part in parts)


def _voc_folder(path: Path) -> VocFolder:
    found = _grouped(files_below(path / "JPEGImages"))
    images = {key: tuple(f"JPEGImages/{name}" for name in names) for key, names in found.items()}
    annotations = {
        composed(name.removesuffix(name[-4:])): f"Annotations/{name}"
        for name in files_below(path / "Annotations")
        if name.lower().endswith(".xml") and name != f"{composed(name[:-4])}.xml"
    }
    return VocFolder(
        path=path,
        images={key: names[0] for key, names in images.items()},
        twins={key: names for key, names in images.items() if len(names) > 1},
        annotations=annotations,
    )


def files_below(folder: Path) -> Iterator[str]:
    """Yield the paths of all files below a folder, relative to it; hidden ones are passed over.

    Raises:
        DataError: if there are too many.
    """
    base = str(folder)
    count = 0
    for place, folders, files in os.walk(base):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__MACOSX")
        below = os.path.relpath(place, base).replace(os.sep, "/")
        prefix = "" if below == "." else f"{below}/"
        count += len(files)
        if count > _MOST_FILES:
            message = (
                f"{folder}: expected a folder with at most {_MOST_FILES:,} files, got more; set "
                "data.root to the data set itself"
            )
            raise DataError(message)
        yield from (f"{prefix}{name}" for name in files if not name.startswith("."))


def _grouped(names: Iterator[str]) -> dict[str, tuple[str, ...]]:
    """Map paths without extension (NFC) to the images there, in the order of EXTENSIONS."""
    rank = {extension: number for number, extension in enumerate(EXTENSIONS)}
    found: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        stem, extension = os.path.splitext(name)  # noqa: PTH122 - a Path for each file is slow
        if extension.lower() in rank:
            found.setdefault(composed(stem), []).append((rank[extension.lower()], name))
    return {stem: tuple(name for _, name in sorted(names)) for stem, names in found.items()}


def _loose_folder(root: Path, lists: str) -> VocFolder | None:
    """Pair images and annotations that do not lie in VOC's folders; None without any pair."""
    names = list(files_below(root))
    groups = _grouped(iter(names))
    pairs = dict(_pairs(groups, names))
    if not pairs:
        return None
    keys = _keys(list(pairs))
    images = {key: groups[stem][0] for stem, key in keys.items()}
    annotations = {keys[stem]: annotation for stem, annotation in pairs.items()}
    parts: Parts | None = named_parts(images)
    drawn, how = parts is None, "divided by its folders"
    if parts is None:
        objects = {key: objects_in(root / annotation) for key, annotation in annotations.items()}
        parts, how = parts_of(lists, root, objects)
    left_out = len(groups) - len(pairs)
    what = f"{counted(len(pairs), 'image')} with an XML file each"
    describe(root, what, how, parts, left_out=left_out)
    return VocFolder(
        path=root,
        images=images,
        twins={key: groups[stem] for stem, key in keys.items() if len(groups[stem]) > 1},
        annotations=annotations,
        splits=parts,
        drawn=drawn,
    )


def has_xml_pairs(root: Path) -> bool:
    """Return whether some image below a folder has an annotation of its name."""
    names = list(files_below(root))
    return any(True for _ in _pairs(_grouped(iter(names)), names))


def _pairs(groups: Mapping[str, tuple[str, ...]], names: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the stem of an image's path with its annotation: in the same folder, or the nearest."""
    by_stem: dict[str, list[str]] = {}
    prefixed: dict[str, list[str]] = {}
    for name in names:
        if name.lower().endswith(".xml"):
            key = composed(_last(name)[:-4])
            by_stem.setdefault(key, []).append(name)
            prefixed.setdefault(without_prefix(key), []).append(name)
    for stem, images in sorted(groups.items()):
        candidates = by_stem.get(_last(stem)) or prefixed.get(_last(stem), [])
        folder = images[0].rpartition("/")[0]
        own = [path for path in candidates if path.rpartition("/")[0] == folder]
        near = own or _nearest(folder, candidates)
        if len(near) == 1:
            yield stem, near[0]


def _nearest(folder: str, candidates: list[str]) -> list[str]:
    """Return the annotations that share the most folders with an image: ``a/xml`` and ``a/jpg``."""

    def shared(path: str) -> int:
        pairs = zip(folder.split("/"), path.split("/")[:-1], strict=False)
        return next((n for n, (a, b) in enumerate(pairs) if a != b), len(folder.split("/")))

    most = max(map(shared, candidates), default=0)
    return [path for path in candidates if shared(path) == most]


def _keys(stems: list[str]) -> dict[str, str]:
    """Return an identifier for each image: its stem, or its path where stems repeat."""
    last = {stem: _last(stem) for stem in stems}
    return last if len(set(last.values())) == len(last) else {stem: stem for stem in stems}


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def objects_in(path: Path) -> frozenset[tuple[str, bool]]:
    """Return the classes in an annotation, and whether one is of a difficult object.

    There are none where it cannot be read, which is said later.
    """
    try:
        annotation = parse_annotation(read_file(path), str(path))
    except DataError:
        return frozenset()
    return frozenset((item.class_name, item.difficult) for item in annotation.objects)


def describe(root: Path, what: str, how: str, parts: Parts, *, left_out: int = 0) -> None:
    """Log once how a folder that brings no usual lists is read.

    Args:
        root: the folder.
        what: was found there.
        how: it is divided.
        parts: the lists.
        left_out: images without an annotation.
    """
    if root in _DESCRIBED:
        return
    _DESCRIBED.add(root)
    sizes = ", ".join(f"{name} {len(keys)}" for name, keys in sorted(parts.items()))
    _LOG.info("%s: read as %s, %s: %s", root, what, how, sizes)
    if left_out:
        without = "without an XML file"
        are = counted(left_out, f"image {without} is", f"images {without} are")
        _LOG.warning("%s: %s left out", root, are)
