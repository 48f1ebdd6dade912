import logging

import numpy as np
import pytest
import torch

from detection.report import fonts
from detection.report.drawing import Mark, draw_marks
from detection.structures import Image


@pytest.fixture
def no_system_fonts(monkeypatch):
    monkeypatch.setattr(fonts, "_system_fonts", tuple)
    fonts._system_font.cache_clear()
    fonts._warn.cache_clear()
    yield
    fonts._system_font.cache_clear()


@pytest.mark.parametrize("text", ["dog 0.87", "Bälle", "мяч", "σκύλος"])
def test_the_bundled_font_serves_where_it_has_the_letters(text):
    assert fonts.legible(text) == (text, fonts._OWN)


def test_without_a_font_the_name_is_romanised_and_said_once(no_system_fonts, caplog):
    with caplog.at_level(logging.WARNING):
        assert fonts.legible("足球 0.9") == ("ZuQiu 0.9", fonts._OWN)
        fonts.legible("足球 0.9")
    assert caplog.text.count("no font here has its letters") == 1


def test_a_font_of_the_system_that_has_the_letters_is_taken(monkeypatch, tmp_path):
    known = {fonts._OWN: frozenset("dog"), tmp_path / "a.ttf": frozenset("球")}
    monkeypatch.setattr(fonts, "_letters", lambda path: known.get(path, frozenset()))
    monkeypatch.setattr(fonts, "_system_fonts", lambda: (tmp_path / "b.ttf", tmp_path / "a.ttf"))
    fonts._system_font.cache_clear()
    assert fonts.legible("球") == ("球", tmp_path / "a.ttf")
    fonts._system_font.cache_clear()


def test_a_file_that_is_no_font_has_no_letters(tmp_path):
    (tmp_path / "x.ttf").write_bytes(b"no font")
    assert fonts._letters(tmp_path / "x.ttf") == frozenset()


def test_a_label_of_any_script_is_drawn_otherwise_than_another(no_system_fonts):
    image = Image(image_id="a", pixels=torch.zeros(80, 160, 3, dtype=torch.uint8))
    drawn = [
        np.array(draw_marks(image, [Mark(box=(20, 30, 120, 70), text=text)]))
        for text in ("足球", "篮子")
    ]
    assert not np.array_equal(*drawn)
