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
