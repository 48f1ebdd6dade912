"""What people bring from the field: files as tools write them, and none of them read wrongly."""

import io
import json
import os
import subprocess
import sys
import unicodedata
import zlib
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import torch

from detection.backbones.weight_files import read_state, without_wrapper
from detection.config import DataConfig
from detection.data.check import check_dataset
from detection.data.coco import read_coco
from detection.data.dataset import read_dataset
from detection.data.folder import list_images
from detection.data.images import decode_image, read_header
from detection.data.voc import read_voc
from detection.errors import DataError, ImageError
from tests.data.folders import (
    VocTree,
    annotation_xml,
    coco_content,
    object_xml,
    picture,
    write_coco,
)


@pytest.fixture
def tree(tmp_path):
    return VocTree(tmp_path / "set")


def kinds(config, splits=("train",)):
    return {f.kind: (f.action, f.count) for f in check_dataset(config, splits).findings}


def voc(tree, **options):
    return DataConfig(root=str(tree.root), train_split="train", test_split="train", **options)


def test_objects_in_a_wrapper_are_read(tree):
    objects = f"<objects>{object_xml()}{object_xml('cat', (2, 3, 20, 30))}</objects>"
    tree.annotation("000001", annotation_xml(objects))
    dataset = read_voc(tree.root, "train", strict=True)
    assert dataset.class_names == ("cat", "dog")
    assert len(dataset.records[0].truth.boxes) == 2


