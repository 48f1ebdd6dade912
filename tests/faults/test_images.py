"""F22 to F30: what can be wrong with an image, and the images that are merely unusual."""

import dataclasses
import io
import logging
import os
import struct
import time
import zlib

import numpy as np
import PIL.Image
import pytest
import torch

from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig, DataConfig, FeatureConfig, ProposalConfig
from detection.data import image_files
from detection.data.check import check_dataset
from detection.data.dataset import read_dataset
from detection.data.folder import list_images
from detection.data.images import HAS_AVIF, decode_image, read_image, read_size, read_sizes
from detection.data.voc import read_voc
from detection.errors import DataError
from detection.features.factory import make_extractor
from detection.proposals.dataset import propose_dataset
from detection.proposals.search import propose
from detection.structures import Image
from tests.data.folders import VocTree, annotation_xml, object_xml, picture


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data):
    return decode_image(data, "it").pixels.numpy()


def refused(data, *words):
    with pytest.raises(DataError) as caught:
        decode_image(data, "it.jpg")
    message = str(caught.value)
    assert message.startswith("it.jpg: ")
    assert "\n" not in message
    for word in words:
        assert word in message


JPEG = encoded(picture(), "JPEG", quality=90)


# F22


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "got an empty file"),
        (b"hello", "got a file that begins with b'hello'"),
        (b"<html>404</html>", "expected an image"),
        (b"\xff\xd8\xff", "expected an image"),
        (b"\x89PNG\r\n\x1a\n", "expected an image"),
    ],
)
def test_f22_what_is_no_image_is_refused(data, word):
    refused(data, word)


def broken_path(kind, folder):
    path = folder / "000001.jpg"
    path.unlink(missing_ok=True)
    if kind == "directory":
        path.mkdir()
    elif kind == "link to itself":
        path.symlink_to(path)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("hello")
    elif kind == "forbidden":
        if os.geteuid() == 0:
            pytest.skip("nothing is forbidden to root")
        path.write_bytes(JPEG)
        path.chmod(0)
    return path


NO_FILE = {
    "missing": "errno 2",
    "directory": "errno 21",
    "link to itself": "errno 40",
    "forbidden": "errno 13",
}


@pytest.mark.parametrize(("kind", "errno"), NO_FILE.items())
def test_f22_a_file_that_cannot_be_read_is_named_with_its_errno(tmp_path, kind, errno):
    path = broken_path(kind, tmp_path)
    for read in (read_image, read_size):
        with pytest.raises(DataError) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert errno in str(caught.value)


@pytest.mark.parametrize("kind", [*NO_FILE, "empty", "text"])
def test_f22_an_unreadable_image_is_left_out_of_training_within_the_limit(tmp_path, kind):
    tree = VocTree(tmp_path / "set")
    tree.more("000002")
    tree.split("train", "000001\n000002\n")
    broken_path(kind, tree.root / "JPEGImages")
    dataset = read_voc(tree.root, "train", max_skipped=0.5)
    assert [record.image_id for record in dataset.records] == ["000002"]
    assert dataset.notes == {"unreadable image": 1}
    assert dataset.skipped[0].file == str(tree.root / "JPEGImages" / "000001.jpg")
    with pytest.raises(DataError, match=r"expected at most 1\.0% unreadable images, got 1 of 2"):
        read_voc(tree.root, "train")


@pytest.mark.parametrize("kind", [*NO_FILE, "empty", "text"])
def test_f22_an_unreadable_image_stops_an_evaluation_or_counts_as_missed(tmp_path, kind):
    tree = VocTree(tmp_path / "set")
    broken_path(kind, tree.root / "JPEGImages")
    with pytest.raises(DataError, match=r"000001\.jpg: expected"):
        read_voc(tree.root, "train", strict=True)
    dataset = read_voc(tree.root, "train", strict=True, allow=["missing"])
    assert dataset.records[0].truth.boxes.tolist() == [[4, 5, 30, 35]]
    assert dataset.records[0].truth.size == (40, 60)
    assert dataset.notes == {"unreadable image": 1}


def test_f22_a_missing_image_without_a_stated_size_keeps_its_record(tmp_path):
    tree = VocTree(tmp_path / "set")
    tree.annotation("000001", annotation_xml(object_xml(), size=None))
    broken_path("missing", tree.root / "JPEGImages")
    config = DataConfig(root=str(tree.root), train_split="train", test_split="train")
    dataset = read_dataset(config, "test", class_names=("dog",), allow_missing=True)
    assert [record.image_id for record in dataset.records] == ["000001"]


