"""Identifiers and copies where several data sets become one."""

import json
from pathlib import Path

import pytest

from detection.config import DataConfig
from detection.data.check import check_dataset
from detection.data.dataset import read_dataset
from detection.errors import DataError
from tests.data.folders import coco_content, picture
from tests.data.test_roots import both, paths, tree

__all__ = ["both"]


def test_a_copy_in_another_root_is_left_out_of_training_and_stops_an_evaluation(both):
    tmp = Path(both[1])
    copy = tree(tmp, ["2008_000007"])
    source = next(tmp.parent.glob("VOC2007/JPEGImages/000001.jpg"))
    (tmp / "JPEGImages" / "2008_000007.jpg").write_bytes(source.read_bytes())
    copy.split("trainval", "2008_000007\n2008_000002\n")
    config = DataConfig(root=tuple(both), test_split="trainval")
    dataset = read_dataset(config, "train")
    assert [r.image_id for r in dataset.records] == ["000001", "000002", "2008_000002"]
    assert dataset.notes == {"image in two places": 1}
    assert [entry.file for entry in dataset.skipped] == [str(tmp / "JPEGImages/2008_000007.jpg")]
    with pytest.raises(DataError, match=r"2008_000007.jpg: expected an image of its own, got the"):
        read_dataset(config, "test", class_names=("cat", "dog"))
    found = {f.kind: (f.action, f.count) for f in check_dataset(config, ("train",)).findings}
    assert found["image in two places"] == ("skip", 1)


def test_images_of_one_name_get_the_name_of_their_root(tmp_path):
    for name, seed in (("a", 0), ("b", 10)):
        tree(tmp_path / name, ["000001", f"{name}2"], seed=seed)
    dataset = read_dataset(DataConfig(root=(str(tmp_path / "a"), str(tmp_path / "b"))), "train")
    ids = [record.image_id for record in dataset.records]
    assert ids == ["a/000001", "a/a2", "b/000001", "b/b2"]
    assert ids == [record.truth.image_id for record in dataset.records]
    assert paths(dataset) == ids


def test_coco_files_that_both_count_from_1_do_not_meet(tmp_path):
    for name, class_name in (("a", "dog"), ("b", "ant")):
        content = coco_content(
            images=[{"id": 1, "file_name": f"{name}.jpg", "width": 60, "height": 40}],
            categories=[{"id": 1, "name": class_name}],
            annotations=[{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 6, 20, 10]}],
        )
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.json").write_text(json.dumps(content))
        picture(seed=ord(name)).save(tmp_path / name / f"{name}.jpg")
    config = DataConfig(root=tuple(str(tmp_path / name) for name in "ab"), train_split="train")
    dataset = read_dataset(config, "train")
    assert [r.image_id for r in dataset.records] == ["a/1", "b/1"]
    assert [r.path.name for r in dataset.records] == ["a.jpg", "b.jpg"]
    assert dataset.class_names == ("ant", "dog")
    assert [r.truth.labels.tolist() for r in dataset.records] == [[1], [0]]
    assert dataset.coco.image_ids == {"a/1": "a/1", "b/1": "b/1"}
    assert dataset.coco.category_ids == (1, 2)