@pytest.mark.parametrize("line", ["000001.jpg", '"000001"', '"000001.jpg"', "000001.JPG 1"])
def test_a_list_may_have_extensions_and_quotes(tree, line):
    tree.split("train", f"{line}\n")
    assert [r.image_id for r in read_voc(tree.root, "train").records] == ["000001"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("listed", ["NFC", "NFD"])
def test_the_same_letters_are_the_same_name_however_they_are_composed(tree, form, listed):
    name = unicodedata.normalize(form, "Café")
    tree.image(name)
    tree.annotation(name, annotation_xml(object_xml("Bälle"), filename=f"{name}.jpg"))
    tree.split("train", unicodedata.normalize(listed, "Café") + "\n")
    dataset = read_voc(tree.root, "train", strict=True)
    assert dataset.class_names == ("Bälle",)
    assert dataset.notes == {}


def test_class_names_that_differ_in_composition_are_one_class(tree):
    both = [object_xml(unicodedata.normalize(form, "Bälle")) for form in ("NFC", "NFD")]
    tree.annotation("000001", annotation_xml(*both))
    names = (unicodedata.normalize("NFD", "Bälle"),)
    assert read_voc(tree.root, "train").class_names == DataConfig(class_names=names).class_names


def test_of_two_files_of_one_stem_the_named_one_is_the_image(tree):
    png = tree.image("000001", "png")
    tree.annotation("000001", annotation_xml(object_xml(), filename="000001.png"))
    assert read_voc(tree.root, "train", strict=True).records[0].path == png
    tree.annotation("000001", annotation_xml(object_xml(), filename="000001.jpg"))
    assert read_voc(tree.root, "train", strict=True).records[0].path.suffix == ".jpg"


@pytest.mark.parametrize("filename", ["", "other.jpg"])
def test_two_files_of_one_stem_of_which_none_is_named_are_a_problem(tree, filename):
    tree.image("000001", "png")
    tree.annotation("000001", annotation_xml(object_xml(), filename=filename))
    with pytest.raises(DataError, match=r"got 000001.jpg and 000001.png, and a <filename>"):
        read_voc(tree.root, "train")
    assert kinds(voc(tree))["two files of one stem"] == ("stop", 1)


@pytest.mark.parametrize("extension", ["jfif", "jpe", "JFIF"])
def test_jpeg_by_its_other_names_is_read(tree, extension):
    (tree.root / "JPEGImages" / "000001.jpg").rename(tree.root / f"JPEGImages/000001.{extension}")
    tree.annotation("000001", annotation_xml(object_xml(), filename=f"000001.{extension}"))
    assert read_voc(tree.root, "train", strict=True).notes == {}
    found = list_images([tree.root / "JPEGImages"])
    assert [path.suffix for path in found] == [f".{extension}"]


def test_hidden_files_are_no_images_and_no_annotations(tree):
    (tree.root / "JPEGImages" / "._000001.jpg").write_bytes(b"\0\5\x16\7")
    (tree.root / "Annotations" / "._000001.xml").write_bytes(b"\0\5\x16\7")
    (tree.root / "JPEGImages" / ".DS_Store").write_bytes(b"x")
    assert kinds(voc(tree)) == {}
    assert [path.name for path in list_images([tree.root / "JPEGImages"])] == ["000001.jpg"]


def test_a_list_without_an_object_is_a_problem(tree, tmp_path):
    tree.annotation("000001", annotation_xml())
    assert kinds(voc(tree))["no objects"] == ("stop", 1)
    write_coco(tmp_path, coco_content(annotations=[]))
    config = DataConfig(root=str(tmp_path), format="coco", train_split="instances.json")
    assert kinds(config)["no objects"] == ("stop", 1)


@pytest.mark.parametrize("box", [[0.1, 0.2, 0.5, 0.6], [0, 0, 0.5, 1]])
def test_boxes_in_fractions_of_the_image_are_named(tmp_path, box):
    rows = [{"id": 1, "image_id": 7, "category_id": 90, "bbox": box}]
    path = write_coco(tmp_path, coco_content(annotations=rows))
    with pytest.raises(DataError, match=r"a box below one pixel; fractions of the image\?"):
        read_coco(tmp_path, path, strict=True, class_names=("dog",))
    config = DataConfig(root=str(tmp_path), format="coco", train_split=path.name)
    assert kinds(config)["box below a pixel"] == ("stop", 1)


def test_a_box_of_one_pixel_is_a_box(tmp_path):
    rows = [{"id": 1, "image_id": 7, "category_id": 90, "bbox": [0, 0, 1, 1]}]
    path = write_coco(tmp_path, coco_content(annotations=rows))
    assert len(read_coco(tmp_path, path, strict=True).records[0].truth.boxes) == 1


def test_boxes_that_never_leave_a_hundred_are_taken_for_percent(tree):
    image = tree.root / "JPEGImages" / "000001.jpg"
    picture(width=640, height=480).save(image)
    many = [object_xml(corners=(i, 5, 60 + 3 * i, 90)) for i in range(1, 13)]
    tree.annotation("000001", annotation_xml(*many, size=(640, 480)))
    assert kinds(voc(tree))["boxes in percent?"] == ("stop", 1)
    many[0] = object_xml(corners=(1, 5, 300, 90))
    tree.annotation("000001", annotation_xml(*many, size=(640, 480)))
    assert "boxes in percent?" not in kinds(voc(tree))


@pytest.mark.parametrize("side", [60.0, "60", " 60.0 "])
def test_sizes_as_other_programs_write_them_are_compared(tmp_path, side):
    images = [{"id": 7, "file_name": "a.jpg", "width": side, "height": 41}]
    path = write_coco(tmp_path, coco_content(images=images))
    with pytest.raises(DataError, match=r"width 60 and height 40, got 60 and 41"):
        read_coco(tmp_path, path)


@pytest.mark.parametrize("side", [True, None, "wide", 60.5, -60, float("nan"), [60]])
def test_what_is_no_length_is_no_size(tmp_path, side):
    images = [{"id": 7, "file_name": "a.jpg", "width": side, "height": 41}]
    path = write_coco(tmp_path, coco_content(images=images))
    assert len(read_coco(tmp_path, path).records) == 1


def test_a_root_category_with_the_name_of_a_class_is_passed_over(tmp_path):
    for order in (1, -1):
        categories = [{"id": 0, "name": "dog"}, {"id": 90, "name": "dog"}][::order]
        path = write_coco(tmp_path, coco_content(categories=categories))
        dataset = read_coco(tmp_path, path, strict=True)
        assert dataset.class_names == ("dog",)
        assert dataset.coco.category_ids == (90,)


def test_two_categories_of_one_name_with_objects_are_refused(tmp_path):
    rows = [{"id": i, "image_id": 7, "category_id": i, "bbox": [1, 1, 20 + i, 20]} for i in (1, 2)]
    content = coco_content(
        categories=[{"id": 1, "name": "dog"}, {"id": 2, "name": "dog"}], annotations=rows
    )
    with pytest.raises(DataError, match=r"expected a new name, got 'dog' again"):
        read_coco(tmp_path, write_coco(tmp_path, content))


@pytest.mark.parametrize("place", ["", "images", "train", "images/train"])
def test_images_are_found_where_tools_put_them(tmp_path, place):
    content = coco_content(images=[{"id": 7, "file_name": "b.jpg", "width": 60, "height": 40}])
    path = write_coco(tmp_path / "set", content).rename(tmp_path / "set" / "train.json")
    folder = tmp_path / "set" / place
    folder.mkdir(parents=True, exist_ok=True)
    picture().save(folder / "b.jpg")
    config = DataConfig(root=str(tmp_path / "set"), format="coco", train_split=str(path))
    assert kinds(config) == {}
    if place in {"", "images"}:
        assert kinds(replace(config, root=str(tmp_path))) == {}


@pytest.mark.parametrize(
    "name",
    [
        "{}/_annotations.coco.json",
        "annotations/instances_{}2017.json",
        "annotations/{}.json",
        "{}.json",
    ],
)
def test_coco_lists_are_found_by_their_name(tmp_path, name):
    root = tmp_path / "set"
    for word, image in (("train", "a.jpg"), ("val", "b.jpg")):
        rows = [{"id": 7, "file_name": image, "width": 60, "height": 40}]
        path = root / name.format(word)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(coco_content(images=rows)))
        folder = root / (f"{word}2017" if "2017" in name else word)
        folder.mkdir(exist_ok=True)
        picture(seed=len(word)).save(folder / image)
    config = DataConfig(root=str(root), format="coco")
    train, test = (read_dataset(config, split) for split in ("train", "test"))
    assert [r.path.name for r in (*train.records, *test.records)] == ["a.jpg", "b.jpg"]
    assert check_dataset(config).clean


