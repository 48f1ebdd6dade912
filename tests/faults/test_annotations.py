"""F1 to F20: what can be wrong with a folder in VOC layout."""

import dataclasses
import logging
import time

import pytest
import torch

from detection.config import DataConfig
from detection.data.check import check_dataset
from detection.data.dataset import read_dataset
from detection.data.voc import read_voc
from detection.errors import DataError
from detection.evaluation.voc_ap import evaluate_voc
from detection.structures import Detections
from tests.data.folders import VocTree, annotation_xml, box_xml, object_xml


@pytest.fixture
def tree(tmp_path):
    return VocTree(tmp_path / "set")


def stops(tree, *words, strict=False, **options):
    """Read the folder and expect one line of error that names the file and contains the words."""
    with pytest.raises(DataError) as caught:
        read_voc(tree.root, "train", strict=strict, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def boxes_of(dataset):
    return [record.truth.boxes.tolist() for record in dataset.records]


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
ENTITY_BOMB = f'<!DOCTYPE annotation [<!ENTITY l0 "ha">{LAUGHS}]>'
QUADRATIC = f'<!DOCTYPE annotation [<!ENTITY a "{"a" * 50_000}">]>'


@pytest.mark.parametrize(
    ("head", "reference"),
    [(ENTITY_BOMB, "&l11;"), (QUADRATIC, "&a;" * 50_000)],
    ids=["exponential", "quadratic"],
)
def test_f01_entities_are_refused_at_once(tree, head, reference):
    tree.annotation("000001", annotation_xml(object_xml(name=reference), head=head))
    start = time.process_time()
    stops(tree, "000001.xml", "expected no entities")
    assert time.process_time() - start < 1


@pytest.mark.parametrize("kind", ["", "% "], ids=["general", "parameter"])
def test_f02_an_external_entity_is_never_read(tree, tmp_path, kind):
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    head = f'<!DOCTYPE annotation [<!ENTITY {kind}x SYSTEM "file://{secret}">]>'
    tree.annotation("000001", annotation_xml(object_xml(name="&x;"), head=head))
    message = stops(tree, "000001.xml", "expected no entities")
    assert "secret" not in message.replace("secret.txt", "")


def test_f02_an_undefined_entity_is_no_xml(tree):
    tree.annotation("000001", annotation_xml(object_xml(name="&x;")))
    stops(tree, "000001.xml: line 1, column ", "undefined entity")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (annotation_xml(object_xml())[:100], "column"),
        ("", "an empty file"),
        ('{"name": "dog"}', "expected XML"),
        (b"\0" * 20, "expected XML"),
        (annotation_xml(object_xml()).encode()[:60] + b"\0", "expected XML"),
        ("<html></html>", "expected <annotation> as the outermost element, got <html>"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "expected XML"),
    ],
    ids=["truncated", "empty", "json", "zeros", "zero byte", "html", "unknown encoding"],
)
def test_f03_what_is_no_xml_is_named(tree, content, word):
    tree.annotation("000001", content)
    stops(tree, "000001.xml: ", word)


def test_f03_the_place_in_the_file_is_named(tree):
    tree.annotation("000001", "<annotation>\n  <object>\n</annotation>")
    stops(tree, "000001.xml: line 3, column 2: expected XML, got mismatched tag")


def test_f03_a_missing_annotation_is_named(tree):
    tree.annotation("000001", "").unlink()
    stops(tree, "000001.xml", "No such file")


def test_f03_an_annotation_without_end_is_refused_by_its_length(tree, monkeypatch):
    monkeypatch.setattr("detection.data.voc_xml.MAX_BYTES", 1000)
    tree.annotation("000001", annotation_xml(*[object_xml()] * 50))
    stops(tree, "expected at most 1,000 bytes")


def test_f04_undeclared_latin_1_is_refused_with_the_remedy(tree):
    tree.annotation("000001", annotation_xml(object_xml(name="b\u00e4r")).encode("latin-1"))
    stops(tree, "000001.xml: line 1", "not UTF-8", 'encoding="latin-1"')


