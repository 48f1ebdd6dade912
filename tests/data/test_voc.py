"""Folders in VOC layout that are sound."""

import subprocess
import sys
import textwrap

import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detection import boxes as box_algebra
from detection.data.voc import open_voc_folder, read_voc
from detection.errors import DataError
from tests.data.folders import VocTree, annotation_xml, object_xml
from tests.data.real import REAL_SUBSET, needs_real_subset

VOC_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


@pytest.fixture
def tree(tmp_path):
    return VocTree(tmp_path / "set")


def test_a_box_around_the_whole_image_is_the_image(tree):
    tree.annotation("000001", annotation_xml(object_xml(corners=(1, 1, 60, 40))))
    record = read_voc(tree.root, "train", strict=True).records[0]
    assert record.truth.size == (40, 60)
    assert record.truth.boxes.tolist() == [[0, 0, 60, 40]]


def devkit_iou(a, b):
    """The devkit's overlap of inclusive corners, VOCevaldet.m."""
    wide = min(a[2], b[2]) - max(a[0], b[0]) + 1
    high = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if wide <= 0 or high <= 0:
        return 0.0
    area = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
    return wide * high / (sum(area) - wide * high)


corner_pairs = st.tuples(*[st.integers(1, 59)] * 2).map(sorted).filter(lambda p: p[0] < p[1])
inclusive_boxes = st.tuples(corner_pairs, corner_pairs).map(
    lambda pair: (pair[0][0], pair[1][0], pair[0][1], pair[1][1])
)


@given(inclusive_boxes, inclusive_boxes)
def test_the_iou_of_converted_boxes_is_the_devkits(a, b):
    converted = torch.tensor(
        [[c[0] - 1, c[1] - 1, c[2], c[3]] for c in (a, b)], dtype=torch.float64
    )
    got = box_algebra.iou(converted[:1].float(), converted[1:].float())
    assert got.item() == pytest.approx(devkit_iou(a, b), abs=1e-6)


def test_class_names_are_those_of_the_annotations_in_order(tree):
    names = ["zebra", "ant", "zebra", "Bee"]
    tree.annotation("000001", annotation_xml(*[object_xml(name=name) for name in names]))
    dataset = read_voc(tree.root, "train")
    assert dataset.class_names == ("Bee", "ant", "zebra")
    assert dataset.records[0].truth.labels.tolist() == [2, 1, 2, 0]


def test_given_class_names_decide_the_labels(tree):
    dataset = read_voc(tree.root, "train", class_names=("cat", "dog"))
    assert dataset.class_names == ("cat", "dog")
    assert dataset.records[0].truth.labels.tolist() == [1]


def test_a_set_without_any_object_needs_class_names(tree):
    tree.annotation("000001", annotation_xml())
    with pytest.raises(DataError, match=r"expected at least one object, got none"):
        read_voc(tree.root, "train")
    assert len(read_voc(tree.root, "train", class_names=("dog",)).records) == 1


def test_records_stand_in_the_order_of_the_list(tree):
    for image_id in ("b", "a"):
        tree.more(image_id)
    tree.split("train", "b\n000001\na\n")
    assert [r.image_id for r in read_voc(tree.root, "train").records] == ["b", "000001", "a"]


@pytest.mark.parametrize("below", ["", "VOC2007", "VOCdevkit/VOC2007"])
def test_the_folder_is_found_at_or_below_the_root(tmp_path, below):
    VocTree(tmp_path / "set" / below)
    assert open_voc_folder(tmp_path / "set").path == tmp_path / "set" / below


def test_the_year_chooses_among_several(tmp_path):
    for year in (2007, 2012):
        VocTree(tmp_path / "VOCdevkit" / f"VOC{year}")
    for root in (tmp_path, tmp_path / "VOCdevkit"):
        dataset = read_voc(root, "train", year=2012)
        assert dataset.name == "VOC2012 train"
        with pytest.raises(DataError, match=r"expected one VOC<year> folder.*VOC2007, VOC2012"):
            read_voc(root, "train")
        with pytest.raises(DataError, match=r"expected VOC2010 with .*, got none"):
            read_voc(root, "train", year=2010)


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone: expected a folder, got none"):
        read_voc(tmp_path / "gone", "train")


def test_an_image_listed_without_a_file_is_looked_for_under_the_usual_name(tree):
    tree.split("train", "gone\n")
    tree.annotation("gone", annotation_xml(object_xml()))
    with pytest.raises(DataError, match=r"gone\.jpg: expected a readable file"):
        read_voc(tree.root, "train", strict=True)


@pytest.mark.data
@needs_real_subset
def test_the_real_subset_is_read_as_it_is_described():
    train, val = (read_voc(REAL_SUBSET, split, strict=True) for split in ("train", "val"))
    assert (len(train.records), len(val.records)) == (616, 175)
    assert train.class_names == val.class_names == VOC_CLASSES
    assert train.notes == val.notes == {}
    for record in val.records[:20]:
        with PIL.Image.open(record.path) as image:
            assert record.truth.size == image.size[::-1]


READ = """
    import time
    from pathlib import Path
    from detection.data.voc import read_voc
    read_voc(Path({root!r}), "warm")
    start = time.process_time()
    print(len(read_voc(Path({root!r}), "train").records), time.process_time() - start)
"""


def test_annotations_are_read_at_three_milliseconds_each(tmp_path):
    tree = VocTree(tmp_path / "set")
    image_ids = [f"{number:06d}" for number in range(1, 1001)]
    image = tree.root / "JPEGImages" / "000001.jpg"
    for image_id in image_ids:
        if image_id != "000001":
            (tree.root / "JPEGImages" / f"{image_id}.jpg").hardlink_to(image)
        tree.annotation(image_id, annotation_xml(*[object_xml()] * 3, filename=""))
    tree.split("train", "\n".join(image_ids))
    tree.split("warm", "000001")
    program = textwrap.dedent(READ).format(root=str(tree.root))
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    count, seconds = output.stdout.split()
    assert int(count) == 1000
    assert float(seconds) < 3
