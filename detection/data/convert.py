"""Write a data set of any readable format as VOC, COCO or YOLO."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Literal

from detection.config import DataConfig
from detection.data.annotations import CheckedImage, CheckedObject
from detection.data.coco_examine import examine_coco
from detection.data.coco_file import image_folder
from detection.data.folder import list_images, name_images
from detection.data.image_files import read_size
from detection.data.issues import AnnotationIssue, Rules, stop_at
from detection.data.label_writers import WRITERS, Format, ImageOut, Written
from detection.data.roots import Source, sources_of
from detection.data.tables import kind_of, open_tables
from detection.data.voc_examine import examine
from detection.data.voc_lists import open_voc, read_split
from detection.errors import DataError
from detection.io.files import explain, whole_folder
from detection.words import counted

Labels = Mapping[str, Sequence[CheckedObject]]
"""Image, by its identifier or the path of its file -> objects that replace its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What was written.

    Attributes:
        images: how many.
        objects: how many.
        lists: name -> its images.
        lost: in words, what the source had and the result has not -> how often.
        missing: why a list was not found, where only the other one is there.
    """

    images: int
    objects: int
    lists: Mapping[str, int]
    lost: Mapping[str, int]
    missing: str = ""

    def format(self) -> str:
        """Return two lines: what there is, and what was lost."""
        lists = ", ".join(f"{name} {count}" for name, count in self.lists.items())
        lost = "; ".join(f"{count} {what}" for what, count in self.lost.items()) or "nothing"
        counts = f"{counted(self.images, 'image')}, {counted(self.objects, 'object')}"
        return f"{counts} ({lists})\nlost: {lost}"


def convert(
    config: DataConfig,
    to: Format,
    out: Path,
    *,
    splits: Sequence[Literal["train", "test"]] = ("train", "test"),
    labels: Labels | None = None,
    link: bool = False,
) -> Conversion:
    """Write the lists of a data set in another format.

    Law: read again, each image has the same objects, to the bit where the format can hold them.

    Args:
        config: the ``data`` section.
        to: the format.
        out: a new or empty folder.
        splits: which of its two lists; one that is not there is passed over.
        labels: objects instead of those of the data set, such as detections; then the folder may
            also hold images alone.
        link: hard links to the images instead of copies, where the file system allows it.

    Raises:
        DataError: if nothing can be read, an annotation is wrong, or ``out`` cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        message = f"{out}: expected a new folder, got one that holds files; choose another"
        raise DataError(message)
    read = _read(config, splits) if labels is None else _read_for(config, splits, labels)
    lists = {name: _outputs(images) for name, images in _named(read.images).items()}
    try:
        with whole_folder(out) as partial:
            written = WRITERS[to](partial, lists, read.class_names, read.categories)
            for image, place in written.places.items():
                _place(image.path, partial / place, link=link)
    except OSError as error:
        raise explain(error, out, _bytes_of(lists)) from error
    return _summary(read, lists, written)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Image:
    """An image as it was read, and what is known of where it came from."""

    checked: CheckedImage
    source: Source
    number: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """Everything there is to write.

    Attributes:
        images: list -> its images.
        class_names: in their order.
        categories: the identifiers of a COCO file, where all is of one; otherwise nothing.
        issues: what was left out or mended.
        unread: what the labels hold beside their boxes -> how many of them.
        missing: see ``Conversion``.
    """

    images: Mapping[str, Sequence[_Image]]
    class_names: tuple[str, ...]
    categories: Mapping[str, int]
    issues: Sequence[AnnotationIssue]
    unread: Mapping[str, int] = field(default_factory=dict)
    missing: str = ""


# ------------------------------------------------------------------------------ reading


