import re

import pytest

from detection.data.dataset import read_dataset
from detection.report.browse import browse
from tests.report.fake_runs import make_coco, make_run
from tests.report.pages import Page, assert_stands_alone, make_report

HOSTILE = (
    "<script>alert(1)</script>",
    'a"/onload="x',
    "line break",
    "猫 & {{ 7 * 7 }}",
    "x" * 300,
    "$\\frac$",
)


def test_report_stands_alone(both):
    assert_stands_alone(*both)


def test_report_fits_phones_and_paper(both):
    content, _ = both
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in content
    assert "@media print" in content
    assert "prefers-color-scheme: dark" in content


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    return make_coco(folder, HOSTILE, file_name="<b>{}&amp;'\".png", num_images=10)


def test_names_are_escaped_in_the_report(hostile, tmp_path):
    folder = tmp_path / '<img src=x onerror="1">'
    make_run(folder, "rcnn", data=hostile)
    make_run(tmp_path / "b", "rcnn", data=hostile, seed=4)
    content, page = make_report([folder, tmp_path / "b"], tmp_path / "r.html")
    assert_stands_alone(content, page)
    assert "<script" not in content
    assert "onerror=" not in re.sub(r"&lt;.*?&gt;", "", content)
    assert "49" not in [word for word in page.words.split() if word == "猫"]
    assert "<script>alert(1)</script>" in page.words
    assert "{{ 7 * 7 }}" in page.words


def test_names_are_escaped_in_the_browser(hostile, tmp_path):
    browse(read_dataset(hostile, "test"), tmp_path / "b.html", num_images=4)
    content = (tmp_path / "b.html").read_text()
    page = Page(content)
    assert_stands_alone(content, page)
    assert page.tags.count("img") == 4 + 1
    assert "{{ 7 * 7 }}" in page.words
