import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.data.voc_xml import VocObject, parse_annotation, write_voc_annotation
from tests.data.folders import annotation_xml, object_xml

objects = st.builds(
    VocObject,
    number=st.just(1),
    class_name=st.text(
        st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20
    ).map(lambda name: unicodedata.normalize("NFC", name)),
    corners=st.tuples(*[st.floats(-1e5, 1e5, allow_nan=False).map(lambda v: round(v, 3))] * 4),
    difficult=st.booleans(),
    truncated=st.sampled_from([True, False, None]),
    occluded=st.sampled_from([True, False, None]),
)


@given(st.lists(objects, max_size=5), st.tuples(st.integers(1, 9999), st.integers(1, 9999)))
def test_what_is_written_is_read_back(tmp_path_factory, written, size):
    path = tmp_path_factory.mktemp("xml") / "a.xml"
    write_voc_annotation(path, "a.jpg", size, written)
    annotation = parse_annotation(path.read_bytes(), "a.xml")
    assert annotation.issues == ()
    assert annotation.size == size
    assert annotation.filename == "a.jpg"
    assert [item.number for item in annotation.objects] == list(range(1, len(written) + 1))
    for got, expected in zip(annotation.objects, written, strict=True):
        assert got == replace(expected, number=got.number)


@given(st.binary(max_size=300))
def test_any_bytes_give_an_annotation_or_a_problem(data):
    annotation = parse_annotation(data, "a.xml")
    assert annotation.issues


PIECES = [
    "<annotation>", "</annotation>", "<object>", "</object>", "<name>", "</name>", "<bndbox>",
    "</bndbox>", "<xmin>", "</xmin>", "<size>", "</size>", "<width>", "</width>", "1e999", "dog",
    "<!DOCTYPE a [<!ENTITY b 'c'>]>", "&b;", "<?xml version='1.0' encoding='utf-16'?>", "<![CDATA[",
    "]]>", "<difficult>", "</difficult>", "-1", "\0", "<!--", "-->", "<part/>", "\ufeff",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_any_pieces_of_an_annotation_give_an_annotation_or_a_problem(pieces):
    data = "".join(["<annotation>", *pieces, "</annotation>"]).encode()
    annotation = parse_annotation(data, "a.xml")
    assert all(issue.location.startswith("a.xml") for issue in annotation.issues)


def test_an_encoding_of_thousands_of_letters_is_cut_short():
    data = f"<?xml version='1.0' encoding='{'la' * 10_000}'?><annotation/>".encode()
    (issue,) = parse_annotation(data, "a.xml").issues
    assert "expected XML, got unknown encoding: lala" in issue.message
    assert len(issue.message) < 200


def test_a_flag_that_holds_half_an_annotation_is_cut_short():
    """Input 89,512 of seed 2: after a mark of CDATA twenty objects are one text."""
    text = annotation_xml(*[object_xml()] * 20).replace("<difficult>0", "<difficult><![CDATA[0", 1)
    text = text[::-1].replace("</difficult>"[::-1], "]]></difficult>"[::-1], 1)[::-1]
    (issue,) = parse_annotation(text.encode(), "a.xml").issues
    assert "object 1: expected <difficult> 0 or 1, got '0</difficult>" in issue.message
    assert issue.message.endswith("; correct it")
    assert len(issue.message) < 300


def test_an_entity_of_thousands_of_letters_is_cut_short():
    """Expat names an unknown entity where there is a DOCTYPE."""
    data = f"<!DOCTYPE a SYSTEM 'x'><annotation>&{'la' * 10_000};</annotation>".encode()
    (issue,) = parse_annotation(data, "a.xml").issues
    assert "expected XML, got undefined entity &lala" in issue.message
    assert len(issue.message) < 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("<truncated>1</truncated>", True),
        ("<truncated> 0 </truncated>", False),
        ("<truncated>Unspecified</truncated>", None),
        ("<truncated></truncated>", None),
        ("<truncated>0.4</truncated>", None),
        ("<occluded>1</occluded>", None),
    ],
)
def test_what_is_not_said_to_be_truncated_or_whole_is_unknown(text, expected):
    data = annotation_xml(object_xml(more=text)).encode()
    annotation = parse_annotation(data, "a.xml")
    assert annotation.issues == ()
    assert annotation.objects[0].truncated is expected
    assert annotation.objects[0].occluded is ("occluded" in text or None)
