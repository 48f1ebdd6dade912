import runpy

import pytest
from PIL import Image

from tests.docs.pages import DOCS


@pytest.mark.slow
def test_the_figure_of_both_methods_is_drawn(tmp_path):
    draw = runpy.run_path(str(DOCS / "figures/two_methods.py"))["draw"]
    draw(tmp_path / "figure.png")
    kept, drawn = DOCS / "images/two_methods.png", tmp_path / "figure.png"
    with Image.open(kept) as old, Image.open(drawn) as new:
        assert new.size == old.size