# F23


@pytest.mark.parametrize("keep", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_f23_a_truncated_image_is_refused(kind, keep):
    data = encoded(picture(200, 150), kind)
    with pytest.raises(DataError, match=r"^it: expected"):
        decode_image(data[: int(keep * len(data))], "it")


def test_f23_a_jpeg_without_its_end_is_refused():
    assert JPEG[-2:] == b"\xff\xd9"
    refused(JPEG[:-2], "expected a whole JPEG image", "fetch or save it again")


def test_f23_zeros_inside_a_jpeg_pass_as_libjpeg_does_not_report_them():
    middle = len(JPEG) // 2
    data = JPEG[:middle] + bytes(20) + JPEG[middle + 20 :]
    assert decoded(data).shape == (40, 60, 3)


def test_f23_a_damaged_png_is_refused():
    data = bytearray(encoded(picture()))
    data[len(data) // 2] ^= 0xFF
    refused(bytes(data), "expected a whole PNG image")


def test_f23_check_finds_the_truncated_image_that_a_header_hides(tmp_path):
    tree = VocTree(tmp_path / "set")
    path = tree.root / "JPEGImages" / "000001.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    config = DataConfig(root=str(tree.root), train_split="train")
    assert check_dataset(config, ["train"], decode=False).clean
    findings = check_dataset(config, ["train"]).findings
    assert [(finding.kind, finding.count) for finding in findings] == [("damaged image", 1)]


# F24


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM", "JPEG"])
@pytest.mark.parametrize("extension", ["jpg", "JPG", "jpeg", "png", "tiff"])
def test_f24_the_content_decides_and_the_extension_only_finds_the_file(tmp_path, kind, extension):
    tree = VocTree(tmp_path / "set")
    (tree.root / "JPEGImages" / "000001.jpg").unlink()
    path = tree.root / "JPEGImages" / f"000001.{extension}"
    path.write_bytes(encoded(picture(), kind))
    record = read_voc(tree.root, "train", strict=True).records[0]
    assert record.path == path
    assert read_image(record.path).size == record.truth.size == (40, 60)


def test_f24_of_two_files_for_one_image_the_first_extension_is_taken(tmp_path):
    tree = VocTree(tmp_path / "set")
    tree.image("000001", "png")
    tree.image("000001", "bmp")
    assert read_voc(tree.root, "train").records[0].path.suffix == ".jpg"


avif = pytest.param("AVIF", marks=pytest.mark.skipif(not HAS_AVIF, reason="Pillow without AVIF"))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", avif])
def test_f24_of_several_frames_the_first_is_taken(kind):
    first, second = (PIL.Image.new("RGB", (8, 6), colour) for colour in ("red", "blue"))
    data = encoded(first, kind, save_all=True, append_images=[second])
    pixels = decoded(data)
    assert pixels.shape == (6, 8, 3)
    assert (pixels[..., 0] > 240).all()
    assert (pixels[..., 2] < 15).all()


@pytest.mark.parametrize(
    "data", [b"\0\0\1\0" + bytes(40), b"%PDF-1.7", b"\0\0\0\x18ftypheic" + bytes(40), b"<svg/>"]
)
def test_f24_other_kinds_of_file_are_refused_with_the_list_of_those_accepted(data):
    refused(data, "expected an image (JPEG, PNG, BMP, WEBP, GIF, TIFF or PPM")


@pytest.mark.skipif(not HAS_AVIF, reason="Pillow without AVIF")
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_f24_avif_is_read_upright(tmp_path, orientation):
    tags = PIL.Image.Exif()
    tags[0x0112] = orientation
    still = PIL.Image.new("RGB", (60, 40), "red")
    still.paste("blue", (0, 0, 60, 8))
    (tmp_path / "a.AVIF").write_bytes(encoded(still, "AVIF", exif=tags, quality=95))
    assert [path.name for path in list_images([tmp_path])] == ["a.AVIF"]
    image = read_image(tmp_path / "a.AVIF")
    sizes = [(40, 60), (60, 40)]
    assert image.size == read_size(tmp_path / "a.AVIF") == sizes[orientation == 6]
    corner = {1: (2, 30), 3: (37, 30), 6: (30, 37)}[orientation]
    assert image.pixels[corner].tolist()[2] > 200


def test_f24_what_avif_lacks_is_said(monkeypatch):
    monkeypatch.setattr(image_files, "HAS_AVIF", False)
    monkeypatch.setattr(image_files, "FORMATS", ("JPEG", "PNG"))
    head = b"\0\0\0\x1cftypavif" + bytes(40)
    refused(head, "got AVIF, which Pillow")
    refused(head.replace(b"avif", b"heic"), "got HEIC; convert")


# F25


GREY = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10


def thrice(grey):
    return np.repeat(grey[:, :, None], 3, axis=2)


def test_f25_grey_becomes_three_equal_channels():
    assert (decoded(encoded(PIL.Image.fromarray(GREY))) == thrice(GREY)).all()


def test_f25_one_bit_becomes_black_and_white():
    bits = PIL.Image.fromarray(GREY).point(lambda value: 255 * (value > 100), "1")
    assert (decoded(encoded(bits)) == thrice(np.where(GREY > 100, 255, 0))).all()


def test_f25_a_palette_is_looked_up():
    palette = PIL.Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    assert decoded(encoded(palette)).tolist() == [[[10, 20, 30], [200, 100, 50]]]


ALPHAS = ((0, 255), (255, 40), (51, 40 * 0.2 + 255 * 0.8))


@pytest.mark.parametrize(("alpha", "expected"), ALPHAS)
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_f25_transparency_is_laid_over_white(alpha, expected, mode, kind):
    value = (40, alpha) if mode == "LA" else (40, 40, 40, alpha)
    image = PIL.Image.new(mode, (3, 2), value)
    assert decoded(encoded(image, kind)).tolist() == [[[expected] * 3] * 3] * 2


@pytest.mark.parametrize("mode", ["P", "RGB", "L"])
def test_f25_a_transparent_colour_is_laid_over_white(mode):
    image = PIL.Image.new("L", (2, 1), 0)
    image.putpixel((1, 0), 90)
    transparency = (0, 0, 0) if mode == "RGB" else 0
    data = encoded(image.convert(mode), transparency=transparency)
    assert decoded(data).tolist() == [[[255] * 3, [90] * 3]]


def test_f25_cmyk_becomes_rgb():
    cmyk = PIL.Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    pixels = decoded(encoded(cmyk, "JPEG", quality=100)).astype(int)
    assert (np.abs(pixels - [255, 0, 0]) <= 4).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_f25_sixteen_bits_are_scaled_by_their_high_byte(kind):
    wide = GREY.astype(np.uint16) * 257 + 200
    image = PIL.Image.fromarray(wide)
    assert (decoded(encoded(image, kind)) == thrice((wide >> 8).astype(np.uint8))).all()


def png(width, height, depth, colour, raw):
    """A PNG of Pillow's less usual kinds, written by hand."""

    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def test_f25_sixteen_bit_colour_is_scaled_by_its_high_byte():
    raw = b"\0" + struct.pack(">6H", 0x1234, 0x80FF, 0xFFFF, 0, 0xFF, 0x100)
    assert decoded(png(2, 1, 16, 2, raw)).tolist() == [[[0x12, 0x80, 0xFF], [0, 0, 1]]]


def test_f25_sixteen_bit_grey_of_a_tiff_with_values_outside_is_refused():
    refused(encoded(PIL.Image.fromarray(np.array([[-1, 70_000]], np.int32)), "TIFF"), "from -1 to")


def test_f25_floating_point_is_refused():
    data = encoded(PIL.Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")
    refused(data, "got floating-point ones", "convert the image to 8 bits")


# F26


UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


def exif(orientation):
    block = PIL.Image.Exif()
    block[0x0112] = orientation
    return block


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_f26_exif_is_applied_once_and_the_size_follows(tmp_path, orientation, kind, options):
    stored = picture()
    plain = decoded(encoded(stored, kind, **options))
    path = tmp_path / "it.jpg"
    path.write_bytes(encoded(stored, kind, exif=exif(orientation), **options))
    image = read_image(path)
    assert (image.pixels.numpy() == UPRIGHT[orientation](plain)).all()
    assert read_size(path) == image.size
    assert read_sizes(path) == (image.size, (40, 60))


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_f26_an_unknown_orientation_changes_nothing(orientation):
    data = encoded(picture(), exif=exif(orientation))
    assert (decoded(data) == np.array(picture())).all()


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\0\0",
        b"Exif\0\0garbage",
        b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\4\0\0\0\1\0\0\0\6",
    ],
)
def test_f26_a_damaged_exif_block_changes_nothing(block):
    data = encoded(picture(), exif=block)
    assert (decoded(data) == np.array(picture())).all()


@pytest.mark.parametrize(("stated", "fits"), [((40, 60), True), ((60, 40), False)])
def test_f26_boxes_are_checked_against_the_upright_size(tmp_path, stated, fits):
    tree = VocTree(tmp_path / "set")
    tree.image("000001", exif=exif(6))
    tree.annotation("000001", annotation_xml(object_xml(), size=stated))
    if fits:
        assert read_voc(tree.root, "train", strict=True).records[0].truth.size == (60, 40)
        return
    with pytest.raises(DataError, match="annotated without the EXIF rotation"):
        read_voc(tree.root, "train")


# F27


def huge_jpeg(width, height):
    data = bytearray(encoded(picture(), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        png(20_000, 20_000, 1, 0, bytes(2501)),
        png(10_000, 9_000, 1, 0, bytes(2501)),
        huge_jpeg(65_000, 65_000),
        huge_jpeg(10_000, 9_000),
    ],
    ids=["png 400M", "png 90M", "jpeg 4G", "jpeg 90M"],
)
def test_f27_too_many_pixels_are_refused_before_decoding(data):
    start = time.process_time()
    refused(data, "expected at most ", "pixels")
    assert time.process_time() - start < 1


def test_f27_the_limit_is_the_callers():
    with pytest.raises(DataError, match="expected at most 2,399 pixels, got 60 x 40 = 2,400"):
        decode_image(JPEG, "it", max_pixels=2399)
    assert decode_image(JPEG, "it", max_pixels=2400).size == (40, 60)


def test_f27_check_finds_images_above_the_limit(tmp_path):
    tree = VocTree(tmp_path / "set")
    config = DataConfig(root=str(tree.root), train_split="train", max_pixels=100)
    findings = check_dataset(config, ["train"]).findings
    assert [(finding.kind, finding.count) for finding in findings] == [("image too large", 1)]


# F28


def flat(width, height, value):
    pixels = torch.full((height, width, 3), value, dtype=torch.uint8)
    return Image(image_id="flat", pixels=pixels)


@pytest.fixture(scope="module")
def extractors():
    backbone = load_backbone(BackboneConfig(name="squeezenet"))
    return [
        make_extractor(backbone, FeatureConfig(method=method, scales=(96,), device="cpu"))
        for method in ("sppnet", "rcnn")
    ]


@pytest.mark.parametrize(("width", "height"), [(1, 1), (8, 8), (31, 31), (1, 500), (500, 1)])
def test_f28_tiny_images_give_features_of_the_usual_length(extractors, width, height):
    image = decode_image(encoded(picture(width, height)), "tiny")
    boxes = torch.tensor([[0, 0, width, height]], dtype=torch.float32)
    for extractor in extractors:
        features = extractor.extract(image, boxes).expand()
        assert features.shape == (1, extractor.feature_dim)
        assert features.isfinite().all()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (8, 8), (31, 31), (1, 500)])
