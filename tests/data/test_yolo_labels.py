import pytest

from detection.data.yolo_labels import parse_labels

NAMES = {0: "cat", 1: "dog"}
SIZE = (40, 60)


def parse(text, **options):
    return parse_labels(text, "labels/a.txt", NAMES, SIZE, **options)


def boxes(text, **options):
    return [(item.class_name, *item.corners) for item in parse(text, **options)[0]]


def kinds(text, **options):
    return [(issue.kind, issue.action) for issue in parse(text, **options)[1]]


def test_centres_and_sizes_become_corners_in_pixels():
    text = "1 0.5 0.5 0.5 0.25\n\n0 0.25 0.75 0.5 0.5\r\n"
    assert boxes(text) == [("dog", 15.0, 15.0, 45.0, 25.0), ("cat", 0.0, 20.0, 30.0, 40.0)]
    assert [item.location for item in parse(text)[0]] == [
        "labels/a.txt: line 1",
        "labels/a.txt: line 3",
    ]
    assert kinds(text) == []


def test_an_index_may_be_written_as_a_float():
    assert boxes("1.000000 0.5 0.5 0.5 0.25") == [("dog", 15.0, 15.0, 45.0, 25.0)]


def test_a_sixth_column_is_counted_and_not_used():
    line = "1 0.5 0.5 0.5 0.25 0.874231"
    assert boxes(line) == [("dog", 15.0, 15.0, 45.0, 25.0)]
    assert kinds(line) == [("confidence column", "note")]


def test_a_polygon_becomes_its_bounding_box():
    line = "0 0.25 0.5 0.75 0.25 0.5 1.0"
    assert boxes(line) == [("cat", 15.0, 10.0, 45.0, 40.0)]
    assert kinds(line) == [("polygon", "note")]
    turned = "0 0.5 0.25 0.75 0.5 0.5 0.75 0.25 0.5"  # the four corners of an oriented box
    assert boxes(turned) == [("cat", 15.0, 10.0, 45.0, 30.0)]


def test_keypoints_are_no_polygon():
    line = "1 0.5 0.5 0.5 0.25 0.1 0.1 0.2 0.2"
    assert boxes(line, keypoints=True) == [("dog", 15.0, 15.0, 45.0, 25.0)]
    assert kinds(line, keypoints=True) == [("keypoints", "note")]
    assert kinds(line) == [("polygon", "note")]


def test_the_same_line_twice_is_one_object():
    line = "1 0.5 0.5 0.5 0.25"
    assert len(boxes(f"{line}\n{line}\n0{line[1:]}")) == 2
    assert kinds(f"{line}\n{line}") == [("duplicate line", "note")]


def test_corners_that_rounding_took_out_of_the_image_are_on_its_border():
    assert boxes("1 0.833333 0.500000 0.333335 1.000000")[0][3:] == (60.0, 40.0)
    assert boxes("1 0.9 0.5 0.3 1")[0][3] == pytest.approx(63.0)  # the reader behind clips it


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("1 0.5 0.5 0.5 wide", "expected numbers divided by spaces, got 'wide'; correct the line"),
        ("1 0.5 0.5 nan 0.5", "expected numbers divided by spaces, got 'nan'"),
        ("1,0.5,0.5,0.5,0.5", "expected 5 columns class cx cy w h, or a class and the corners"),
        ("1 0.5 0.5 0.5", "got 4 columns; correct the line"),
        ("1 0.5 0.5 0.5 0.5 0.5 0.5 0.5", "got 8 columns"),
        ("2 0.5 0.5 0.5 0.5", "expected a class index from 0 to 1 that has a name, got 2; correct"),
        ("-1 0.5 0.5 0.5 0.5", "that has a name, got -1"),
        ("0.5 0.5 0.5 0.5 0.5", "that has a name, got 0.5"),
        ("1 0.5 0.5 -0.2 0.5", "expected a width and a height from 0, got -0.2 and 0.5; correct"),
        ("1 30 20 10 8", "expected fractions of the image from 0 to 1, got 30; in pixels? divide"),
        ("1 0.5 0.5 0.5 1.02", "got 1.02; in pixels?"),
        ("1 -0.3 0.5 0.5 0.5", "from 0 to 1, got -0.3; correct it"),
        ("1 0.5 0.5 0.5 0.5 0.5 7", "got 7; in pixels?"),
    ],
)
def test_a_bad_line_is_an_issue_and_no_object(line, what):
    objects, issues = parse(f"1 0.5 0.5 0.5 0.5\n\n{line}\n")
    assert len(objects) == 1
    assert [(i.kind, i.action) for i in issues] == [("bad label", "stop")]
    assert issues[0].message.startswith("labels/a.txt: line 3: expected ")
    assert what in issues[0].what


def test_lines_are_checked_without_an_image_too():
    objects, issues = parse_labels("1 0.5 0.5 0.5 0.5\n7 1 1 1 1", "a.txt", NAMES, None)
    assert objects == []
    assert [issue.location for issue in issues] == ["a.txt: line 2"]
