import re

import numpy as np

from detection.evaluation.hoiem import MULTIPLES
from detection.evaluation.sensitivity import Characteristic, Sensitivity
from detection.report import diagnosis
from detection.report.figures import as_svg
from detection.report.gallery import judge
from detection.report.palette import FALSE_POSITIVES
from detection.report.parts import Absent
from tests.evaluation.cases import detections_of, random_case, truth

NAMES = ("cat", "dog", "wombat")
HOSTILE = '<script>alert("1")</script>'


def judged(*seeds):
    truths, _ = random_case(0)
    runs = [random_case(0)[1]] + [random_case(seed)[1] for seed in seeds]
    return truths, [judge(f"run {n}", truths, list(found), 3, 0.5) for n, found in enumerate(runs)]


def test_the_report_has_both_sections_of_both_runs(both):
    content, page = both
    assert {"false", "sensitivity"} <= set(page.ids)
    assert "Which errors come first The best-scored wrong boxes" in page.words
    assert re.search(r"all classes SPPnet [\d.]+ [\d.]+ [\d.]+ [\d.]+ [\d.]+ R-CNN", page.words)
    assert "Loc right class, box too far off" in page.words
    # Cat, dog and bird are VOC's, and animals there.
    assert "evaluation.similar_classes" not in page.words
    assert re.search(r"animals SPPnet [\d.]+", page.words)
    assert re.search(r"size SPPnet [\d.]+ [\d.]+ [\d.]+ R-CNN [\d.]+", page.words)
    assert 'aria-label="normalised average precision by aspect ratio"' in content


def test_shares_of_the_best_detections_add_up_to_all():
    truths, runs = judged(1)
    section = diagnosis.false_positives(runs, truths, NAMES, 0.5, [["cat", "wombat"]])
    assert [row["name"] for row in section["tables"][1]["rows"]] == ["all classes", "cat, wombat"]
    sums = [sum(row["shares"]) for table in section["tables"] for row in table["rows"]]
    np.testing.assert_allclose(sums, 1)
    assert section["has_similar"]


def test_other_classes_have_no_groups_and_nothing_similar():
    truths, runs = judged()
    section = diagnosis.false_positives(runs, truths, NAMES, 0.5)
    (table,) = section["tables"]
    assert [row["name"] for row in table["rows"]] == ["all classes"]
    assert [len(table["charts"]), section["has_similar"]] == [1, False]
    assert table["rows"][0]["shares"][2] == 0


def test_a_difference_is_that_of_the_best_and_the_worst_part():
    truths, runs = judged(1)
    section = diagnosis.sensitivities(runs, truths, 0.5)
    for row in section["rows"]:
        for cell in row["cells"]:
            assert 0 <= cell["lowest"] <= cell["highest"] <= 1
            assert cell["difference"] == cell["highest"] - cell["lowest"]
    assert section["normalised_to"] == 0.15 * len(truths)


def test_without_objects_both_sections_are_left_out():
    truths = [truth("1", [], [])]
    runs = [judge("run", truths, [detections_of("1", [[0, 0, 9, 9]], [1], [0])], 3, 0.5)]
    assert isinstance(diagnosis.false_positives(runs, truths, NAMES, 0.5), Absent)
    assert isinstance(diagnosis.sensitivities(runs, truths, 0.5), Absent)


def test_a_run_that_finds_nothing_has_no_chart_and_no_shares():
    truths, _ = random_case(0)
    runs = [judge("run", truths, [], 3, 0.5)]
    (table,) = diagnosis.false_positives(runs, truths, NAMES, 0.5)["tables"]
    assert table["charts"] == []
    assert np.isnan(table["rows"][0]["shares"]).all()
    section = diagnosis.sensitivities(runs, truths, 0.5)
    assert section["ap"] == [0.0]


def test_areas_are_stacked_in_the_order_of_the_kinds_up_to_all():
    shares = np.tile([0.4, 0.3, 0.2, 0.1], (len(MULTIPLES), 1))
    figure = diagnosis.area_chart(HOSTILE, shares)
    tops = [area.get_paths()[0].vertices[:, 1].max() for area in figure.axes[0].collections]
    np.testing.assert_allclose(tops, [0.4, 0.7, 0.9, 1.0])
    svg = as_svg(figure, label="l", salt="s")
    assert [svg.index(colour) for colour in FALSE_POSITIVES.values()] == sorted(
        svg.index(colour) for colour in FALSE_POSITIVES.values()
    )
    assert "<script" not in svg


def test_bars_are_as_high_as_the_means_and_say_how_many_objects():
    one = Characteristic(
        name="truncation",
        subsets=("whole", "truncated"),
        ap=np.array([[0.5, np.nan], [0.7, np.nan]]),
        num_objects=np.array([[3, 0], [4, 0]]),
    )
    result = Sensitivity(ap=np.array([0.5, 0.6]), normalised_to=3.0, characteristics=(one,))
    axes = diagnosis.subset_chart("truncation", [result, result]).axes[0]
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], [0.6, 0, 0.6, 0])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["whole\n7", "truncated\n0"]
