"""The readers that are fed damaged inputs: what a valid input is, how it is damaged, what holds.

A reader's ``read`` raises a `DetectionError` for what it refuses; anything else that it raises is a
bug, and so is a result of which something does not hold.
"""

import io
import json
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import torch
import yaml

from detection.config import Config
from detection.data.coco import read_coco
from detection.data.images import decode_image, read_sizes
from detection.data.voc import read_voc
from detection.data.voc_xml import parse_annotation
from detection.runs.config_io import (
    apply,
    config_from_dict,
    config_to_dict,
    read_config_file,
    write_config,
)
from tests.data.folders import VocTree, annotation_xml, coco_content, object_xml, picture
from tests.fuzz.mutate import NUMBERS, damage_bytes, damage_tokens, damage_tree

MAX_PIXELS = 1_000_000


def holds(condition, what):
    """Raise where a result is not what it must be."""
    if not condition:
        raise AssertionError(what)


def check_truth(record):
    """The boxes of an image that was read lie in it."""
    height, width = record.truth.size
    boxes = record.truth.boxes
    holds(bool(boxes.isfinite().all()), "a box is not finite")
    holds(bool((boxes[:, 2:] > boxes[:, :2]).all()), "a box is empty")
    limits = torch.tensor([width, height, width, height])
    holds(bool(((boxes >= 0) & (boxes <= limits)).all()), "a box leaves the image")


class Annotation:
    """VOC XML: the parser alone, and through it the reader of a folder."""

    pieces = (
        "<annotation>", "</annotation>", "<object>", "</object>", "<name>", "</name>", "<bndbox>",
        "</bndbox>", "<xmin>", "</xmin>", "<ymax>", "</ymax>", "<size>", "</size>", "<width>",
        "<!DOCTYPE a>", "<!DOCTYPE a [<!ENTITY b 'c'>]>", "&b;", "&lt;", "&#0;", "&#xD800;",
        "<?xml version='1.0' encoding='utf-16'?>", "<?xml version='1.0' encoding='x'?>", "]]>",
        "<![CDATA[", "<difficult>", "</difficult>", "\0", "<!--", "-->", "<part/>", "\ufeff", "é",
        "<a:b xmlns:a='c'>", "dog", "cat", " ", *NUMBERS,
    )  # fmt: skip
    in_folder = False

    def __init__(self, folder):
        part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
        texts = [
            annotation_xml(object_xml()),
            annotation_xml(*[object_xml(name=name) for name in ("cat", "dog")], size=None),
            annotation_xml(
                object_xml(corners=("1.5", "2", "60", "40"), difficult="", more=part),
                object_xml(corners=(0, -3, 70, 90), difficult="<difficult>true</difficult>"),
                head="<?xml version='1.0' encoding='latin-1'?><!DOCTYPE annotation>",
            ),
            annotation_xml(*[object_xml()] * 20, filename="../../x.jpg"),
        ]
        self.texts = texts
        self.seeds = [text.encode() for text in texts]
        self.tree = VocTree(folder / "voc")

    def mutate(self, random):
        if random.random() < 0.5:
            text = damage_tokens(random.choice(self.texts), random, self.pieces)
            return text.encode(random.choice(("utf-8", "utf-8", "utf-8", "utf-16")), "replace")
        pieces = [piece.encode() for piece in self.pieces]
        return damage_bytes(random.choice(self.seeds), random, pieces, self.seeds)

    def read(self, data):
        result = parse_annotation(data, "a.xml")
        holds(result.objects or result.issues or result.size, "an annotation says nothing at all")
        for item in result.objects:
            holds(item.class_name and item.class_name == item.class_name.strip(), "a blank name")
            holds(all(map(np.isfinite, item.corners)), "a corner is not finite")
        for issue in result.issues:
            holds(issue.message.startswith("a.xml: "), "a problem without its place")
            holds(len(issue.message) < 400, "a message too long to read")


class VocFolder(Annotation):
    """A whole folder: annotation, list and image, in training and in evaluation."""

    def read(self, data):
        self.tree.annotation("000001", data)
        for strict in (False, True):
            for record in read_voc(self.tree.root, "train", strict=strict).records:
                check_truth(record)


