"""The check of a whole data set."""

import subprocess
import sys

import pytest

from detection.config import DataConfig
from detection.data.check import check_dataset
from tests.data.folders import (
    VocTree,
    annotation_xml,
    coco_content,
    object_xml,
    write_coco,
)

HARD = "<difficult>1</difficult>"


@pytest.fixture
def tree(tmp_path):
    return VocTree(tmp_path / "set")


def check(tree, splits=("train",), **options):
    settings = {"train_split": "train", "test_split": "test", **options}
    return check_dataset(DataConfig(root=str(tree.root), **settings), splits)


def counts(report):
    return {finding.kind: finding.count for finding in report.findings}


def test_a_sound_set_is_clean(tree):
    report = check(tree)
    assert report.clean
    assert report.findings == ()
    assert report.format() == "train: 1 image, 1 object, 1 class\n  dog 1\nnothing wrong"


def test_notes_do_not_make_a_set_unclean(tree):
    tree.annotation("000001", annotation_xml(object_xml(), size=None))
    report = check(tree)
    assert counts(report) == {"no size": 1}
    assert report.clean
    assert "no size: 1 (worth knowing)" in report.format()


def test_the_gravest_come_first_with_the_first_few_messages(tree):
    inverted, outside = object_xml(corners=(30, 6, 5, 35)), object_xml(corners=(5, 6, 90, 35))
    tree.annotation("000001", annotation_xml(*[outside] * 9, *[inverted] * 7))
    report = check(tree)
    assert [(f.kind, f.action, f.count) for f in report.findings] == [
        ("degenerate box", "stop", 7),
        ("clipped box", "mend", 9),
        ("duplicate object", "note", 8),
    ]
    assert [len(finding.firsts) for finding in report.findings] == [5, 5, 5]
    text = report.format()
    assert "degenerate box: 7 (stops training or evaluation)" in text
    assert "  ... and 2 more" in text
    assert text.endswith("\n16 problems")
    assert not report.clean


def test_without_class_names_those_of_the_training_list_count(tree):
    tree.more("000002", annotation_xml(*[object_xml(name="dig")] * 7, filename="000002.jpg"))
    tree.split("test", "000002\n")
    report = check(tree, ("train", "test"))
    finding = report.findings[0]
    assert (finding.kind, finding.action, finding.count) == ("unknown class", "stop", 7)
    assert "000002.xml: object 1: expected a known class, got 'dig'" in finding.firsts[0]
    assert "did you mean 'dog'?" in finding.firsts[0]
    assert len(finding.firsts) == 5
    assert report.objects == {"train": {"dog": 1}, "test": {"dig": 7}}


def test_without_a_training_list_every_class_is_known(tree):
    tree.split("test", "000001\n")
    assert check(tree, ("test",)).clean


def test_unknown_classes_may_be_left_out(tree):
    report = check(tree, class_names=("cat",), ignore_unknown_classes=True)
    actions = {finding.kind: finding.action for finding in report.findings}
    assert actions == {"unknown class": "skip", "class without objects": "stop"}


def test_a_class_of_difficult_objects_only_cannot_be_trained(tree):
    tree.annotation("000001", annotation_xml(object_xml(), object_xml(name="cat", difficult=HARD)))
    assert counts(check(tree)) == {"class without objects": 1}
    assert check(tree, train_difficult=True).clean


def test_names_that_differ_in_case_only_are_noted(tree):
    names = ("dog", "Dog", "hot dog", "hotdog", "cat")
    corners = [(n, 2, n + 5, 20) for n in range(1, 6)]
    objects = [object_xml(name=n, corners=c) for n, c in zip(names, corners, strict=True)]
    tree.annotation("000001", annotation_xml(*objects))
    report = check(tree)
    assert counts(report) == {"class names alike": 2}
    assert "'Dog', 'dog'" in report.findings[0].firsts[0]


def test_equal_files_are_noted(tree):
    tree.more("000002")
    tree.image("000002")
    tree.split("train", "000001\n000002\n")
    report = check(tree)
    assert counts(report) == {"same image twice": 1}
    assert "000002.jpg: expected an image of its own" in report.findings[0].firsts[0]


def test_the_same_image_in_both_lists_is_one_finding(tree):
    tree.split("test", "000001\n")
    assert counts(check(tree, ("train", "test"))) == {"in both lists": 1}


def test_one_list_in_both_roles_is_read_once(tree):
    report = check(tree, ("train", "test"), test_split="train")
    assert report.clean
    assert report.images == {"train": 1}


def test_annotations_without_image_are_noted(tree):
    tree.annotation("000009", annotation_xml())
    report = check(tree)
    assert counts(report) == {"annotation without image": 1}
    assert report.clean


def test_a_missing_list_is_a_finding_and_the_other_is_still_read(tree):
    report = check(tree, ("train", "test"))
    assert counts(report) == {"unreadable list": 1}
    assert report.images == {"train": 1, "test": 0}


def test_a_missing_folder_is_a_finding(tmp_path):
    report = check_dataset(DataConfig(root=str(tmp_path / "gone")), ["train"])
    assert counts(report) == {"unreadable list": 1}
    assert "gone: expected a folder" in report.findings[0].firsts[0]


def test_an_unreadable_image_without_a_stated_size_is_one_finding(tree):
    (tree.root / "JPEGImages" / "000001.jpg").unlink()
    tree.annotation("000001", annotation_xml(size=None))
    assert counts(check(tree)) == {"unreadable image": 1, "no size": 1}


@pytest.mark.parametrize("layout", ["voc", "coco"])
def test_one_and_two_processes_find_the_same(tmp_path, monkeypatch, layout):
    monkeypatch.setattr("detection.data.check._CHUNK", 1)
    monkeypatch.setattr("detection.data.check_parts._WORTH_PROCESSES", 2)
    tree = VocTree(tmp_path)
    for number in range(2, 5):
        tree.more(f"00000{number}", annotation_xml(object_xml(corners=(5, 6, 61, 35))))
    tree.split("train", "\n".join(f"00000{number}" for number in range(1, 5)))
    images = [{"id": n, "file_name": f"JPEGImages/00000{n}.jpg"} for n in range(1, 5)]
    boxes = [{"id": n, "image_id": n, "category_id": 3, "bbox": [1, 2, 60, 3]} for n in range(1, 5)]
    write_coco(tmp_path, coco_content(images=images, annotations=boxes))
    split = "train" if layout == "voc" else "instances.json"
    config = DataConfig(root=str(tmp_path), format=layout, train_split=split)
    one, two = (check_dataset(config, ["train"], workers=count) for count in (1, 2))
    assert one.format() == two.format()
    assert counts(one)["clipped box"] == (3 if layout == "voc" else 4)


def test_what_reads_label_files_loads_no_torch():
    code = (
        "import sys, detection.cli.main, detection.data.check, detection.data.convert\n"
        "print({'torch', 'scipy', 'cv2', 'joblib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
