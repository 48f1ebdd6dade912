"""F21: what can be wrong with a COCO file."""

import json

import pytest

from detection.config import DataConfig
from detection.data.check import check_dataset
from detection.data.coco import category_ids, read_coco
from detection.data.dataset import read_dataset
from detection.errors import DataError
from tests.data.folders import coco_content, picture, write_coco

CROWD = {"counts": [1, 2, 3], "size": [40, 60]}


def annotation(**changes):
    entry = {"id": 1, "image_id": 7, "category_id": 90, "bbox": [5, 6, 20, 10], **changes}
    return {key: value for key, value in entry.items() if value is not None}


def read(tmp_path, content, **options):
    path = write_coco(tmp_path, content)
    return read_coco(tmp_path, path, **options)


def stops(tmp_path, content, *words, **options):
    with pytest.raises(DataError) as caught:
        read(tmp_path, content, **options)
    message = str(caught.value)
    assert "instances.json" in message
    assert "\n" not in message
    for word in words:
        assert word in message


def test_f21_boxes_are_continuous_corners(tmp_path):
    dataset = read(tmp_path, coco_content(), strict=True)
    assert dataset.class_names == ("dog",)
    assert dataset.records[0].image_id == "7"
    assert dataset.records[0].truth.boxes.tolist() == [[5, 6, 25, 16]]
    assert dataset.notes == {}


def test_f21_category_identifiers_with_gaps_become_labels_and_their_table_is_kept(tmp_path):
    entries = [annotation(), annotation(id=2, category_id=3)]
    dataset = read(tmp_path, coco_content(annotations=entries))
    assert dataset.class_names == ("cat", "dog")
    assert dataset.records[0].truth.labels.tolist() == [1, 0]
    assert category_ids(tmp_path / "instances.json") == {"cat": 3, "dog": 90}


@pytest.mark.parametrize("ids", [(0, 1), ("a", "b"), (5, "x"), (10, 2)])
def test_f21_identifiers_may_begin_at_zero_or_be_text(tmp_path, ids):
    content = coco_content(
        categories=[{"id": ids[0], "name": "cat"}, {"id": ids[1], "name": "dog"}],
        annotations=[annotation(category_id=ids[1])],
    )
    dataset = read(tmp_path, content, class_names=("cat", "dog"))
    assert dataset.records[0].truth.labels.tolist() == [1]
    assert category_ids(tmp_path / "instances.json") == {"cat": ids[0], "dog": ids[1]}


@pytest.mark.parametrize("bbox", [[5, 6, 0, 10], [5, 6, 20, 0], [5, 6, -4, 10]])
def test_f21_a_box_without_area_is_left_out_of_training_and_stops_an_evaluation(tmp_path, bbox):
    content = coco_content(annotations=[annotation(), annotation(id=2, bbox=bbox)])
    dataset = read(tmp_path, content)
    assert len(dataset.records[0].truth.labels) == 1
    assert dataset.notes == {"degenerate box": 1}
    stops(tmp_path, content, "annotation 2: expected xmin < xmax", strict=True)
    assert read(tmp_path, content, strict=True, allow=["degenerate"]).notes == dataset.notes


def test_f21_boxes_outside_are_clipped_or_left_out(tmp_path):
    entries = [annotation(bbox=[50, 30, 20, 20]), annotation(id=2, bbox=[70, 6, 5, 5])]
    dataset = read(tmp_path, coco_content(annotations=entries), strict=True)
    assert dataset.records[0].truth.boxes.tolist() == [[50, 30, 60, 40]]
    assert dataset.notes == {"clipped box": 1, "box outside the image": 1}


def test_f21_a_corner_at_zero_is_no_fault(tmp_path):
    entries = [annotation(bbox=[0, 0, 60, 40])]
    assert read(tmp_path, coco_content(annotations=entries), strict=True).notes == {}


def test_f21_a_crowd_is_difficult_and_counted_whatever_its_outline(tmp_path):
    entries = [annotation(iscrowd=1, segmentation=CROWD)]
    dataset = read(tmp_path, coco_content(annotations=entries), strict=True)
    assert dataset.records[0].truth.difficult.tolist() == [True]
    assert dataset.notes == {"crowd": 1}


