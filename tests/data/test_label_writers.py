"""What each format can hold of a box and of its flags."""

import json

from detection.config import DataConfig
from detection.data.convert import convert
from detection.data.voc_xml import parse_annotation
from tests.data.folders import VocTree, annotation_xml, object_xml
from tests.data.test_convert import write_source


def test_yolo_holds_one_of_two_equal_objects(tmp_path):
    source = write_source(tmp_path / "set", [[("ant", (1.0, 2.0, 30.0, 20.0), False)] * 2] * 2)
    made = convert(source, "yolo", tmp_path / "out")
    assert made.objects == 2
    assert made.lost == {"objects in the place of another of their class": 2}


def test_what_a_format_cannot_hold_is_counted(tmp_path):
    tree = VocTree(tmp_path / "coco")
    rows = [
        {"id": 1, "image_id": 7, "category_id": 5, "bbox": [3, 4, 1, 9]},
        {"id": 2, "image_id": 7, "category_id": 5, "bbox": [3, 4, 8, 9], "iscrowd": 1},
        {"id": 3, "image_id": 7, "category_id": 5, "bbox": [3, 4, 80, 9]},
        {"id": 4, "image_id": 7, "category_id": 5, "bbox": [3, 4, 0, 9]},
    ]
    content = {
        "images": [{"id": 7, "file_name": "000001.jpg"}],
        "categories": [{"id": 5, "name": "dog"}],
        "annotations": rows,
    }
    root = tree.root / "JPEGImages"
    (root / "train.json").write_text(json.dumps(content))
    lost = dict(convert(DataConfig(root=str(root)), "voc", tmp_path / "voc").lost)
    assert lost == {
        "boxes of a pixel or less, which VOC cannot hold (left out)": 1,
        "crowd flags, which become difficult": 1,
        "clipped box (mended)": 1,
        "degenerate box (left out)": 1,
    }
    again = convert(DataConfig(root=str(root)), "coco", tmp_path / "again")
    written = json.loads((tmp_path / "again/annotations/instances_trainval.json").read_text())
    assert [image["id"] for image in written["images"]] == [7]
    assert written["categories"] == [{"id": 5, "name": "dog"}]
    assert [row["iscrowd"] for row in written["annotations"]] == [0, 1, 0]
    assert again.objects == 3


def test_voc_keeps_what_is_known_to_be_truncated_or_occluded(tmp_path):
    tree = VocTree(tmp_path / "set")
    flags = ["<truncated>1</truncated><occluded>0</occluded>", "<truncated>0</truncated>", ""]
    boxes = [(5, 6, 30, 35), (7, 6, 30, 35), (9, 6, 30, 35)]
    objects = [object_xml(corners=b, more=more) for b, more in zip(boxes, flags, strict=True)]
    tree.annotation("000001", annotation_xml(*objects))
    convert(DataConfig(root=str(tree.root), train_split="train"), "voc", tmp_path / "voc")
    (xml,) = (tmp_path / "voc").rglob("*.xml")
    found = parse_annotation(xml.read_bytes(), "a.xml").objects
    assert [(o.truncated, o.occluded) for o in found] == [
        (True, False),
        (False, None),
        (None, None),
    ]
