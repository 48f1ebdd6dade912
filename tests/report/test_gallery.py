import numpy as np
import pytest

from detection.report.gallery import LEGEND, choose_images, judge, mark_image
from detection.report.palette import DIFFICULT, MISSED, RIGHT, WRONG
from tests.evaluation.cases import as_detections, detections_of, truth

BOX, FAR, OUT = [0, 0, 10, 10], [50, 50, 60, 60], [80, 80, 90, 90]


def test_right_and_wrong_are_counted_above_the_threshold():
    truths = [truth("1", [BOX, FAR], [0, 1]), truth("2", [BOX], [0])]
    guesses = [
        detections_of("1", [BOX, FAR, OUT], [3, 2, 1], [0, 1, 0]),
        detections_of("2", [OUT], [2.5], [1]),
    ]
    run = judge("a", truths, guesses, 2, 0.5)
    assert run.threshold == 2
    assert (run.right.tolist(), run.wrong.tolist(), run.objects.tolist()) == (
        [2, 0],
        [0, 1],
        [2, 1],
    )
    assert run.quality.tolist() == [1.0, 0.0]


def test_best_worst_and_most_different_images_are_chosen_once_each():
    truths = [truth(str(n), [BOX], [0]) for n in range(6)] + [truth("none", [], [])]
    perfect = [as_detections(t) for t in truths]
    nothing = detections_of("x", [], [], [])
    first = [perfect[0], perfect[1], nothing, perfect[3], nothing, nothing]
    second = [perfect[0], perfect[1], nothing, nothing, nothing, nothing]
    runs = [
        judge(name, truths, [d for d in guesses if d is not nothing], 1, 0.5)
        for name, guesses in (("a", first), ("b", second))
    ]
    chosen = choose_images(runs, 2)
    assert chosen == {"different": [3], "worst": [2, 4], "best": [0, 1]}


def test_more_objects_come_first_among_equals():
    truths = [truth("1", [BOX], [0]), truth("2", [BOX, FAR], [0, 0])]
    run = judge("a", truths, [as_detections(t) for t in truths], 1, 0.5)
    assert choose_images([run], 1)["worst"] == [1]
    assert choose_images([run], 1)["different"] == []


def test_images_of_a_split_without_objects_are_not_chosen():
    run = judge("a", [truth("1", [], [])], [], 1, 0.5)
    assert choose_images([run, run]) == {"best": [], "worst": [], "different": []}


@pytest.mark.filterwarnings("error")
def test_quality_of_an_image_with_nothing_is_unknown():
    run = judge("a", [truth("1", [], []), truth("2", [BOX], [0])], [], 1, 0.5)
    assert np.isnan(run.quality).tolist() == [True, False]


def test_marks_tell_right_wrong_ignored_and_missed_apart():
    objects = truth("1", [BOX, FAR, [20, 20, 30, 30]], [0, 0, 0], [False, False, True])
    guesses = detections_of("1", [BOX, OUT, [20, 20, 30, 30], FAR], [4, 3, 3.5, 0], [0, 0, 0, 0])
    # The far object makes the other image's threshold: it is found below it only there.
    truths = [objects, truth("2", [BOX] * 1, [0])]
    run = judge("a", truths, [guesses, detections_of("2", [BOX], [1], [0])], 1, 0.5)
    run = type(run)(**{name: getattr(run, name) for name in run.__slots__} | {"threshold": 1.0})
    marks = mark_image(run, 0, objects, ["cat"])
    assert [(m.colour, m.text, m.line) for m in marks] == [
        (RIGHT, "\N{CHECK MARK} cat 4.00", "solid"),
        (WRONG, "\N{BALLOT X} cat 3.00", "solid"),
        (DIFFICULT, "cat 3.50", "dotted"),
        (MISSED, "missed: cat", "dashed"),
    ]
    assert {(m.colour, m.line) for m in marks} == {(colour, line) for _, colour, line in LEGEND}
    assert marks[-1].box == tuple(FAR)