BAD_ANNOTATIONS = {
    "image_id to be one that the file lists, got 8": annotation(image_id=8),
    "image_id to be one that the file lists, got '7'": annotation(image_id="7"),
    "category_id to be one that the file lists, got 4": annotation(category_id=4),
    "a number or a text as image_id, got nothing": annotation(image_id=None),
    "a number or a text as category_id, got float '90.5'": annotation(category_id=90.5),
    "a number or a text as category_id, got bool": annotation(category_id=True),
    "bbox as four numbers x, y, width, height, got None": annotation(bbox=None),
    "bbox as four numbers x, y, width, height, got [1, 2, 3]": annotation(bbox=[1, 2, 3]),
    "got [1, 2, 3, '4']": annotation(bbox=[1, 2, 3, "4"]),
    "got [1, 2, 3, True]": annotation(bbox=[1, 2, 3, True]),
    "got [1, 2, 3, nan]": annotation(bbox=[1, 2, 3, float("nan")]),
    "got [1, 2, 3, inf]": annotation(bbox=[1, 2, 3, float("inf")]),
    "iscrowd 0 or 1, got 2": annotation(iscrowd=2),
    "iscrowd 0 or 1, got [1]": annotation(iscrowd=[1]),
}


@pytest.mark.parametrize(("expected", "entry"), BAD_ANNOTATIONS.items())
def test_f21_a_bad_annotation_is_named_by_its_identifier(tmp_path, expected, entry):
    content = coco_content(annotations=[annotation(id=41), {**entry, "id": 42}])
    stops(tmp_path, content, "annotation 42: expected ", expected)


def test_f21_a_duplicate_annotation_identifier_stops(tmp_path):
    content = coco_content(annotations=[annotation(id=42), annotation(id=42)])
    stops(tmp_path, content, "annotation 42: expected a new id, got 42 again")


def test_f21_annotations_need_no_identifier(tmp_path):
    content = coco_content(annotations=[annotation(id=None), annotation(id=None)])
    assert len(read(tmp_path, content).records[0].truth.labels) == 2
    content = coco_content(annotations=[annotation(id=None), annotation(id=None, bbox=[1])])
    stops(tmp_path, content, "annotations[2]: expected bbox")


BAD_IMAGES = {
    "image '7': expected a new id, got '7' again": [
        {"id": 7, "file_name": "a.jpg"},
        {"id": "7", "file_name": "b.jpg"},
    ],
    "images[1]: expected a number or a text as id, got nothing": [{"file_name": "a.jpg"}],
    "image 7: expected a text as file_name, got nothing": [{"id": 7}],
    "image 7: expected a text as file_name, got int": [{"id": 7, "file_name": 5}],
    "image 7: expected a file below the images' folder, got '../gone.jpg'": [
        {"id": 7, "file_name": "../gone.jpg"}
    ],
    "got '/etc/passwd'": [{"id": 7, "file_name": "/etc/passwd"}],
    "got 'C:": [{"id": 7, "file_name": "C:\\gone.jpg"}],
    "images[1]: expected an object, got int '5'": [5],
}


@pytest.mark.parametrize(("expected", "images"), BAD_IMAGES.items())
def test_f21_a_bad_image_entry_is_named(tmp_path, expected, images):
    stops(tmp_path, coco_content(images=images, annotations=[]), expected)


BAD_CATEGORIES = {
    "category 3: expected a new id, got 3 again": [(3, "cat"), (3, "dog")],
    "category 3: expected a text as name": [(3, " ")],
}


@pytest.mark.parametrize(("expected", "table"), BAD_CATEGORIES.items())
def test_f21_a_bad_category_is_named(tmp_path, expected, table):
    categories = [{"id": identifier, "name": name} for identifier, name in table]
    stops(tmp_path, coco_content(categories=categories, annotations=[]), expected)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "line 1, column 1: expected JSON"),
        ('{"images": [', "line 1, column 13: expected JSON"),
        ("<annotation/>", "expected JSON"),
        ("[" * 200_000, "expected JSON"),
        ("[1]", "expected images, annotations and categories, got list"),
        ('{"images": []}', "expected a list 'categories', got nothing"),
        ('{"images": {}, "annotations": [], "categories": []}', "expected a list 'images'"),
        ('{"images": [], "annotations": [], "categories": []}', "expected at least one image"),
        ("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "expected JSON"),
    ],
)
def test_f21_what_is_no_coco_file_is_named(tmp_path, content, word):
    stops(tmp_path, content, word)