class Split:
    """A list of images."""

    lines = ("000001", "000001 1", "000001 -1", "000001  0", "b 1", "gone", "../x", "/x", "", "\t")

    def __init__(self, folder):
        self.tree = VocTree(folder / "split")
        self.tree.more("b")
        self.seeds = [b"000001\nb\n", b"\xef\xbb\xbf000001\r\nb\r\n", b"000001 1\nb -1\n", b"b 1"]

    def mutate(self, random):
        data = random.choice(self.seeds)
        if random.random() < 0.3:
            data = "\n".join(random.choices(self.lines, k=random.randrange(6))).encode()
        pieces = [line.encode() + b"\n" for line in self.lines]
        return damage_bytes(data, random, [*pieces, b"\0", b"\r", b"\x85", b"\xe2\x80\xa8"])

    def read(self, data):
        self.tree.split("train", data)
        result = read_voc(self.tree.root, "train")
        holds({r.image_id for r in result.records} <= {"000001", "b"}, "an image from nowhere")


class Coco:
    """COCO JSON."""

    def __init__(self, folder):
        self.folder = folder / "coco"
        self.folder.mkdir()
        picture().save(self.folder / "a.jpg")
        picture(seed=1).save(self.folder / "b.png")
        images = [
            {"id": 7, "file_name": "a.jpg", "width": 60, "height": 40},
            {"id": "b", "file_name": "b.png"},
        ]
        boxes = [
            {"id": 1, "image_id": 7, "category_id": 90, "bbox": [5, 6, 20, 10], "iscrowd": 0},
            {"id": 2, "image_id": "b", "category_id": 3, "bbox": [0.5, 1, 99, 10], "iscrowd": 1},
            {"id": 3, "image_id": 7, "category_id": 3, "bbox": [5, 6, 0, 10], "segmentation": []},
        ]
        self.trees = [coco_content(), coco_content(images=images, annotations=boxes, info={})]
        self.seeds = [json.dumps(tree).encode() for tree in self.trees]
        self.pieces = [b"[", b"]", b"{", b"}", b",", b":", b'"', b"null", b"NaN", b"-Infinity"]
        self.pieces += [number.encode() for number in NUMBERS] + [b"\\ud800", b"\xff", b'"id":']

    def mutate(self, random):
        if random.random() < 0.6:
            return json.dumps(damage_tree(random.choice(self.trees), random)).encode()
        return damage_bytes(random.choice(self.seeds), random, self.pieces, self.seeds)

    def read(self, data):
        path = self.folder / "instances.json"
        path.write_bytes(data)
        for strict in (False, True):
            dataset = read_coco(self.folder, path, strict=strict, allow=("degenerate",))
            for name in (dataset.name, *dataset.class_names, *dataset.notes):
                name.encode()  # or no report could be written
            for record in dataset.records:
                record.image_id.encode()
                check_truth(record)


class ImageFile:
    """Image files of every format that is read."""

    pieces = (
        b"Exif\0\0II*\0", b"Exif\0\0MM\0*", b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0", b"\xff\xd8\xff",
        b"\xff\xd9", b"\xff\xda", b"\xff\xc0", b"\xff\xe1", b"IHDR", b"IDAT", b"IEND", b"tRNS",
        b"PLTE", b"acTL", b"iTXtexif\0\0\0\0\0x", b"RIFF", b"WEBP", b"VP8X", b"II*\0", b"MM\0*",
        b"GIF89a", b"\x21\xf9", b"BM", b"P6 9 9 255\n", b"P4", b"Pf", b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x01",
    )  # fmt: skip

    def __init__(self, folder):
        self.path = folder / "image"
        self.seeds = list(self._seeds())

    @staticmethod
    def _seeds():
        rgb = picture(23, 17)
        exif = PIL.Image.Exif()
        exif[0x0112] = 6
        text = PIL.PngImagePlugin.PngInfo()
        text.add_itxt("comment", "é" * 20, zip=True)
        high = PIL.Image.fromarray(np.arange(300, dtype=np.uint16).reshape(15, 20) * 200)
        for image, kind, options in (
            (rgb, "JPEG", {"exif": exif}),
            (rgb, "JPEG", {"progressive": True, "subsampling": 0}),
            (rgb.convert("L"), "JPEG", {}),
            (rgb.convert("CMYK"), "JPEG", {}),
            (rgb, "PNG", {"exif": exif, "pnginfo": text}),
            (rgb.convert("RGBA"), "PNG", {}),
            (rgb.convert("LA"), "PNG", {}),
            (rgb.convert("P"), "PNG", {"transparency": 0}),
            (rgb.convert("1"), "PNG", {}),
            (high, "PNG", {}),
            (rgb, "PNG", {"save_all": True, "append_images": [rgb.rotate(90)]}),
            (rgb, "BMP", {}),
            (rgb.convert("P"), "BMP", {}),
            (rgb, "WEBP", {"exif": exif}),
            (rgb.convert("RGBA"), "WEBP", {"lossless": True}),
            (rgb, "WEBP", {"save_all": True, "append_images": [rgb.rotate(90)]}),
            (rgb, "GIF", {"save_all": True, "append_images": [rgb.rotate(90)]}),
            (rgb.convert("P"), "GIF", {"transparency": 0}),
            (rgb, "TIFF", {}),
            (rgb, "TIFF", {"compression": "tiff_lzw"}),
            (rgb, "TIFF", {"compression": "jpeg"}),
            (high, "TIFF", {"compression": "tiff_adobe_deflate"}),
            (rgb, "PPM", {}),
            (rgb.convert("L"), "PPM", {}),
            (rgb.convert("1"), "PPM", {}),
        ):
            file = io.BytesIO()
            image.save(file, kind, **options)
            yield file.getvalue()

    def mutate(self, random):
        data = damage_bytes(random.choice(self.seeds), random, self.pieces, self.seeds)
        return _mend_png(data) if random.random() < 0.8 else data

    def read(self, data):
        self.path.write_bytes(data)
        refused = None
        try:
            pixels = decode_image(data, "it", max_pixels=MAX_PIXELS).pixels
        except Exception as error:
            refused = error
        size, stored = read_sizes(self.path)
        if refused is not None:
            raise refused
        holds(pixels.dtype == torch.uint8 and pixels.shape[2] == 3, "not 8-bit RGB")
        holds(tuple(pixels.shape[:2]) == size, "the header and the pixels differ in size")
        holds(sorted(size) == sorted(stored), "turning changes the sides")


