"""One command for a folder as its tool wrote it, whatever the tool."""

import json
import logging
from pathlib import Path

import pytest

from detection.config import DataConfig
from detection.data.check import check_dataset
from detection.data.dataset import read_dataset
from detection.data.tables import kind_of
from detection.errors import DataError
from tests.data.folders import VocTree, annotation_xml, object_xml, picture

SIZE = (60, 40)
BOX = (6.0, 4.0, 36.0, 24.0)
COUNTS = {"train": 4, "val": 2}


def images(root, folder):
    """Write the images of each list; yield its name and their paths below the root."""
    for word, count in COUNTS.items():
        paths = [folder.format(word) + f"/{word}{number}.jpg" for number in range(count)]
        for path in paths:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            picture(seed=len(path) + ord(path[-5]) + len(word)).save(root / path)
        yield word, paths


def yolo(root):
    (root / "data.yaml").parent.mkdir(parents=True, exist_ok=True)
    for _, paths in images(root, "images/{}"):
        for path in paths:
            label = root / path.replace("images", "labels").replace(".jpg", ".txt")
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(f"0 {21 / 60:.6f} {14 / 40:.6f} {30 / 60:.6f} {20 / 40:.6f}\n")
    text = "path: .\ntrain: images/train\nval: images/val\nnames: [dog]\n"
    (root / "data.yaml").write_text(text)


def csv(root):
    for word, paths in images(root, "{}"):
        rows = [f"{path},6,4,36,24,dog" for path in paths]
        (root / f"{word}.csv").write_text("\n".join(["filename,xmin,ymin,xmax,ymax,class", *rows]))


def roboflow_coco(root):
    for word, paths in images(root, "{}"):
        content = {
            "categories": [{"id": 0, "name": "dogs"}, {"id": 1, "name": "dog"}],
            "images": [
                {"id": i, "file_name": Path(p).name, "width": 60, "height": 40}
                for i, p in enumerate(paths)
            ],
            "annotations": [
                {"id": i, "image_id": i, "category_id": 1, "bbox": [6, 4, 30, 20]}
                for i in range(len(paths))
            ],
        }
        (root / word / "_annotations.coco.json").write_text(json.dumps(content))


def loose_xml(root):
    for _, paths in images(root, "{}"):
        for path in paths:
            text = annotation_xml(object_xml(corners=(7, 5, 36, 24)), filename=Path(path).name)
            (root / path).with_suffix(".xml").write_text(text)


TOOLS = {"yolo": yolo, "csv": csv, "coco": roboflow_coco, "voc": loose_xml}


@pytest.mark.parametrize("kind", TOOLS)
def test_a_folder_is_read_as_its_tool_wrote_it(tmp_path, kind, caplog):
    TOOLS[kind](tmp_path / "set")
    config = DataConfig(root=str(tmp_path / "set"))
    with caplog.at_level(logging.INFO):
        assert kind_of(config) == kind
        train, test = (read_dataset(config, split) for split in ("train", "test"))
    assert (len(train.records), len(test.records)) == (4, 2)
    assert train.class_names == ("dog",)
    for record in (*train.records, *test.records):
        assert record.truth.boxes.tolist() == [pytest.approx(BOX, abs=1e-3)]
        assert record.path.is_file()
    assert "read as" in caplog.text
    report = check_dataset(config)
    assert report.clean, report.format()
    assert report.images == {"trainval": 4, "test": 2}


@pytest.mark.parametrize("kind", ["yolo", "csv", "coco"])
def test_a_format_that_is_named_is_not_looked_for(tmp_path, kind):
    TOOLS[kind](tmp_path / "set")
    VocTree(tmp_path / "set")
    config = DataConfig(root=str(tmp_path / "set"), format=kind)
    assert len(read_dataset(config, "train").records) == 4
    assert kind_of(DataConfig(root=str(tmp_path / "set"))) == "voc"


@pytest.mark.parametrize("kind", TOOLS)
def test_images_of_both_lists_are_found_whatever_the_format(tmp_path, kind):
    TOOLS[kind](tmp_path / "set")
    first = next((tmp_path / "set").rglob("train0.jpg"))
    next((tmp_path / "set").rglob("val0.jpg")).write_bytes(first.read_bytes())
    config = DataConfig(root=str(tmp_path / "set"), strict_splits=True)
    with pytest.raises(DataError, match=r"expected no training image, got 1 "):
        read_dataset(config, "test")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("data.yaml", "names: [dog\n", r"data.yaml: expected YAML"),
        ("train.csv", "filename,xmin\na.jpg,1\n", r"train.csv"),
    ],
)
def test_a_damaged_file_is_named_instead_of_a_missing_voc_folder(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=words):
        read_dataset(DataConfig(root=str(tmp_path)), "train")


def test_a_folder_of_nothing_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"expected one VOC<year> folder"):
        read_dataset(DataConfig(root=str(tmp_path)), "train")