@pytest.mark.parametrize(
    ("encoding", "head"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-16", ""),
        ("utf-16", '<?xml version="1.0" encoding="utf-16"?>'),
        ("latin-1", '<?xml version="1.0" encoding="latin-1"?>'),
    ],
)
def test_f04_declared_encodings_are_read(tree, encoding, head):
    text = annotation_xml(object_xml(name="b\u00e4r"), head=head)
    tree.annotation("000001", text.encode(encoding))
    assert read_voc(tree.root, "train").class_names == ("b\u00e4r",)


@pytest.mark.parametrize(
    "head", ["<!DOCTYPE annotation>", '<!DOCTYPE annotation SYSTEM "annotation.dtd">']
)
def test_f05_a_doctype_alone_is_accepted(tree, head):
    tree.annotation("000001", annotation_xml(object_xml(), head=head))
    assert len(read_voc(tree.root, "train").records[0].truth.labels) == 1


WITHOUT = {
    "expected <name>, got none": f"<object>{box_xml()}</object>",
    "expected <name>": object_xml(name=" "),
    "expected one <bndbox>, got 0": "<object><name>dog</name></object>",
    "expected one <bndbox>, got 2": object_xml(more=box_xml()),
    "expected <xmin>, got none": object_xml().replace("xmin", "left"),
    "expected <ymax>, got none": object_xml().replace("ymax", "bottom"),
}


@pytest.mark.parametrize(("expected", "xml"), WITHOUT.items())
def test_f06_an_incomplete_object_is_named_by_its_number(tree, expected, xml):
    tree.annotation("000001", annotation_xml(object_xml(), xml))
    stops(tree, f"000001.xml: object 2: {expected}")


@pytest.mark.parametrize("text", ["45.7", " 45 ", "4.5e1", "+45", "45."])
def test_f07_decimals_are_read(tree, text):
    tree.annotation("000001", annotation_xml(object_xml(corners=(5, 6, text, 35))))
    x2 = read_voc(tree.root, "train").records[0].truth.boxes[0, 2]
    assert x2 == pytest.approx(float(text))


@pytest.mark.parametrize(
    "text", ["12,5", "nan", "inf", "-inf", "1_000", "", "1e999", "0x10", "\u0664\u0665", "4 5"]
)
def test_f07_what_is_no_number_is_refused(tree, text):
    tree.annotation("000001", annotation_xml(object_xml(corners=(5, 6, text, 35))))
    stops(tree, "000001.xml: object 1: expected a number as <xmax>")


def test_f07_a_huge_number_is_clipped(tree):
    tree.annotation("000001", annotation_xml(object_xml(corners=(5, 6, "1e9", 35))))
    dataset = read_voc(tree.root, "train")
    assert boxes_of(dataset) == [[[4, 5, 60, 35]]]
    assert dataset.notes == {"clipped box": 1}


DEGENERATE = {
    "swapped x": (30, 6, 5, 35),
    "swapped y": (5, 35, 30, 6),
    "no width": (5, 6, 5, 35),
    "no height": (5, 6, 30, 6),
}


@pytest.mark.parametrize("corners", DEGENERATE.values(), ids=DEGENERATE)
def test_f08_a_degenerate_box_is_left_out_of_training_and_counted(tree, corners):
    tree.annotation("000001", annotation_xml(object_xml(), object_xml(corners=corners)))
    dataset = read_voc(tree.root, "train")
    assert boxes_of(dataset) == [[[4, 5, 30, 35]]]
    assert dataset.notes == {"degenerate box": 1}
    assert [entry.kind for entry in dataset.skipped] == ["degenerate box"]
    assert dataset.skipped[0].file == str(tree.root / "Annotations" / "000001.xml")
    assert dataset.skipped[0].reason.startswith("object 2: expected xmin < xmax")


