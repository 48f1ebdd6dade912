"""One image under two names: in both lists, twice in one list. Files decide, never numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from detection.config import DataConfig
from detection.data.check import check_dataset
from detection.data.dataset import read_dataset
from detection.data.overlap import shared_files
from detection.errors import DataError
from tests.data.folders import VocTree, picture
from tests.faults.small import fail, run


def write_lists(root: Path, train: dict[int, str], test: dict[int, str]) -> DataConfig:
    """Write images and two COCO files, identifier -> file name."""
    root.mkdir(exist_ok=True)
    for name in {*train.values(), *test.values()}:
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        if not (root / name).exists():
            picture(seed=sum(name.encode())).save(root / name)
    for split, listed in (("train", train), ("test", test)):
        content = {
            "images": [{"id": key, "file_name": name} for key, name in listed.items()],
            "categories": [{"id": 1, "name": "dog"}],
            "annotations": [
                {"id": number, "image_id": key, "category_id": 1, "bbox": [5, 6, 20, 10]}
                for number, key in enumerate(listed, start=1)
            ],
        }
        (root / f"{split}.json").write_text(json.dumps(content))
    return DataConfig(
        format="coco",
        root=str(root),
        train_split="train.json",
        test_split="test.json",
        strict_splits=True,
    )


def kinds(config: DataConfig, *, decode: bool = True) -> dict[str, int]:
    return {f.kind: f.count for f in check_dataset(config, workers=1, decode=decode).findings}


def options(config: DataConfig) -> tuple[str, ...]:
    return (
        *("--data.format", "coco", "--data.root", config.root),
        *("--data.train_split", "train.json", "--data.test_split", "test.json"),
    )


def test_the_same_numbers_for_other_files_are_no_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_lists(tmp_path, {0: "a.png", 1: "b.png"}, {0: "c.png", 1: "d.png"})
    assert read_dataset(config, "test").notes == {}
    assert kinds(config) == {}
    assert run("check", *options(config), "--proposals.workers", "1") == 0
    assert "nothing wrong" in capsys.readouterr().out


def copied(root: Path) -> str:
    shutil.copy(root / "a.png", root / "copy.png")
    return "copy.png"


def linked(root: Path) -> str:
    (root / "link.png").symlink_to("a.png")
    return "link.png"


@pytest.mark.parametrize("make", [lambda root: "a.png", copied, linked])
@pytest.mark.parametrize("decode", [True, False])
def test_a_training_image_among_the_test_images_is_found_by_its_file(
    tmp_path: Path, make: object, decode: bool
) -> None:
    write_lists(tmp_path, {1: "a.png"}, {2: "c.png"})
    name = make(tmp_path)
    config = write_lists(tmp_path, {1: "a.png", 2: "b.png"}, {900: name, 901: "c.png"})
    with pytest.raises(DataError, match=rf"got 1 that are also in.*{name}"):
        read_dataset(config, "test")
    assert kinds(config, decode=decode)["in both lists"] == 1


def test_a_copy_under_another_name_is_found_in_a_voc_folder_too(tmp_path: Path) -> None:
    tree = VocTree(tmp_path)
    tree.more("000002")
    tree.more("000003")
    shutil.copy(tmp_path / "JPEGImages/000001.jpg", tmp_path / "JPEGImages/000003.jpg")
    tree.split("test", "000002\n000003\n")
    config = DataConfig(root=str(tmp_path), train_split="train", test_split="test")
    assert read_dataset(config, "test").notes == {"also in the training list": 1}
    assert kinds(config) == {"in both lists": 1, "same image twice": 1}


@pytest.mark.parametrize("second", ["a.png", "./a.png", "link.png"])
def test_a_file_under_two_ids_stops_and_both_are_named(
    tmp_path: Path, second: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lists(tmp_path, {1: "b.png"}, {5: "a.png"})
    linked(tmp_path)
    config = write_lists(tmp_path, {1: "b.png"}, {5: "a.png", 77: second})
    with pytest.raises(DataError, match=r"test.json: .*\.png: .* image 5 and as image 77"):
        read_dataset(config, "test")
    assert kinds(config)["file under two ids"] == 1
    assert run("check", *options(config), "--proposals.workers", "1") == 1
    config = write_lists(tmp_path, {5: "a.png", 77: second}, {1: "b.png"})
    message = fail(capsys, "propose", *options(config), "--proposals.folder", tmp_path / "boxes")
    assert "image 5 and as image 77" in message


def test_files_that_are_not_there_are_in_no_pair(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    (tmp_path / "c").write_bytes(b"1")
    paths = [tmp_path / name for name in "ab"]
    assert shared_files(paths, [tmp_path / "gone", tmp_path / "c"]) == [
        (tmp_path / "a", tmp_path / "c")
    ]
    assert shared_files([], paths) == []


def test_ignore_flags_and_an_annotation_0_are_counted_and_named(tmp_path: Path) -> None:
    config = write_lists(tmp_path, {1: "a.png"}, {2: "b.png"})
    path = tmp_path / "test.json"
    content = json.loads(path.read_text())
    content["annotations"] = [
        {"id": n, "image_id": 2, "category_id": 1, "bbox": [5 + n, 6, 20, 10], "ignore": n % 2}
        for n in range(4)
    ]
    path.write_text(json.dumps(content))
    dataset = read_dataset(config, "test")
    assert dataset.notes == {"ignore flag": 2, "annotation 0": 1}
    assert dataset.records[0].truth.difficult.tolist() == [False] * 4
    report = check_dataset(config, workers=1)
    assert report.clean
    assert "annotation 1: expected iscrowd 1" in report.format()