def _read(config: DataConfig, splits: Sequence[Literal["train", "test"]]) -> _Read:
    """Read the lists that are there.

    Raises:
        DataError: if none is, or at an annotation that stops a reader.
    """
    images: dict[str, list[_Image]] = {}
    tables: list[dict[str, int | str]] = []
    missing: list[DataError] = []
    issues: list[AnnotationIssue] = []
    unread: Counter[str] = Counter()
    for split in splits:
        sources = sources_of(config, split)
        try:
            read = [_read_source(source, config, tables, issues, unread) for source in sources]
        except _NoListError as error:
            missing.append(error)
            continue
        images[_list_name(sources, split)] = [image for part in read for image in part]
    if not images:
        raise missing[0]
    every = [image for own in images.values() for image in own]
    used = sorted({o.class_name for image in every for o in image.checked.objects})
    same = len(tables) > 0 and all(own == tables[0] for own in tables)
    names = config.class_names or (tuple(tables[0]) if same else tuple(used))
    numbers = {name: key for name, key in tables[0].items() if isinstance(key, int)} if same else {}
    is_coco = {kind_of(image.source.config) for image in every} == {"coco"}
    return _Read(
        images=images,
        class_names=names,
        categories=numbers if is_coco and set(names) <= set(numbers) else {},
        issues=issues,
        unread=unread,
        missing=str(missing[0]) if missing else "",
    )


class _NoListError(DataError):
    """A list is not there."""


def _read_source(
    source: Source,
    config: DataConfig,
    tables: list[dict[str, int | str]],
    issues: list[AnnotationIssue],
    unread: Counter[str],
) -> list[_Image]:
    """Read one list of one folder; gather its table of classes, its issues and what is unread.

    Raises:
        DataError: if it is not there, or at an annotation that stops a reader.
    """
    rules = Rules(ignore_unknown_classes=config.ignore_unknown_classes)
    known = config.class_names
    numbers: dict[str, int | str] = {}
    try:
        if kind_of(source.config) == "voc":
            folder = open_voc(source.root, source.config.year, source.config.lists)
            listed = read_split(folder, source.split)
            found = examine(folder, listed.image_ids, rules, known=known)
            faults = listed.issues
        else:
            coco = open_tables(source.config, source.split)
            tables.append({name: key for key, name in coco.categories.items()})
            place = image_folder(coco, source.root)
            found = examine_coco(coco, place, coco.images, rules, known=known)
            faults = coco.issues
            unread.update(coco.unread)
            numbers = {str(image.image_id): image.image_id for image in coco.images}
    except DataError as error:
        raise _NoListError(str(error)) from error
    checked = list(found)
    every = [*faults, *(issue for image in checked for issue in image.issues)]
    stop_at(every)
    issues += every
    images = []
    for image in checked:
        number = numbers.get(image.image_id)
        if image.size is not None:
            number = number if isinstance(number, int) else None
            images.append(_Image(checked=image, source=source, number=number))
    return images


def _read_for(
    config: DataConfig, splits: Sequence[Literal["train", "test"]], labels: Labels
) -> _Read:
    """Return the images that labels are for, with these.

    Raises:
        DataError: if an image is not there.
    """
    places = {_real(path): path for path in labels if Path(path).is_file()}
    if len(places) == len(labels) and labels:
        checked = [_bare(path, key, labels[key]) for path, key in places.items()]
        images = {"trainval": [_alone(image, config) for image in checked]}
    else:
        images = _match(config, splits, labels)
    used = sorted({item.class_name for own in labels.values() for item in own})
    names = config.class_names or tuple(used)
    return _Read(images=images, class_names=names, categories={}, issues=())


def _match(
    config: DataConfig, splits: Sequence[Literal["train", "test"]], labels: Labels
) -> dict[str, list[_Image]]:
    """Find labelled images by their identifiers, in the lists or among a folder's files.

    Raises:
        DataError: naming one that is not there.
    """
    try:
        own = _read(config, splits).images
        images = {
            name: [_relabelled(image, labels) for image in read if image.checked.image_id in labels]
            for name, read in own.items()
        }
    except DataError:
        folders = [Path(root) for root in config.roots]
        names = name_images(folders, list_images(folders))
        found = [
            _bare(str(path), str(path), labels[key]) for path, key in names.items() if key in labels
        ]
        images = {"trainval": [_alone(image, config) for image in found]}
    ids = {image.checked.image_id for read in images.values() for image in read}
    stems = {image.checked.path.stem for read in images.values() for image in read}
    gone = next((key for key in labels if key not in ids and PurePath(key).name not in stems), None)
    if gone is not None:
        message = (
            f"{', '.join(config.roots)}: expected the images that were searched, got no {gone!r}; "
            "name the folder of the same images"
        )
        raise DataError(message)
    return {name: read for name, read in images.items() if read}


