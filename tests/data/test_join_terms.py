"""Several COCO files as one: results keep the files' own identifiers where these are unique."""

import json
import logging

import pytest

from detection.config import DataConfig
from detection.data.dataset import read_dataset
from tests.data.folders import coco_content, picture
from tests.data.test_roots import tree

CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 90, "name": "dog"}]


def file(root, number, categories=CATEGORIES, label=90, annotation=1):
    """Write a COCO file of one image with one object."""
    content = coco_content(
        images=[{"id": number, "file_name": f"{root.name}.jpg", "width": 60, "height": 40}],
        categories=categories,
        annotations=[
            {"id": annotation, "image_id": number, "category_id": label, "bbox": [5, 6, 20, 10.25]}
        ],
    )
    root.mkdir()
    (root / "test.json").write_text(json.dumps(content))
    picture(seed=sum(root.name.encode())).save(root / f"{root.name}.jpg")
    return str(root)


def read(*roots, names=("cat", "dog")):
    config = DataConfig(root=roots, train_split="train", test_split="test")
    return read_dataset(config, "test", class_names=names)


def test_identifiers_that_are_unique_stay(tmp_path, caplog):
    dataset = read(file(tmp_path / "a", 7), file(tmp_path / "b", 12, label=3))
    terms = dataset.coco
    assert terms.image_ids == {"7": 7, "12": 12}
    assert terms.category_ids == (3, 90)
    assert [(row["image_id"], row["category_id"]) for row in terms.annotations] == [
        (7, 90),
        (12, 3),
    ]
    assert [row["id"] for row in terms.annotations] == [1, 2]  # both files count from 1
    assert [row["bbox"] for row in terms.annotations] == [[5, 6, 20, 10.25]] * 2
    assert "COCO results" not in caplog.text


def test_images_of_one_identifier_have_the_folder_in_front_and_this_is_said(tmp_path, caplog):
    dataset = read(file(tmp_path / "a", 7), file(tmp_path / "b", 7, annotation=2))
    assert dataset.coco.image_ids == {"a/7": "a/7", "b/7": "b/7"}
    assert dataset.coco.category_ids == (3, 90)
    assert [row["image_id"] for row in dataset.coco.annotations] == ["a/7", "b/7"]
    assert [row["id"] for row in dataset.coco.annotations] == [1, 2]
    (said,) = [one for one in caplog.messages if "COCO results" in one]
    assert "image_id has the folder in front" in said


def test_classes_that_the_files_number_apart_count_from_1_and_this_is_said(tmp_path, caplog):
    swapped = [{"id": 90, "name": "cat"}, {"id": 3, "name": "dog"}]
    dataset = read(file(tmp_path / "a", 7), file(tmp_path / "b", 12, swapped))
    assert dataset.coco.category_ids == (1, 2)
    assert [row["category_id"] for row in dataset.coco.annotations] == [2, 1]
    assert dataset.coco.image_ids == {"7": 7, "12": 12}
    (said,) = [one for one in caplog.messages if "COCO results" in one]
    assert "category_id is the class's place in the class list, from 1" in said


def test_a_class_that_one_file_lacks_keeps_the_identifier_of_the_other(tmp_path, caplog):
    only = [{"id": 90, "name": "dog"}]
    roots = file(tmp_path / "a", 7), file(tmp_path / "b", 12, only)
    dataset = read(*roots, names=("cat", "dog", "owl"))
    assert dataset.coco.category_ids == (3, 90, 91)
    assert dataset.coco.lacking == {2}
    assert "COCO results" not in caplog.text


def test_beside_a_folder_without_identifiers_there_are_none_and_this_is_said(tmp_path, caplog):
    voc = tree(tmp_path / "voc", ["x"], split="test")
    dataset = read(file(tmp_path / "a", 7), str(voc.root))
    assert dataset.coco is None
    (said,) = [one for one in caplog.messages if "COCO results" in one]
    assert "image_id is the image's name" in said


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_training_which_has_no_results_says_nothing(tmp_path, caplog, split):
    caplog.set_level(logging.INFO)
    roots = file(tmp_path / "a", 7), file(tmp_path / "b", 7)
    config = DataConfig(root=roots, train_split="test", test_split="test")
    read_dataset(config, split)
    assert ("COCO results" in caplog.text) == (split == "test")
