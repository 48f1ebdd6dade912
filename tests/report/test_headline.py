import math

import pytest

from detection.report.headline import Gap, headline
from detection.report.parts import Absent
from tests.report.fake_runs import make_benchmark, make_coco, make_run
from tests.report.pages import make_report


def gap(difference, low, high):
    return Gap(first="SPPnet", second="R-CNN", difference=difference, low=low, high=high)


def test_first_card_says_what_both_methods_cost_and_find(both):
    content, page = both
    assert content.index('id="point"') < content.index('id="scores"')
    words = page.words
    assert "174x less convolution" in words
    assert "61x faster" in words
    assert "31x with decoding and proposals" in words
    assert "mAP difference points of 11-point mAP, SPPnet minus R-CNN; [" in words
    assert words.index("mAP difference") < words.index("R-CNN neither wins nor loses: ")


def test_order_of_the_folders_does_not_turn_the_difference(runs, tmp_path, both):
    _, page = make_report(runs[::-1], tmp_path / "r.html", images_each=0)
    start = both[1].words.index("174x less")
    card = both[1].words[start : both[1].words.index("R-CNN apart.")]
    assert card in page.words


def test_without_a_benchmark_the_card_names_the_command(runs, tmp_path, data):
    make_run(tmp_path / "spp", "sppnet", data=data, seed=1)
    _, page = make_report([tmp_path / "spp", runs[1]], tmp_path / "r.html", images_each=0)
    assert "How much less convolution and time was not measured. detection benchmark" in page.words
    assert "mAP difference" in page.words
    assert "less convolution operations" not in page.words


def test_one_run_has_its_map_and_interval_in_the_first_card(runs, tmp_path):
    content, page = make_report(runs[1:], tmp_path / "r.html", images_each=0)
    card = content[content.index('id="point"') : content.index('id="scores"')]
    assert "95% interval over images: " in card
    assert "less convolution" not in card
    assert "mAP 11 points, R-CNN on objects" in page.words


def test_benchmark_alone_says_how_much_faster(tmp_path):
    make_benchmark(tmp_path / "bench")
    _, page = make_report([tmp_path / "bench"], tmp_path / "r.html")
    assert "174x less convolution" in page.words
    assert "mAP difference" not in page.words


def test_runs_on_other_images_have_no_difference(runs, tmp_path):
    (tmp_path / "data").mkdir()
    other = make_coco(tmp_path / "data", ("cat", "dog", "bird"), num_images=12)
    make_run(tmp_path / "other", "rcnn", data=other)
    _, page = make_report([runs[0], tmp_path / "other"], tmp_path / "r.html", images_each=0)
    assert "mAP difference" not in page.words
    assert "they are not of the same images and classes" in page.words


@pytest.mark.parametrize(
    ("difference", "low", "high", "says"),
    [
        (-0.021, -0.04, -0.001, "R-CNN wins: its mAP is higher by 2.1 points"),
        (0.034, 0.01, 0.06, "R-CNN loses: its mAP is lower by 3.4 points"),
        (0.034, -0.01, 0.06, "R-CNN neither wins nor loses: the interval contains zero"),
        (0.034, math.nan, math.nan, ""),
    ],
)
def test_verdict_follows_the_interval(difference, low, high, says):
    assert gap(difference, low, high).verdict().startswith(says)
    assert bool(gap(difference, low, high).verdict()) == bool(says)


def test_slower_is_not_called_faster():
    card = headline([], [], {"ratios": {"network_s": 0.5, "with_proposals_s": 1.25}})
    assert not isinstance(card, Absent)
    (fact,) = card["facts"]
    assert (fact.value, fact.name) == ("2.0x", "slower")
    assert "1.2x faster with decoding" in fact.note


def test_nothing_evaluated_leaves_the_card_out():
    assert isinstance(headline([], [], None), Absent)
