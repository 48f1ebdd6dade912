"""Lists that were drawn stay what they were, whatever is added to the folder."""

import json
from dataclasses import replace

import pytest

from detection.config import DataConfig
from detection.data.dataset import read_dataset
from detection.data.kept_lists import drawn_lists, with_kept_lists
from detection.data.split import sole_list
from detection.errors import DataError
from tests.data.folders import VocTree, annotation_xml, object_xml, picture


def add(root, name, seed):
    root.mkdir(parents=True, exist_ok=True)
    picture(seed=seed).save(root / f"{name}.jpg")
    text = annotation_xml(object_xml(), filename=f"{name}.jpg")
    (root / f"{name}.xml").write_text(text)


def table(root, names):
    rows = "\n".join(f"{name}.jpg,1,2,30,20,dog" for name in names)
    (root / "boxes.csv").write_text(rows)


@pytest.fixture
def photos(tmp_path):
    for number in range(20):
        add(tmp_path / "photos", f"p{number:02d}", number)
    return tmp_path / "photos"


def names(config, split):
    return [r.path.stem for r in read_dataset(config, split, class_names=("dog",)).records]


def grow(root):
    """Add images until a fresh draw has another test list."""
    before = names(DataConfig(root=str(root)), "test")
    for number in range(40):
        add(root, f"n{number:02d}", 100 + number)
        after = names(DataConfig(root=str(root)), "test")
        if set(before) - set(after):
            return
    raise AssertionError


def test_a_new_image_does_not_move_the_others(photos, tmp_path, caplog):
    config = with_kept_lists(DataConfig(root=str(photos)), tmp_path, write=True)
    train, test = (names(config, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (16, 4)
    grow(photos)
    assert (names(config, "train"), names(config, "test")) == (train, test)
    again = with_kept_lists(DataConfig(root=str(photos)), tmp_path)
    assert names(again, "test") == test
    assert "in no list" in caplog.text
    assert str(tmp_path / "split.json") in caplog.text
    assert set(json.loads((tmp_path / "split.json").read_text())) == {str(photos)}


def test_a_folder_that_was_moved_keeps_its_lists(photos, tmp_path):
    config = with_kept_lists(DataConfig(root=str(photos)), tmp_path, write=True)
    test = names(config, "test")
    photos.rename(tmp_path / "moved")
    add(tmp_path / "moved", "new", 77)
    assert names(replace(config, root=str(tmp_path / "moved")), "test") == test


def test_another_folder_gets_lists_of_its_own(photos, tmp_path, caplog):
    config = with_kept_lists(DataConfig(root=str(photos)), tmp_path, write=True)
    for number in range(5):
        add(tmp_path / "other", f"o{number}", 200 + number)
    other = replace(config, root=str(tmp_path / "other"))
    assert len(names(other, "train") + names(other, "test")) == 5
    assert "no lists of" in caplog.text


def test_an_image_of_the_lists_that_is_gone_is_named(photos, tmp_path):
    config = with_kept_lists(DataConfig(root=str(photos)), tmp_path, write=True)
    gone = names(config, "test")[0]
    (photos / f"{gone}.jpg").unlink()
    with pytest.raises(DataError, match=rf"split.json: test: expected images of .*got '{gone}'"):
        read_dataset(config, "train")


def test_a_folder_with_lists_draws_none(tmp_path):
    VocTree(tmp_path / "set")
    (tmp_path / "set" / "ImageSets" / "Main" / "test.txt").write_text("000001\n")
    config = DataConfig(root=str(tmp_path / "set"))
    assert drawn_lists(config) == {}
    assert with_kept_lists(config, tmp_path, write=True) == config
    assert not (tmp_path / "split.json").exists()


def test_each_root_has_its_own_lists(photos, tmp_path):
    folder = tmp_path / "table"
    folder.mkdir()
    own = [f"t{number}" for number in range(10)]
    for number, name in enumerate(own):
        picture(seed=300 + number).save(folder / f"{name}.jpg")
    table(folder, own)
    config = DataConfig(root=(str(photos), str(folder)))
    kept = with_kept_lists(config, tmp_path, write=True)
    lists = json.loads((tmp_path / "split.json").read_text())
    assert {root: len(parts["test"]) for root, parts in lists.items()} == {
        str(photos): 4,
        str(folder): 2,
    }
    test = names(kept, "test")
    picture(seed=400).save(folder / "aaa.jpg")
    table(folder, ["aaa", *own])
    assert names(kept, "test") == test
    assert len(names(kept, "train")) == 16 + 8


@pytest.mark.parametrize(
    ("lists", "sole"),
    [
        (["default", "cat_default"], "default"),
        (["train"], None),
        (["default", "other"], None),
        ([], None),
        (["all"], "all"),
    ],
)
def test_only_a_list_that_is_no_usual_one_is_divided(lists, sole):
    assert sole_list(lists) == sole


@pytest.mark.parametrize(
    "content", ["", "[]", '{"a": []}', '{"a": {"test": 1}}', '{"a": {"x": ["b"], "y": ["b"]}}']
)
def test_a_file_that_keeps_no_lists_is_named(photos, tmp_path, content):
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(DataError, match=r"split.json: expected .*; correct data.lists"):
        read_dataset(DataConfig(root=str(photos), lists=str(tmp_path / "split.json")), "train")
