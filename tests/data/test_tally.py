import json
from pathlib import Path

from detection.data.annotations import CheckedImage, CheckedObject
from detection.data.issues import AnnotationIssue
from detection.data.tally import Tally


def issue(number, kind="clipped box"):
    return AnnotationIssue(kind=kind, location=f"{number}.xml", what="expected x", action="mend")


def image(number, *names, issues=()):
    objects = tuple(
        CheckedObject(
            location=f"{number}.xml: object {place}",
            class_name=name,
            box=(0.0, 0.0, 1.0 + place, 1.0),
            difficult=place == 1,
        )
        for place, name in enumerate(names)
    )
    return CheckedImage(
        image_id=str(number),
        path=Path(f"{number}.jpg"),
        size=(9, 9),
        objects=objects,
        issues=issues,
    )


def counted(*images):
    tally = Tally()
    for one in images:
        tally.add_image(one)
    return tally


def test_objects_are_counted_by_class_and_the_difficult_ones_not_as_easy():
    tally = counted(image(1, "cat", "cat", "dog"), image(2, "dog"))
    assert tally.objects == {"cat": 2, "dog": 2}
    assert tally.easy == {"cat": 1, "dog": 2}
    assert tally.locations["dog"] == ["1.xml: object 2", "2.xml: object 0"]


def test_all_problems_are_counted_and_the_first_five_kept():
    tally = counted(*(image(n, issues=(issue(n),)) for n in range(7)))
    key = ("clipped box", "mend")
    assert tally.counts == {key: 7}
    assert tally.firsts[key] == [f"{n}.xml: expected x" for n in range(5)]


def test_an_object_twice_in_one_place_is_a_problem():
    cat = image(1, "cat").objects[0]
    twice = CheckedImage(
        image_id="1", path=Path("1.jpg"), size=(9, 9), objects=(cat, cat), issues=()
    )
    tally = counted(twice)
    assert tally.counts == {("duplicate object", "note"): 1}
    assert tally.objects == {"cat": 2}


def test_parts_add_up_to_the_whole():
    images = [image(n, "cat", "dog", issues=(issue(n), issue(n, "other"))) for n in range(8)]
    whole = counted(*images)
    parts = counted(*images[:3])
    parts.merge(counted(*images[3:]))
    assert parts == whole


def test_a_row_is_the_whole_tally_and_a_folder_can_be_called_otherwise():
    tally = counted(*(image(n, "cat", "dog", "dog", issues=(issue(n),)) for n in range(3)))
    tally.contents.append((b"\x00\xff", "0.jpg"))
    assert Tally.from_row(json.loads(json.dumps(tally.to_row()))) == tally
    assert tally.counts
    assert tally.smallest_side
    other = tally.renamed("0.", "set/0.")
    assert other.contents == [(b"\x00\xff", "set/0.jpg")]
    assert other.locations["cat"][:2] == ["set/0.xml: object 0", "1.xml: object 0"]
    assert other.firsts["clipped box", "mend"][0] == "set/0.xml: expected x"
    assert (other.counts, other.objects) == (tally.counts, tally.objects)