def _mend_png(data):
    """Make the checksums of a PNG's chunks right, so that the damage reaches the decoder."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    out, place = bytearray(data[:8]), 8
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        if place + 12 + length > len(data):
            break
        body = data[place + 4 : place + 8 + length]
        out += data[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place += 12 + length
    return bytes(out + data[place:])


class Settings:
    """Configuration files in YAML."""

    pieces = (
        "svm", "features", "data", ": ", "- ", "[", "]", "{", "}", "&a ", "*a", "!!python/name:os",
        "!!set", "!!binary ", "!!timestamp ", "? ", "| ", "> ", "'", '"', "#", "%YAML 9.9\n", "---",
        "...", "2020-13-45", "1:99", "0b", "0x", "<<: ", "~", "yes", ".inf", ".nan", "\t", "\n",
        "\0", "\ufeff", "é", "&a [*a]", "!!int ''", "!!float x", "=", *NUMBERS,
    )  # fmt: skip

    def __init__(self, folder):
        self.path = folder / "config.yaml"
        self.trees = [
            config_to_dict(Config()),
            {"features": {"scales": [480, 576], "method": "rcnn"}, "svm": {"c": 1e-4}},
            {"data": {"class_names": ["cat", "dog"], "root": "x"}, "bbox": {"enabled": False}},
        ]
        self.texts = [
            write_config(Config()),
            "# header\nsvm: {c: 1e-4}\nfeatures: {scales: [480, 576], method: rcnn}\n",
            "data:\n  class_names: &a [cat, dog]\n  root: *a\nbbox: {enabled: no}\n",
        ]
        self.seeds = [text.encode() for text in self.texts]

    def mutate(self, random):
        kind = random.random()
        if kind < 0.4:
            short = random.random() < 0.97  # the whole configuration takes PyYAML 20 ms
            tree = random.choice(self.trees[1:]) if short else self.trees[0]
            return yaml.safe_dump(damage_tree(tree, random)).encode("utf-8", "replace")
        which = random.choice((1, 2)) if random.random() < 0.97 else 0
        if kind < 0.7:
            return damage_tokens(self.texts[which], random, self.pieces).encode("utf-8", "replace")
        pieces = [piece.encode() for piece in self.pieces]
        return damage_bytes(self.seeds[which], random, pieces, self.seeds[1:])

    def read(self, data):
        self.path.write_bytes(data)
        config = apply(Config(), read_config_file(self.path))
        holds(config_from_dict(config_to_dict(config)) == config, "it does not survive writing")


def scratch():
    """Return an in-memory folder if there is one: a million files are written to it."""
    shm = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None)
