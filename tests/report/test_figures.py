import re

import pytest

from detection.report.figures import as_svg
from tests.report.charts import charts


@pytest.mark.parametrize("name", list(charts()))
def test_svg_stands_alone_and_follows_the_pages_ink(name):
    svg = as_svg(charts()[name](), label=name, salt="s")
    assert svg.startswith('<svg role="img" aria-label="')
    assert svg.endswith("</svg>")
    assert "http" not in svg
    assert "xmlns" not in svg
    assert "currentColor" in svg
    assert "#000000" not in svg


def test_svg_is_the_same_every_time_and_ids_differ_by_salt():
    first, again = (as_svg(charts()["line"](), label="l", salt="a") for _ in range(2))
    other = as_svg(charts()["line"](), label="l", salt="b")
    assert first == again
    clips = [set(re.findall(r'<clipPath id="([^"]+)"', svg)) for svg in (first, other)]
    assert clips[0]
    assert not clips[0] & clips[1]
