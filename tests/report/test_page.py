import base64
import io
import re

import pytest
from PIL import Image as PilImage

from detection.data.dataset import read_dataset
from detection.report.browse import browse
from tests.report.fake_runs import make_coco, make_run
from tests.report.pages import Page, assert_stands_alone, make_report

SIZE = ("width", "height")
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


def assert_images_have_their_size(content, count):
    images = re.findall(r"<img [^>]*>", content)
    assert len(images) >= count
    for image in images:
        width, height = (int(re.search(rf' {name}="(\d+)"', image)[1]) for name in SIZE)
        data = base64.b64decode(re.search(r'src="data:image/\w+;base64,([^"]+)"', image)[1])
        assert PilImage.open(io.BytesIO(data)).size == (width, height)


def test_images_of_a_report_have_their_size_so_that_it_does_not_jump(both):
    assert_images_have_their_size(both[0], 20)


def test_images_of_a_browsed_data_set_have_their_size(data, tmp_path):
    browse(read_dataset(data, "test"), tmp_path / "b.html", num_images=2)
    assert_images_have_their_size((tmp_path / "b.html").read_text(), 3)


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
