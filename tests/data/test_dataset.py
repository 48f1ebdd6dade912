import pytest

from detection.config import DataConfig
from detection.data.dataset import read_dataset
from tests.data.folders import VocTree, annotation_xml, object_xml


@pytest.fixture
def tree(tmp_path):
    return VocTree(tmp_path / "set")


def test_the_test_list_takes_the_classes_of_the_training_list(tree):
    tree.more("000002", annotation_xml(object_xml(name="ant"), filename="000002.jpg"))
    tree.split("test", "000001\n")
    tree.split("train", "000001\n000002\n")
    config = DataConfig(root=str(tree.root), train_split="train", test_split="test")
    assert read_dataset(config, "test").class_names == ("ant", "dog")
    assert read_dataset(config, "test", class_names=("dog",)).class_names == ("dog",)


def test_evaluation_needs_no_training_list(tree):
    tree.split("test", "000001\n")
    config = DataConfig(root=str(tree.root), train_split="gone", test_split="test")
    assert len(read_dataset(config, "test", class_names=("dog",)).records) == 1


def flags(truth):
    return [None if f is None else f.tolist() for f in (truth.truncated, truth.occluded)]


def test_flags_of_a_voc_annotation_stay_with_their_objects_where_others_are_left_out(tree):
    objects = [
        object_xml(name="ant", more="<truncated>1</truncated>"),
        object_xml(name="dog", more="<truncated>0</truncated><occluded>1</occluded>"),
        object_xml(name="cow"),
    ]
    tree.annotation("000001", annotation_xml(*objects))
    tree.more("000002", annotation_xml(object_xml(name="dog"), filename="000002.jpg"))
    tree.split("test", "000001\n000002\n")
    config = DataConfig(root=str(tree.root), test_split="test", ignore_unknown_classes=True)
    every = read_dataset(config, "test", class_names=("ant", "cow", "dog")).records
    assert flags(every[0].truth) == [[1, 0, -1], [-1, 1, -1]]
    assert flags(every[1].truth) == [None, None]
    some = read_dataset(config, "test", class_names=("cow", "dog")).records
    assert flags(some[0].truth) == [[0, -1], [1, -1]]


def test_flags_stay_with_their_objects_where_a_class_is_dropped(tree):
    hard = "<difficult>1</difficult>"
    objects = [
        object_xml(name="ant", difficult=hard, more="<truncated>1</truncated>"),
        object_xml(name="dog", more="<truncated>0</truncated><occluded>1</occluded>"),
    ]
    tree.annotation("000001", annotation_xml(*objects))
    config = DataConfig(root=str(tree.root), train_split="train", drop_empty_classes=True)
    dataset = read_dataset(config, "train")
    assert dataset.class_names == ("dog",)
    assert flags(dataset.records[0].truth) == [[0], [1]]
