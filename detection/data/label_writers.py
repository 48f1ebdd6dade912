"""Label files in the formats of other tools: VOC, COCO, YOLO.

A number is written so that the reader gets the same box to the bit of a float32, which is what a
data set holds; where a format cannot hold it, this is counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from detection.data.annotations import CheckedObject
from detection.data.issues import Corners
from detection.data.voc_xml import VocObject, write_voc_annotation
from detection.data.yolo_labels import parse_labels
from detection.values import Size

Format = Literal["voc", "coco", "yolo"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageOut:
    """An image to write.

    Attributes:
        name: without ending, with ``/`` between folders; unique.
        path: of its file.
        size: (height, width).
        objects: in it, boxes in continuous pixels.
        number: its identifier in the COCO file that it came from.
    """

    name: str
    path: Path
    size: Size
    objects: tuple[CheckedObject, ...]
    number: int | None = None

    @property
    def file_name(self) -> str:
        """The name with the ending of the file."""
        return f"{self.name}{self.path.suffix}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a writer made.

    Attributes:
        places: image -> where its file belongs, from the folder.
        objects: how many were written.
        lost: in words, what the format cannot hold -> how often.
    """

    places: Mapping[ImageOut, str]
    objects: int
    lost: Mapping[str, int]


Lists = Mapping[str, Sequence[ImageOut]]


def write_voc(
    out: Path, lists: Lists, class_names: Sequence[str], categories: Mapping[str, int]
) -> Written:
    """Write ``Annotations`` and ``ImageSets/Main``; images belong into ``JPEGImages``.

    Args:
        out: the folder.
        lists: name -> its images.
        class_names: not needed: the files name each object's class.
        categories: not needed.
    """
    main = out / "ImageSets" / "Main"
    main.mkdir(parents=True)
    lost: Counter[str] = Counter()
    count = 0
    images = _once(lists)
    for image in images:
        objects: list[VocObject] = []
        for item in image.objects:
            corners = _voc_corners(item.box)
            if corners[2] <= corners[0] or corners[3] <= corners[1]:
                lost["boxes of a pixel or less, which VOC cannot hold (left out)"] += 1
                continue
            lost["boxes that had to be rounded"] += not _same(
                (corners[0] - 1, corners[1] - 1, corners[2], corners[3]), item.box
            )
            lost["crowd flags, which become difficult"] += item.crowd
            objects.append(
                VocObject(
                    number=len(objects) + 1,
                    class_name=item.class_name,
                    corners=corners,
                    difficult=item.difficult,
                    truncated=item.truncated,
                    occluded=item.occluded,
                )
            )
        count += len(objects)
        path = out / "Annotations" / f"{image.name}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        file = image.file_name.rpartition("/")[2]
        write_voc_annotation(path, file, image.size, objects, folder=out.name)
    for name, listed in lists.items():
        text = "".join(f"{image.name}\n" for image in listed)
        (main / f"{name}.txt").write_text(text, encoding="utf-8")
    places = {image: f"JPEGImages/{image.file_name}" for image in images}
    return Written(places=places, objects=count, lost=lost)


def _voc_corners(box: Corners) -> Corners:
    """Return the corners that count from 1, which a reader turns into the same box."""
    for exact in (box, _rounded(box)):
        corners = (exact[0] + 1, exact[1] + 1, exact[2], exact[3])
        if _same((corners[0] - 1, corners[1] - 1, corners[2], corners[3]), box):
            break
    return corners


def write_coco(
    out: Path, lists: Lists, class_names: Sequence[str], categories: Mapping[str, int]
) -> Written:
    """Write ``annotations/instances_<list>.json``; images belong into ``images``.

    Args:
        out: the folder.
        lists: name -> its images.
        class_names: of all categories, in order.
        categories: name -> identifier; nothing counts from 1.
    """
    (out / "annotations").mkdir()
    numbers = categories or {name: number for number, name in enumerate(class_names, start=1)}
    lost: Counter[str] = Counter()
    images = _once(lists)
    own = [image.number for image in images]
    keep = None not in own and len(set(own)) == len(own)
    ids = {
        image.name: image.number if keep else place for place, image in enumerate(images, start=1)
    }
    rows: dict[str, list[dict[str, Any]]] = {}
    number = 0
    for image in images:
        for item in image.objects:
            number += 1
            bbox = _coco_box(item.box)
            lost["boxes that had to be rounded"] += not _same(_corners_of(bbox), item.box)
            lost["difficult flags, which become crowds"] += item.difficult and not item.crowd
            row = {"id": number, "image_id": ids[image.name]}
            row |= {"category_id": numbers[item.class_name], "iscrowd": int(item.difficult)}
            rows.setdefault(image.name, []).append({**row, "bbox": bbox, "area": bbox[2] * bbox[3]})
    for name, listed in lists.items():
        content = {
            "images": [
                {
                    "id": ids[image.name],
                    "file_name": image.file_name,
                    "width": image.size[1],
                    "height": image.size[0],
                }
                for image in listed
            ],
            "categories": [{"id": numbers[name], "name": name} for name in class_names],
            "annotations": [row for image in listed for row in rows.get(image.name, ())],
        }
        path = out / "annotations" / f"instances_{name}.json"
        path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
    places = {image: f"images/{image.file_name}" for image in images}
    return Written(places=places, objects=number, lost=lost)