@pytest.mark.parametrize("corners", DEGENERATE.values(), ids=DEGENERATE)
def test_f08_a_degenerate_box_stops_an_evaluation(tree, corners):
    tree.annotation("000001", annotation_xml(object_xml(), object_xml(corners=corners)))
    stops(
        tree,
        f"object 2: expected xmin < xmax <= 60 and ymin < ymax <= 40, got xmin={corners[0]}",
        strict=True,
    )
    allowed = read_voc(tree.root, "train", strict=True, allow=["degenerate"])
    assert boxes_of(allowed) == [[[4, 5, 30, 35]]]


def test_f08_the_configuration_may_allow_degenerate_boxes(tree):
    tree.annotation("000001", annotation_xml(object_xml(), object_xml(corners=(9, 9, 5, 5))))
    config = DataConfig(root=str(tree.root), train_split="train", test_split="train")
    with pytest.raises(DataError, match="object 2"):
        read_dataset(config, "test", class_names=("dog",))
    config = dataclasses.replace(config, allow_degenerate=True)
    notes = read_dataset(config, "test", class_names=("dog",)).notes
    assert notes["degenerate box"] == 1


@pytest.mark.parametrize("strict", [False, True])
def test_f09_a_box_partly_outside_is_clipped_and_counted(tree, strict):
    outside = object_xml(corners=(50, 30, 61, 41))
    far = object_xml(corners=(-10, -20, 30, 35))
    tree.annotation("000001", annotation_xml(outside, far))
    dataset = read_voc(tree.root, "train", strict=strict)
    assert boxes_of(dataset) == [[[49, 29, 60, 40], [0, 0, 30, 35]]]
    assert dataset.notes == {"clipped box": 2}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "corners", [(61, 5, 70, 20), (5, 41, 20, 50), (-20, 5, 0, 20), (5, -9, 20, -1)]
)
def test_f09_a_box_wholly_outside_is_left_out_and_counted(tree, strict, corners):
    tree.annotation("000001", annotation_xml(object_xml(), object_xml(corners=corners)))
    dataset = read_voc(tree.root, "train", strict=strict)
    assert boxes_of(dataset) == [[[4, 5, 30, 35]]]
    assert dataset.notes == {"box outside the image": 1}


def test_f10_a_corner_at_zero_is_clipped_counted_and_warned_of(tree, caplog):
    tree.annotation("000001", annotation_xml(object_xml(corners=(0, 0, 30, 35)), object_xml()))
    with caplog.at_level(logging.WARNING):
        dataset = read_voc(tree.root, "train")
    assert boxes_of(dataset) == [[[0, 0, 30, 35], [4, 5, 30, 35]]]
    assert dataset.notes == {"corner at 0": 1}
    assert sum("looks 0-based" in message for message in caplog.messages) == 1


def test_f10_a_single_corner_at_zero_among_many_is_no_reason_to_doubt(tree, caplog):
    objects = [object_xml()] * 150
    tree.annotation("000001", annotation_xml(object_xml(corners=(0, 3, 30, 35)), *objects))
    with caplog.at_level(logging.WARNING):
        dataset = read_voc(tree.root, "train")
    assert dataset.notes == {"corner at 0": 1}
    assert not any("looks 0-based" in message for message in caplog.messages)


@pytest.mark.parametrize("size", [None, (0, 0), (60, 0), ("", ""), ("wide", "high"), ("1e999", 40)])
def test_f11_an_absent_size_is_taken_from_the_image(tree, size):
    tree.annotation("000001", annotation_xml(object_xml(), size=size))
    dataset = read_voc(tree.root, "train", strict=True)
    assert dataset.records[0].truth.size == (40, 60)
    assert dataset.notes == {"no size": 1}


@pytest.mark.parametrize("strict", [False, True])
def test_f11_another_size_stops(tree, strict):
    tree.annotation("000001", annotation_xml(object_xml(), size=(61, 40)))
    stops(
        tree,
        "000001.xml: expected the image's width 60 and height 40, got 61 and 40",
        strict=strict,
    )


def test_f11_a_swapped_size_hints_at_exif(tree):
    tree.annotation("000001", annotation_xml(object_xml(), size=(40, 60)))
    stops(tree, "got 40 and 60; was it annotated without the EXIF rotation")


