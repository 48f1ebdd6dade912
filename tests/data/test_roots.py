"""Several folders and lists as one data set: VOC07+12."""

import pytest
import torch

from detection.config import DataConfig
from detection.data.check import check_dataset
from detection.data.dataset import read_dataset
from detection.data.roots import require_class_folders, require_folder, require_roots, sources_of
from detection.errors import ConfigError, DataError
from detection.proposals.store import ProposalStore
from detection.runs.config_io import config_from_dict, config_to_dict, read_repeated
from detection.structures import Proposals
from tests.data.folders import VocTree, annotation_xml, object_xml, picture


def tree(root, ids, *, seed=0, split="trainval", class_name="dog"):
    made = VocTree(root)
    for number, image_id in enumerate(ids):
        made.image(image_id, picture=lambda n=number: picture(seed=seed + n))
        xml = annotation_xml(object_xml(class_name), filename=f"{image_id}.jpg")
        made.annotation(image_id, xml)
    made.split(split, "".join(f"{image_id}\n" for image_id in ids))
    return made


@pytest.fixture
def both(tmp_path):
    first = tree(tmp_path / "VOC2007", ["000001", "000002"], seed=10)
    tree(tmp_path / "VOC2007", ["000009"], seed=50, split="test")
    second = tree(tmp_path / "VOC2012", ["2008_000001", "2008_000002"], seed=20, class_name="cat")
    return [str(made.root) for made in (first, second)]


def paths(dataset):
    return [f"{record.path.parts[-3]}/{record.path.stem}" for record in dataset.records]


def test_two_years_are_one_training_set(both):
    config = DataConfig(root=tuple(both), test_split=("test", ""))
    train, test = read_dataset(config, "train"), read_dataset(config, "test")
    assert train.class_names == test.class_names == ("cat", "dog")
    assert [record.image_id for record in train.records] == [
        *("000001", "000002"),
        *("2008_000001", "2008_000002"),
    ]
    assert [record.truth.labels.tolist() for record in train.records] == [[1], [1], [0], [0]]
    assert all(record.path.is_file() for record in train.records)
    assert train.name == "VOC2007 trainval + VOC2012 trainval"
    assert (train.split, test.split, test.name) == ("trainval", "test", "VOC2007 test")
    assert [record.image_id for record in test.records] == ["000009"]
    report = check_dataset(config)
    assert report.clean, report.format()
    assert report.images == {
        **{"VOC2007 trainval": 2, "VOC2012 trainval": 2},
        **{"VOC2007 test": 1},
    }


@pytest.mark.parametrize(
    ("roots", "splits", "labels"),
    [
        (("x/VOC2007", "x/VOC2012"), "trainval", ["VOC2007", "VOC2012"]),
        (("a/set", "b/set"), "trainval", ["a/set", "b/set"]),
        ("a/set", ("train", "val"), ["set/train", "set/val"]),
        (("a", "a"), ("train", "train"), ["a/train/1", "a/train/2"]),
        (("a", "b", "c"), ("train", "", "x"), ["a", "c"]),
    ],
)
def test_each_part_has_a_name_of_its_own(roots, splits, labels):
    config = DataConfig(root=roots, train_split=splits)
    assert [source.label for source in sources_of(config, "train")] == labels


def test_two_lists_of_one_folder_are_one_and_no_image_counts_twice(tmp_path):
    made = tree(tmp_path / "set", ["a", "b", "c"])
    made.split("train", "a\nb\n")
    made.split("val", "b\nc\n")
    config = DataConfig(root=str(made.root), train_split=("train", "val"), test_split="val")
    dataset = read_dataset(config, "train")
    assert [record.image_id for record in dataset.records] == ["a", "b", "c"]
    assert dataset.notes == {"duplicate in the lists": 1}
    assert dataset.split == "train+val"
    assert {f.kind: f.count for f in check_dataset(config).findings} == {"in both lists": 2}


def test_a_training_image_of_any_root_is_found_among_those_to_test_on(both, tmp_path):
    copied = tmp_path / "VOC2012" / "JPEGImages" / "2008_000001.jpg"
    (tmp_path / "VOC2007" / "JPEGImages" / "000009.jpg").write_bytes(copied.read_bytes())
    config = DataConfig(root=tuple(both), test_split=("test", ""), strict_splits=True)
    with pytest.raises(DataError, match=r"expected no training image, got 1 .*2008_000001.jpg"):
        read_dataset(config, "test")


def test_formats_may_differ_from_root_to_root(both, tmp_path):
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "trainval.csv").write_text("x.jpg,1,2,30,20,dog\n")
    picture(seed=99).save(tmp_path / "table" / "x.jpg")
    dataset = read_dataset(DataConfig(root=(both[0], str(tmp_path / "table"))), "train")
    assert [record.image_id for record in dataset.records] == ["000001", "000002", "x"]


def test_boxes_of_two_images_of_one_name_are_kept_apart(tmp_path):
    records = []
    for name, seed in (("a", 1), ("b", 2)):
        tree(tmp_path / name, ["000001"], seed=seed)
        records += read_dataset(DataConfig(root=str(tmp_path / name)), "train").records
    store = ProposalStore(tmp_path / "boxes", config_from_dict({}).proposals)
    assert records[0].image_id == records[1].image_id
    for number, record in enumerate(records):
        boxes = torch.full((1, 4), float(number))
        store.save(record, Proposals(image_id=record.image_id, boxes=boxes))
    loaded = [store.load(record) for record in (*records, *records)]
    assert [found.boxes[0, 0].item() for found in loaded if found] == [0.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("texts", "value"),
    [
        (["a"], "a"),
        (["a, b"], "a, b"),
        (["[a, b]"], ("a", "b")),
        (["a", "b"], ("a", "b")),
        (["a", "[b, c]"], ("a", "b", "c")),
        (["test", ""], ("test", "")),
    ],
)
def test_roots_are_named_in_a_list_or_one_by_one(texts, value):
    assert read_repeated("data", "root", texts) == value


def test_one_root_in_a_list_is_that_root():
    config = config_from_dict({"data": {"root": ["a"], "train_split": ["x"]}})
    assert config.data == DataConfig(root="a", train_split="x")
    many = config_from_dict({"data": {"root": ["a", "b"]}})
    assert config_from_dict(config_to_dict(many)) == many


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"root": ("a", "b"), "train_split": ("x", "y", "z")}, "one for each of the 2 roots"),
        ({"root": ("a", "b"), "test_split": ("", "")}, "data.test_split"),
        ({"root": ("a", "")}, "data.root: expected one or more folders"),
        ({"root": ()}, "data.root"),
        ({"train_split": ""}, "data.train_split"),
    ],
)
def test_lists_that_do_not_fit_the_roots_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        DataConfig(**settings)


def test_a_root_that_is_not_there_is_named(tmp_path):
    require_folder(tmp_path)
    with pytest.raises(DataError, match=r"none: expected a folder, got none; correct data\.root"):
        require_folder(tmp_path / "none")
    with pytest.raises(DataError, match=r"none: expected a folder of class folders, got none"):
        require_class_folders(tmp_path / "none")


def test_the_roots_of_the_lists_that_are_read_have_to_be_there(tmp_path):
    gone = str(tmp_path / "gone")
    config = DataConfig(root=(str(tmp_path), gone), test_split=("test", ""))
    require_roots(config, "test")
    with pytest.raises(DataError, match="gone: expected a folder"):
        require_roots(config, "test", "train")
    require_roots(DataConfig(root=gone, format="coco"), "train")  # its file may be elsewhere