def _coco_box(box: Corners) -> list[float]:
    """Return x, y, width, height, which a reader turns into the same box."""
    for exact in (box, _rounded(box)):
        x1, y1, x2, y2 = exact
        bbox = [x1, y1, x2 - x1, y2 - y1]
        if _same(_corners_of(bbox), box):
            break
    return bbox


def _corners_of(bbox: Sequence[float]) -> Corners:
    x, y, width, height = bbox
    return x, y, x + width, y + height


def write_yolo(
    out: Path, lists: Lists, class_names: Sequence[str], categories: Mapping[str, int]
) -> Written:
    """Write ``data.yaml`` and ``labels/<list>``; images belong into ``images/<list>``.

    ``trainval`` becomes ``train``, the name that trainers of this format ask for, and without a
    list to validate on the one to test on is named for it too.

    Args:
        out: the folder.
        lists: name -> its images.
        class_names: numbered from 0 in this order.
        categories: not needed.
    """
    names = dict(enumerate(class_names))
    labels = {name: index for index, name in names.items()}
    lost: Counter[str] = Counter()
    places: dict[ImageOut, str] = {}
    count = 0
    folders = {name: "train" if name == "trainval" else name for name in lists}
    for name, listed in lists.items():
        for image in listed:
            places[image] = f"images/{folders[name]}/{image.file_name}"
            lines = [_yolo_line(item, image.size, labels, names, lost) for item in image.objects]
            lines = list(dict.fromkeys(lines))  # readers of this format count equal lines once
            lost["objects in the place of another of their class"] += len(image.objects) - len(
                lines
            )
            count += len(lines)
            path = out / "labels" / folders[name] / f"{image.name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(lines), encoding="utf-8")
    entries: dict[str, Any] = {"path": "."}
    entries |= {folder: f"images/{folder}" for folder in folders.values()}
    if "test" in entries:
        entries.setdefault("val", entries["test"])
    text = yaml.safe_dump({**entries, "names": names}, sort_keys=False, allow_unicode=True)
    (out / "data.yaml").write_text(text, encoding="utf-8")
    return Written(places=places, objects=count, lost=lost)


def _yolo_line(
    item: CheckedObject,
    size: Size,
    labels: Mapping[str, int],
    names: Mapping[int, str],
    lost: Counter[str],
) -> str:
    """Return the line of an object, and count what it does not say."""
    height, width = size
    x1, y1, x2, y2 = _rounded(item.box)
    numbers = (
        (x1 + x2) / 2 / width,
        (y1 + y2) / 2 / height,
        (x2 - x1) / width,
        (y2 - y1) / height,
    )
    line = f"{labels[item.class_name]} {' '.join(map(repr, numbers))}\n"
    read, _ = parse_labels(line, "", names, size)
    lost["boxes that had to be rounded"] += not (read and _same(read[0].corners, item.box))
    lost["difficult flags"] += item.difficult and not item.crowd
    lost["crowd flags"] += item.crowd
    return line


def _once(lists: Lists) -> list[ImageOut]:
    """Return each image once, though several lists may name it."""
    return list({image.name: image for listed in lists.values() for image in listed}.values())


def _rounded(box: Corners) -> Corners:
    """Return what a data set holds of a box: float32."""
    x1, y1, x2, y2 = np.asarray(box, dtype=np.float32).astype(np.float64).tolist()
    return x1, y1, x2, y2


def _same(box: Corners, other: Corners) -> bool:
    return _rounded(box) == _rounded(other)


WRITERS: dict[Format, Callable[[Path, Lists, Sequence[str], Mapping[str, int]], Written]] = {
    "voc": write_voc,
    "coco": write_coco,
    "yolo": write_yolo,
}