@pytest.mark.parametrize(
    ("name", "nearest"), [("dgo", "dog"), ("Dog", "dog"), ("persons", "person"), ("xyz", "")]
)
def test_f12_an_unknown_class_stops_with_the_nearest_name(tree, name, nearest):
    tree.annotation("000001", annotation_xml(object_xml(name=name)))
    stops(
        tree,
        f"000001.xml: object 1: expected a known class, got '{name}'; did you mean '{nearest}",
        class_names=("cat", "dog", "person"),
    )


def test_f12_blanks_around_a_name_are_stripped(tree):
    tree.annotation("000001", annotation_xml(object_xml(name=" dog\n ")))
    assert read_voc(tree.root, "train", class_names=("dog",)).records[0].truth.labels.tolist() == [
        0
    ]


@pytest.mark.parametrize("strict", [False, True])
def test_f12_unknown_classes_may_be_left_out_and_are_counted(tree, strict):
    tree.annotation("000001", annotation_xml(object_xml(name="yak"), object_xml()))
    dataset = read_voc(
        tree.root, "train", class_names=("dog",), strict=strict, ignore_unknown_classes=True
    )
    assert boxes_of(dataset) == [[[4, 5, 30, 35]]]
    assert dataset.notes == {"unknown class": 1}


def test_f13_a_class_without_objects_stops_training_by_name(tree):
    config = DataConfig(root=str(tree.root), train_split="train", class_names=("cat", "dog"))
    with pytest.raises(DataError, match=r"expected objects of every class.*got none of 'cat'"):
        read_dataset(config, "train")


def test_f13_a_class_without_objects_may_be_dropped(tree):
    config = DataConfig(
        root=str(tree.root),
        train_split="train",
        class_names=("cat", "dog"),
        drop_empty_classes=True,
    )
    dataset = read_dataset(config, "train")
    assert dataset.class_names == ("dog",)
    assert dataset.records[0].truth.labels.tolist() == [0]
    with pytest.raises(DataError, match="got none of 'cat'"):
        read_dataset(
            dataclasses.replace(
                config, class_names=("cat",), drop_empty_classes=True, ignore_unknown_classes=True
            ),
            "train",
        )


def test_f13_a_class_absent_from_the_test_list_is_excluded_from_the_mean(tree):
    config = DataConfig(root=str(tree.root), train_split="train", test_split="train")
    dataset = read_dataset(config, "test", class_names=("cat", "dog"))
    truths = [record.truth for record in dataset.records]
    detections = [
        Detections(
            image_id=t.image_id, boxes=t.boxes, scores=torch.ones(len(t.labels)), labels=t.labels
        )
        for t in truths
    ]
    result = evaluate_voc(truths, detections, dataset.class_names, rule="voc07")
    assert result.ap[0] != result.ap[0]
    assert result.map == 1.0


def test_f14_parts_are_passed_over(tree):
    part = f"<part><name>head</name>{box_xml((7, 8, 9, 10))}</part>"
    tree.annotation("000001", annotation_xml(object_xml(name="person", more=part)))
    dataset = read_voc(tree.root, "train")
    assert dataset.class_names == ("person",)
    assert boxes_of(dataset) == [[[4, 5, 30, 35]]]


def test_f14_the_filename_is_compared_and_never_opened(tree):
    tree.annotation("000001", annotation_xml(object_xml(), filename="../../etc/passwd"))
    dataset = read_voc(tree.root, "train")
    assert dataset.notes == {"other filename": 1}
    assert dataset.records[0].path == tree.root / "JPEGImages" / "000001.jpg"


@pytest.mark.parametrize("filename", ["", "000001", "000001.png", "C:\\photos\\000001.jpg"])
def test_f14_an_absent_or_equal_filename_is_no_difference(tree, filename):
    tree.annotation("000001", annotation_xml(object_xml(), filename=filename))
    assert read_voc(tree.root, "train").notes == {}


@pytest.mark.parametrize("strict", [False, True])
def test_f15_images_without_objects_are_kept(tree, strict):
    tree.more("000002", annotation_xml(filename="000002.jpg"))
    tree.split("train", "000001\n000002\n")
    dataset = read_voc(tree.root, "train", strict=strict)
    assert [record.image_id for record in dataset.records] == ["000001", "000002"]
    assert dataset.records[1].truth.boxes.shape == (0, 4)
    assert dataset.notes == {}