def test_f21_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "instances.json"
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(DataError, match=r"instances.json: expected JSON"):
        read_coco(tmp_path, path)


def test_f21_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no\.json: expected a readable file"):
        read_coco(tmp_path, tmp_path / "no.json")


@pytest.mark.parametrize(("width", "height"), [(61, 40), (40, 60)])
def test_f21_another_size_stops(tmp_path, width, height):
    images = [{"id": 7, "file_name": "a.jpg", "width": width, "height": height}]
    stops(tmp_path, coco_content(images=images), "image 7: expected the image's width 60")


def test_f21_the_size_may_be_absent(tmp_path):
    dataset = read(tmp_path, coco_content(images=[{"id": 7, "file_name": "a.jpg"}]))
    assert dataset.records[0].truth.size == (40, 60)


def test_f21_unknown_classes_stop_or_are_left_out(tmp_path):
    stops(
        tmp_path,
        coco_content(),
        "annotation 1: expected a known class, got 'dog'",
        class_names=("dig",),
    )
    dataset = read(tmp_path, coco_content(), class_names=("dig",), ignore_unknown_classes=True)
    assert dataset.notes == {"unknown class": 1}


def test_f21_unreadable_images_follow_the_same_rules_as_in_a_voc_folder(tmp_path):
    images = [{"id": n, "file_name": f"{name}.jpg"} for n, name in ((7, "a"), (8, "gone"))]
    content = coco_content(images=images)
    assert read(tmp_path, content, max_skipped=0.5).notes == {"unreadable image": 1}
    with pytest.raises(DataError, match=r"gone\.jpg: expected a readable file"):
        read(tmp_path, content, strict=True)
    assert len(read(tmp_path, content, strict=True, allow=["missing"]).records) == 2


def test_f21_images_may_lie_in_folders_below(tmp_path):
    (tmp_path / "train").mkdir()
    picture().save(tmp_path / "train" / "b.jpg")
    content = coco_content(images=[{"id": 7, "file_name": "train/b.jpg"}])
    dataset = read(tmp_path, content)
    assert dataset.records[0].path == tmp_path / "train" / "b.jpg"


def test_f21_the_configuration_names_files_beside_or_below_the_images(tmp_path):
    path = write_coco(tmp_path, coco_content())
    config = DataConfig(
        root=str(tmp_path), format="coco", train_split="instances.json", test_split=str(path)
    )
    for split in ("train", "test"):
        assert read_dataset(config, split).class_names == ("dog",)


def test_f21_check_counts_every_kind(tmp_path):
    entries = [
        annotation(id=1),
        annotation(id=2, bbox=[1, 2, 0, 4]),
        annotation(id=3, image_id=9),
        annotation(id=4, bbox=[50, 30, 20, 20]),
        annotation(id=5, category_id=3),
    ]
    write_coco(tmp_path, coco_content(annotations=entries))
    config = DataConfig(
        root=str(tmp_path), format="coco", train_split="instances.json", class_names=("dog",)
    )
    report = check_dataset(config, ["train"])
    counts = {finding.kind: finding.count for finding in report.findings}
    assert counts == {
        "bad annotation": 1,
        "degenerate box": 1,
        "clipped box": 1,
        "unknown class": 1,
    }
    assert report.images == {"instances.json": 1}


def test_f21_check_reports_a_file_that_is_no_coco(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps([]))
    config = DataConfig(root=str(tmp_path), format="coco", train_split="x.json")
    findings = check_dataset(config, ["train"]).findings
    assert [finding.kind for finding in findings] == ["unreadable list"]
    assert "x.json: expected images" in findings[0].firsts[0]
