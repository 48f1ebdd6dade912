"""Labelled images from class folders, cut-out objects and whole images."""

import pytest
import torch

from detection.classification.dataset import (
    cut_out_objects,
    image_level_labels,
    keep_largest,
    read_examples,
    read_image_folder,
)
from detection.data.images import read_image
from detection.data.voc import read_voc
from detection.errors import DataError
from tests.data.folders import VocTree, annotation_xml, object_xml, picture

HARD = "<difficult>1</difficult>"


@pytest.fixture
def classes(tmp_path):
    root = tmp_path / "classes"
    for name in ("dog", "cat"):
        (root / name).mkdir(parents=True)
        for number, extension in enumerate(("jpg", "PNG")):
            picture(seed=number).save(root / name / f"{number}.{extension}")
    return root


def test_folders_are_classes_in_order(classes):
    actual = read_image_folder(classes)
    assert actual.class_names == ("cat", "dog")
    assert [(e.example_id, e.label) for e in actual.examples] == [
        ("cat/0.jpg", 0),
        ("cat/1.PNG", 0),
        ("dog/0.jpg", 1),
        ("dog/1.PNG", 1),
    ]
    assert actual.notes == {}


def test_given_names_decide_the_labels(classes):
    actual = read_image_folder(classes, class_names=("dog", "cat"))
    assert [e.label for e in actual.examples] == [0, 0, 1, 1]
    assert actual.examples[0].example_id == "dog/0.jpg"


def test_other_files_are_counted_and_hidden_folders_passed_over(classes):
    (classes / "dog" / "notes.txt").write_text("x")
    (classes / "readme.txt").write_text("x")
    (classes / ".cache").mkdir()
    assert read_image_folder(classes).notes == {"other files": 1}


def test_an_unknown_folder_stops_with_the_nearest_name(classes):
    with pytest.raises(DataError, match="got 'dog'; did you mean 'dogs'"):
        read_image_folder(classes, class_names=("dogs", "cat"))


def test_a_class_without_images_stops(classes):
    (classes / "yak").mkdir()
    with pytest.raises(DataError, match="yak: expected images of 'yak', got none"):
        read_image_folder(classes)
    with pytest.raises(DataError, match="cow: expected images of 'cow', got none"):
        read_image_folder(classes, class_names=("cow", "dog", "cat", "yak"))


def test_a_missing_or_empty_root_stops(tmp_path):
    with pytest.raises(DataError, match="expected a folder of class folders"):
        read_image_folder(tmp_path / "gone")
    with pytest.raises(DataError, match="expected a folder for each class"):
        read_image_folder(tmp_path)


@pytest.fixture
def dataset(tmp_path):
    tree = VocTree(tmp_path / "set")
    objects = (
        object_xml(name="cat", corners=(11, 11, 30, 30)),
        object_xml(name="dog", corners=(1, 1, 60, 40), difficult=HARD),
        object_xml(name="dog", corners=(5, 5, 12, 35)),
    )
    tree.annotation("000001", annotation_xml(*objects))
    tree.more("000002", annotation_xml(filename="000002.jpg"))
    tree.more("000003", annotation_xml(object_xml(name="dog"), filename="000003.jpg"))
    tree.split("train", "000001\n000002\n000003\n")
    return read_voc(tree.root, "train", class_names=("cat", "dog", "yak"))


def test_objects_are_cut_out_with_context(dataset):
    actual = cut_out_objects(dataset, context=0.1)
    first, second = actual.examples
    assert (first.example_id, first.label) == ("000001#1", 0)
    assert first.region == (8, 8, 32, 32)
    assert (second.example_id, second.label) == ("000003#1", 1)
    assert actual.notes == {"difficult": 1, "small": 1}
    assert actual.class_names == ("cat", "dog", "yak")


def test_context_ends_at_the_image(dataset):
    actual = cut_out_objects(dataset, context=2.0, min_side=1, with_difficult=True)
    assert len(actual.examples) == 4
    assert {example.region for example in actual.examples} == {(0, 0, 60, 40)}
    assert actual.notes == {}


def test_cut_out_pixels_are_those_of_the_image(dataset):
    examples = cut_out_objects(dataset, context=0.0, min_side=1, with_difficult=True).examples
    images = list(read_examples(examples))
    whole = read_image(examples[0].path).pixels
    assert [image.image_id for image in images] == [example.example_id for example in examples]
    assert torch.equal(images[0].pixels, whole[10:30, 10:30])
    assert torch.equal(images[1].pixels, whole)
    assert torch.equal(images[2].pixels, whole[4:35, 4:12])


def test_the_largest_object_of_each_class_in_an_image_is_kept(dataset):
    everything = cut_out_objects(dataset, context=0.0, min_side=1, with_difficult=True)
    kept = keep_largest(everything)
    chosen = {(example.path, example.label): example for example in kept.examples}
    assert len(chosen) == len(kept.examples) < len(everything.examples)
    for example in everything.examples:
        best = chosen[example.path, example.label]
        assert area(example) <= area(best)
    assert kept.notes == {"smaller": len(everything.examples) - len(kept.examples)}
    assert keep_largest(kept).examples == kept.examples


def area(example):
    x1, y1, x2, y2 = example.region
    return (x2 - x1) * (y2 - y1)


def test_a_file_is_read_once_for_its_neighbouring_objects(dataset, monkeypatch):
    calls = []

    def counted(path, **options):
        calls.append(path)
        return read_image(path, **options)

    monkeypatch.setattr("detection.classification.dataset.read_image", counted)
    examples = cut_out_objects(dataset, min_side=1, with_difficult=True).examples
    assert len(list(read_examples(examples))) == 4
    assert len(calls) == 2


def test_whole_pictures_are_read_from_class_folders(classes):
    examples = read_image_folder(classes).examples
    assert [image.size for image in read_examples(examples)] == [(40, 60)] * 4


def test_image_level_labels_are_the_devkits(dataset):
    expected = [[1, 1, -1], [-1, -1, -1], [-1, 1, -1]]
    assert image_level_labels(dataset).tolist() == expected


def test_a_class_shown_by_difficult_objects_only_is_ignored(tmp_path):
    tree = VocTree(tmp_path / "set")
    tree.annotation("000001", annotation_xml(object_xml(difficult=HARD), object_xml(name="cat")))
    dataset = read_voc(tree.root, "train")
    assert image_level_labels(dataset).tolist() == [[1, 0]]