@pytest.mark.parametrize(
    ("xml", "difficult", "counted"),
    [
        ("", False, True),
        ("<difficult/>", False, True),
        ("<difficult>Unspecified</difficult>", False, True),
        ("<difficult> 0 </difficult>", False, False),
        ("<difficult>false</difficult>", False, False),
        ("<difficult>1</difficult>", True, False),
        ("<difficult>True</difficult>", True, False),
    ],
)
def test_f16_the_difficult_flag_is_read_and_its_absence_counted(tree, xml, difficult, counted):
    tree.annotation("000001", annotation_xml(object_xml(difficult=xml)))
    dataset = read_voc(tree.root, "train")
    assert dataset.records[0].truth.difficult.tolist() == [difficult]
    assert dataset.notes == ({"difficult unspecified": 1} if counted else {})


def test_f16_another_difficult_flag_stops(tree):
    tree.annotation("000001", annotation_xml(object_xml(difficult="<difficult>2</difficult>")))
    stops(tree, "000001.xml: object 1: expected <difficult> 0 or 1, got '2'")


def test_f17_a_class_of_difficult_objects_only_is_excluded_from_the_mean(tree):
    hard = object_xml(name="cat", difficult="<difficult>1</difficult>")
    tree.annotation("000001", annotation_xml(object_xml(), hard))
    truth = read_voc(tree.root, "train", strict=True).records[0].truth
    easy = truth.labels == 1
    detections = Detections(
        image_id=truth.image_id,
        boxes=truth.boxes[easy],
        scores=torch.ones(1),
        labels=truth.labels[easy],
    )
    result = evaluate_voc([truth], [detections], ("cat", "dog"), rule="voc07")
    assert result.ap[0] != result.ap[0]
    assert result.map == 1.0


def test_f17_a_class_of_difficult_objects_only_cannot_be_trained_without_them(tree):
    tree.annotation("000001", annotation_xml(object_xml(difficult="<difficult>1</difficult>")))
    config = DataConfig(root=str(tree.root), train_split="train")
    with pytest.raises(DataError, match="got none of 'dog'"):
        read_dataset(config, "train")
    config = dataclasses.replace(config, train_difficult=True)
    assert len(read_dataset(config, "train").records) == 1


def test_f18_ten_thousand_objects_are_read(tree):
    tree.annotation("000001", annotation_xml(*[object_xml()] * 10_000))
    assert len(read_voc(tree.root, "train").records[0].truth.labels) == 10_000


@pytest.mark.parametrize("closed", [True, False])
def test_f18_deep_nesting_is_refused(tree, closed):
    deep = "<a>" * 200_000 + ("</a>" * 200_000 if closed else "")
    tree.annotation("000001", annotation_xml(deep))
    stops(tree, "000001.xml: expected at most 64 nested elements")


ODD_LISTS = {
    "blank lines": "\n000001\n\n  \n000002\n\n",
    "crlf": "000001\r\n000002\r\n",
    "bom": "\ufeff000001\n000002",
    "trailing spaces": "000001  \n\t000002\t\n",
    "second column": "000001  1\n000002 1\n",
    "no newline at the end": "000001\n000002",
}


@pytest.mark.parametrize("content", ODD_LISTS.values(), ids=ODD_LISTS)
def test_f19_odd_but_clear_lists_are_read(tree, content):
    tree.more("000002")
    tree.split("train", content)
    dataset = read_voc(tree.root, "train", strict=True)
    assert [record.image_id for record in dataset.records] == ["000001", "000002"]
    assert dataset.notes == {}


def test_f19_duplicates_are_counted_once(tree):
    tree.split("train", "000001\n000001\n000001\n")
    dataset = read_voc(tree.root, "train", strict=True)
    assert len(dataset.records) == 1
    assert dataset.notes == {"duplicate in the list": 2}


