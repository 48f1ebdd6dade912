"""Writes small data sets, sound or broken, for the tests of the readers."""

import json
from pathlib import Path

import numpy as np
import PIL.Image

SIDES = ("xmin", "ymin", "xmax", "ymax")


def picture(width=60, height=40, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels)


def box_xml(corners=(5, 6, 30, 35)):
    sides = "".join(
        f"<{side}>{corner}</{side}>" for side, corner in zip(SIDES, corners, strict=True)
    )
    return f"<bndbox>{sides}</bndbox>"


def object_xml(name="dog", corners=(5, 6, 30, 35), difficult="<difficult>0</difficult>", more=""):
    return f"<object><name>{name}</name>{difficult}{box_xml(corners)}{more}</object>"


def annotation_xml(*objects, size=(60, 40), filename="000001.jpg", head=""):
    size_xml = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    name = f"<filename>{filename}</filename>" if filename else ""
    return f"{head}<annotation>{name}{size_xml}{''.join(objects)}</annotation>"


def write_bytes_or_text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


class VocTree:
    """A folder in VOC layout with one sound image, to be broken by a test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (root / part).mkdir(parents=True, exist_ok=True)
        self.image("000001")
        self.annotation("000001", annotation_xml(object_xml()))
        self.split("train", "000001\n")

    @classmethod
    def there(cls, root: Path):
        """Take a folder as it is."""
        tree = cls.__new__(cls)
        tree.root = root
        return tree

    def image(self, image_id, extension="jpg", picture=picture, **options):
        path = self.root / "JPEGImages" / f"{image_id}.{extension}"
        picture().save(path, **options)
        return path

    def annotation(self, image_id, content):
        path = self.root / "Annotations" / f"{image_id}.xml"
        write_bytes_or_text(path, content)
        return path

    def split(self, name, content):
        path = self.root / "ImageSets" / "Main" / f"{name}.txt"
        write_bytes_or_text(path, content)
        return path

    def more(self, image_id, content=None):
        """Add a sound image, not yet listed."""
        self.image(image_id, picture=lambda: picture(seed=sum(image_id.encode())))
        sound = annotation_xml(object_xml(), filename=f"{image_id}.jpg")
        return self.annotation(image_id, sound if content is None else content)


def coco_content(**changes):
    """A sound COCO file with one image, two categories with a gap, and one object."""
    content = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 60, "height": 40}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 90, "name": "dog"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 90, "bbox": [5, 6, 20, 10]}],
    }
    return {**content, **changes}


def write_coco(root, content):
    root.mkdir(parents=True, exist_ok=True)
    picture().save(root / "a.jpg")
    path = root / "instances.json"
    write_bytes_or_text(path, content if isinstance(content, str) else json.dumps(content))
    return path