@pytest.mark.parametrize("backend", ["native", "opencv"])
def test_f28_tiny_images_are_searched(width, height, backend):
    image = decode_image(encoded(picture(width, height)), "tiny")
    boxes = propose(image, ProposalConfig(backend=backend)).boxes
    assert boxes.shape[1] == 4


# F29


@pytest.mark.parametrize("backend", ["native", "opencv"])
@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize(("width", "height"), [(60, 40), (100, 10)])
def test_f29_flat_images_are_searched(backend, value, width, height):
    boxes = propose(flat(width, height, value), ProposalConfig(backend=backend)).boxes
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= width).all()
    assert (boxes[:, 3] <= height).all()


@pytest.mark.parametrize(("width", "height"), [(300, 732), (227, 640), (1000, 100)])
def test_f29_the_sizes_that_crashed_older_versions_are_searched(width, height):
    image = decode_image(encoded(picture(width // 4, height // 4).resize((width, height))), "it")
    assert len(propose(image, ProposalConfig(backend="opencv")).boxes) > 0


# F30


def test_f30_an_image_replaced_after_its_proposals_were_stored_is_searched_again(tmp_path, caplog):
    tree = VocTree(tmp_path / "set")
    config = dataclasses.replace(ProposalConfig(), min_side=4, workers=1)
    dataset = read_voc(tree.root, "train")
    record = dataset.records[0]
    store = propose_dataset(dataset, config, tmp_path / "store")
    assert store.load(record) is not None
    tree.image("000001", picture=lambda: picture(seed=1))
    assert store.load(record) is None
    with caplog.at_level(logging.INFO):
        store = propose_dataset(dataset, config, tmp_path / "store")
    assert store.load(record) is not None