def _relabelled(image: _Image, labels: Labels) -> _Image:
    objects = tuple(labels[image.checked.image_id])
    return replace(image, checked=replace(image.checked, objects=objects))


def _bare(path: str, key: str, objects: Sequence[CheckedObject]) -> CheckedImage:
    """Return an image without annotations, with these objects."""
    size = read_size(Path(path))
    return CheckedImage(
        image_id=PurePath(key).stem, path=Path(path), size=size, objects=tuple(objects), issues=()
    )


def _alone(image: CheckedImage, config: DataConfig) -> _Image:
    folder = image.path.parent
    source = Source(config=config, root=folder, split="trainval", label=folder.name)
    return _Image(checked=image, source=source, number=None)


def _real(path: str) -> str:
    return os.path.realpath(path)


def _list_name(sources: Sequence[Source], split: Literal["train", "test"]) -> str:
    """Return what the written list is called: as the list that was read, or by its default."""
    names = {PurePath(source.split).stem for source in sources}
    return names.pop() if len(names) == 1 else {"train": "trainval", "test": "test"}[split]


# ------------------------------------------------------------------------------ writing


def _named(lists: Mapping[str, Sequence[_Image]]) -> dict[str, list[tuple[str, _Image]]]:
    """Name each image as no other one is named, the same in all lists."""
    files: dict[str, _Image] = {}
    for read in lists.values():
        for image in read:
            files.setdefault(_real(str(image.checked.path)), image)
    names = dict(zip(files, _names(list(files.values())), strict=True))
    return {
        name: [(names[_real(str(image.checked.path))], image) for image in read]
        for name, read in lists.items()
    }


def _names(images: Sequence[_Image]) -> list[str]:
    """Return names without an ending: identifiers that are names, stems, paths, or numbered."""
    paths = [image.checked.path for image in images]
    choices = [
        [image.checked.image_id if image.number is None else "" for image in images],
        [path.stem for path in paths],
        [_below(image) for image in images],
    ]
    for names in choices:
        if all(names) and len(set(names)) == len(names):
            return names
    return [f"{number:06d}-{path.stem}" for number, path in enumerate(paths, start=1)]


def _below(image: _Image) -> str:
    path = image.checked.path
    try:
        inside = path.relative_to(image.source.root).with_suffix("").as_posix()
    except ValueError:
        inside = path.stem
    return f"{image.source.label}/{inside}"


def _outputs(images: Iterable[tuple[str, _Image]]) -> list[ImageOut]:
    return [
        ImageOut(
            name=name,
            path=image.checked.path,
            size=image.checked.size or (1, 1),
            objects=image.checked.objects,
            number=image.number,
        )
        for name, image in images
    ]


def _place(source: Path, target: Path, *, link: bool) -> None:
    """Put an image where it belongs; one of two lists is there already."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        try:
            os.link(os.path.realpath(source), target)
        except OSError:  # another file system, or one without links
            pass
        else:
            return
    shutil.copyfile(source, target)


def _bytes_of(lists: Mapping[str, Sequence[ImageOut]]) -> int:
    """Return what the images of some lists take on the disk."""
    paths = {image.path for images in lists.values() for image in images}
    return sum(path.stat().st_size for path in paths if path.is_file())


def _summary(read: _Read, lists: Mapping[str, Sequence[ImageOut]], written: Written) -> Conversion:
    every = {image.name: image for images in lists.values() for image in images}
    lost = Counter(written.lost)
    for issue in read.issues:
        if issue.action in {"skip", "mend"}:
            lost[f"{issue.kind} ({'left out' if issue.action == 'skip' else 'mended'})"] += 1
        elif issue.kind == "polygon":
            lost["polygons, of which the bounding boxes are kept"] += 1
    lost.update(read.unread)
    return Conversion(
        images=len(every),
        objects=written.objects,
        lists={name: len(images) for name, images in lists.items()},
        lost=dict(+lost),
        missing=read.missing,
    )