def test_f19_a_list_of_one_class_takes_the_images_that_show_it(tree):
    tree.more("000002")
    tree.more("000003")
    tree.split("dog_train", "000001  1\n000002 -1\n000003  0\n")
    dataset = read_voc(tree.root, "dog_train", strict=True)
    assert [record.image_id for record in dataset.records] == ["000001"]
    assert dataset.notes == {"listed as absent": 2}


def test_f19_an_identifier_with_a_blank_is_read_whole_where_there_is_such_an_image(tree):
    tree.more("dog 1")
    tree.split("train", "000001\ndog 1\n")
    dataset = read_voc(tree.root, "train", strict=True)
    assert [record.image_id for record in dataset.records] == ["000001", "dog 1"]


@pytest.mark.parametrize(
    "line", ["../x", "..", "/etc/passwd", "a/../../b", "a/./b", "a\\b", "C:x", "x\0y"]
)
def test_f19_a_list_never_leads_out_of_the_folder(tree, line):
    tree.split("train", f"000001\n{line}\n")
    stops(tree, "train.txt: line 2: expected a plain identifier")


@pytest.mark.parametrize("content", ["", "\n\n", "000001 -1\n"])
def test_f19_an_empty_list_stops(tree, content):
    tree.split("train", content)
    stops(tree, "train.txt: expected at least one image, got none")


def test_f19_a_list_of_one_line_is_read(tree):
    assert len(read_voc(tree.root, "train").records) == 1


def test_f19_a_list_that_is_no_text_stops(tree):
    tree.split("train", b"000001\n\xff\xfe\n")
    stops(tree, "train.txt: expected UTF-8 text, got byte 7")


def test_f19_a_missing_list_names_those_there_are(tree):
    tree.split("val", "000001\n")
    with pytest.raises(DataError, match=r"tset\.txt.*the lists are: train, val"):
        read_voc(tree.root, "tset")


def test_f20_shared_images_are_counted_and_may_stop(tree, caplog):
    tree.more("000002")
    tree.split("test", "000001\n000002\n")
    config = DataConfig(root=str(tree.root), train_split="train", test_split="test")
    with caplog.at_level(logging.WARNING):
        dataset = read_dataset(config, "test")
    assert dataset.notes == {"also in the training list": 1}
    assert len(dataset.records) == 2
    assert any("1 image is also in 'train'" in message for message in caplog.messages)
    with pytest.raises(DataError, match="expected no training image, got 1"):
        read_dataset(dataclasses.replace(config, strict_splits=True), "test")


def test_f20_disjoint_lists_are_no_fault(tree):
    tree.more("000002")
    tree.split("test", "000002\n")
    config = DataConfig(
        root=str(tree.root), train_split="train", test_split="test", strict_splits=True
    )
    assert read_dataset(config, "test").notes == {}


def test_check_names_every_kind_of_fault_in_one_pass(tree):
    faults = {
        "a": annotation_xml(object_xml(corners=(30, 6, 5, 35))),
        "b": annotation_xml(object_xml(corners=(5, 6, 90, 35))),
        "c": "no xml",
        "d": annotation_xml(object_xml(name="yak"), object_xml(corners=(5, 6, "1,5", 7))),
        "e": annotation_xml(object_xml(), size=(1, 2)),
        "f": annotation_xml(object_xml(corners=(70, 6, 90, 35))),
    }
    for image_id, content in faults.items():
        tree.more(image_id, content)
    tree.split("train", "\n".join(["000001", *faults, "missing", "../x"]))
    tree.split("test", "000001\n")
    config = DataConfig(
        root=str(tree.root), train_split="train", test_split="test", class_names=("dog",)
    )
    report = check_dataset(config, workers=1)
    counts = {finding.kind: finding.count for finding in report.findings}
    assert not report.clean
    for kind in (
        "degenerate box",
        "clipped box",
        "box outside the image",
        "not an annotation",
        "unknown class",
        "unreadable object",
        "other size",
        "missing annotation",
        "unreadable image",
        "bad identifier",
        "in both lists",
    ):
        assert counts[kind] == 1, kind