def test_only_the_default_names_stand_for_others(tmp_path):
    write_coco(tmp_path, coco_content()).rename(tmp_path / "valid.json")
    config = DataConfig(root=str(tmp_path), format="coco", test_split="mine")
    with pytest.raises(DataError, match="mine: "):
        read_dataset(config, "test", class_names=("dog",))


def test_the_cause_comes_without_its_consequences(tmp_path):
    images = [{"id": 7, "file_name": "..\\..\\media\\upload\\4\\gone.jpg"}]
    config = DataConfig(root=str(tmp_path), format="coco", train_split="instances.json")
    write_coco(tmp_path, coco_content(images=images))
    found = check_dataset(config, ("train",)).findings
    assert [(f.kind, f.count) for f in found if f.action == "stop"] == [("bad image", 1)]
    assert "write 'gone.jpg'" in found[0].firsts[0]


def exif(orientation):
    tags = PIL.Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_images_that_exif_turns_without_another_size_are_counted(tree, orientation):
    picture().save(tree.root / "JPEGImages" / "000001.jpg", exif=exif(orientation))
    assert kinds(voc(tree)) == {"turned by EXIF": ("note", 1)}
    assert read_header(tree.root / "JPEGImages/000001.jpg") == ((40, 60), (40, 60), True)


def png16(values):
    file = io.BytesIO()
    PIL.Image.fromarray(values.astype(np.uint16)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_fewer_bits_in_sixteen_have_the_brightness_they_mean(bits, caplog):
    grey = np.linspace(0, (1 << bits) - 1, 60 * 40).reshape(40, 60)
    pixels = decode_image(png16(grey), "a.png").pixels.float()
    assert float(pixels.mean()) == pytest.approx(127.5, abs=1.0)
    assert ("read as" in caplog.text) == (bits < 16)


def chunk(kind, data):
    body = kind + data
    return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")


def png_with(extra):
    file = io.BytesIO()
    picture().save(file, "PNG")
    data = file.getvalue()
    return data[:33] + extra + data[33:]


def test_a_png_with_a_long_profile_or_text_is_read():
    profile = b"icc\0\0" + zlib.compress(bytes(3_000_000))
    comment = b"Comment\0\0" + zlib.compress(b"a" * 3_000_000)
    for extra in (chunk(b"iCCP", profile), chunk(b"zTXt", comment)):
        assert decode_image(png_with(extra), "a.png").size == (40, 60)


def test_a_png_that_cannot_be_opened_says_why():
    data = bytearray(png_with(b""))
    data[29] ^= 0xFF  # the checksum of the first block
    with pytest.raises(ImageError, match=r"expected an image, got a PNG .*\(.+\); save it again"):
        decode_image(bytes(data), "a.png")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "model."])
def test_names_of_wrappers_are_taken_off(prefix):
    tensors = {f"{prefix}conv.{name}": torch.zeros(2) for name in ("weight", "bias")}
    assert set(without_wrapper(tensors)) == {"conv.weight", "conv.bias"}
    mixed = {**tensors, "head.weight": torch.zeros(2)}
    assert set(without_wrapper(mixed)) == set(mixed)


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_weights_in_a_dictionary_of_a_training_script_are_found(tmp_path, key):
    path = tmp_path / "a.pth"
    torch.save({key: {"module.conv.weight": torch.ones(2)}, "epoch": 3}, path)
    assert list(read_state(path)[0]) == ["conv.weight"]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_without_the_letters_does_not_stop_the_work(tree, encoding):
    tree.annotation("000001", annotation_xml(object_xml("球")))
    command = [sys.executable, "-m", "detection", "check", "--data.root", str(tree.root)]
    command += ["--data.train_split", "train", "--data.test_split", "train"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"\\u7403" in done.stdout


def test_a_home_folder_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert DataConfig(root="~/set").root == str(tmp_path / "set")
    assert json.dumps(DataConfig(root="a~b").root) == '"a~b"'
