"""The page of units."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PilImage

from detection.errors import DataError
from detection.report.units import MAX_SIDE, ShownRegion, ShownUnit, draw_region, frame, write_units
from tests.report.pages import Page, assert_stands_alone


def region(path, **changed):
    values = {
        "path": path,
        "image_id": "an <image>",
        "box": (20.0, 10.0, 50.0, 40.0),
        "field": (10.0, 10.0, 60.0, 60.0),
        "value": 0.876,
        "text": "dog & co",
    }
    return ShownRegion(**(values | changed))


@pytest.fixture
def path(tmp_path):
    PilImage.fromarray(np.full((80, 100, 3), 60, dtype=np.uint8)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def pixels_of(embedded):
    content = base64.b64decode(embedded.src.partition(",")[2])
    return np.asarray(PilImage.open(io.BytesIO(content)).convert("RGB")).astype(int)


def test_a_page_shows_each_unit_with_its_regions_and_stands_alone(path, tmp_path):
    units = [
        ShownUnit(
            name="Channel 7", text="1 of 2.", regions=(region(path), region(path, value=0.5))
        ),
        ShownUnit(name="Channel 9", text="None.", regions=()),
    ]
    out = tmp_path / "page.html"
    write_units(units, out, title="What <fires>", facts="Of 3 images.", max_pixels=10**6)
    content = out.read_text(encoding="utf-8")
    page = Page(content)
    assert_stands_alone(content, page)
    assert page.ids == ["unit1", "unit2"]
    assert page.tags.count("img") == 2
    for text in ("What <fires>", "Of 3 images.", "Channel 7", "1 of 2.", "0.88 dog & co", "0.50"):
        assert text in page.words


def test_a_page_without_units_says_so(tmp_path):
    write_units([], tmp_path / "page.html", title="t", facts="f", max_pixels=10**6)
    assert "No unit's regions show an object." in Page((tmp_path / "page.html").read_text()).words


def test_a_region_is_drawn_with_what_the_unit_sees(path):
    drawn = draw_region(region(path), max_pixels=10**6)
    assert max(drawn.width, drawn.height) == MAX_SIDE
    pixels = pixels_of(drawn)
    scale = MAX_SIDE / 54  # 50 pixels, and 2 more on either side
    middle, left = round(27 * scale), round(2 * scale)
    assert pixels[:, left - 2 : left + 3].min(axis=2).max() > 180  # the white line of the field
    inner = round(12 * scale)
    assert np.ptp(pixels[round(15 * scale), inner - 3 : inner + 4], axis=1).max() > 80  # coloured
    assert np.abs(pixels[round(45 * scale), middle] - 60).max() < 12


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png"):
        draw_region(region(tmp_path / "gone.png"), max_pixels=10**6)


BOX = st.tuples(st.floats(0, 90), st.floats(0, 70), st.floats(1, 30), st.floats(1, 30))


@given(one=BOX, other=BOX)
def test_the_frame_holds_both_boxes_and_lies_in_the_image(one, other):
    first, second = ((x, y, min(x + w, 100), min(y + h, 80)) for x, y, w, h in (one, other))
    left, top, right, bottom = frame(first, second, (80, 100))
    assert 0 <= left < right <= 100
    assert 0 <= top < bottom <= 80
    for x1, y1, x2, y2 in (first, second):
        assert left <= x1
        assert top <= y1
        assert right >= x2 - 0.5
        assert bottom >= y2 - 0.5
