"""Paths of other machines, and the images here that they mean."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.data.foreign_paths import Finder, parts_of_path, without_prefix
from tests.data.test_tools import image


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("images\\a.jpg", ["images", "a.jpg"]),
        ("C:\\photos\\a.jpg", ["photos", "a.jpg"]),
        ("../../media/upload/4/a.jpg", ["media", "upload", "4", "a.jpg"]),
        ("/data/local-files/?d=set/a%20b.jpg", ["set", "a b.jpg"]),
        ("s3://bucket/set/a.jpg", ["set", "a.jpg"]),
        ("https://host/a%20b.jpg?token=1#x", ["a b.jpg"]),
        ("http://[", []),
        ("a\0b", []),
        ("", []),
    ],
)
def test_a_path_is_its_folders_and_its_file(text, parts):
    assert parts_of_path(text) == parts


@pytest.mark.parametrize("name", ["3f2a1b4-a.jpg", "3F2A1B4C-a.jpg", "a-3f2a1b4c.jpg", "3f2a1b4c-"])
def test_only_eight_digits_in_front_are_a_prefix(name):
    assert without_prefix(name) == name


def test_images_are_looked_for_in_one_folder_and_never_outside_it(tmp_path):
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
    image(tmp_path / "b" / "x.jpg")
    image(tmp_path / "a" / "y.jpg")
    image(tmp_path / "secret.jpg")
    finder = Finder([tmp_path / "a", tmp_path / "b"])
    assert finder.find("../secret.jpg") is None
    assert finder.find("/somewhere/x.jpg") == "x.jpg"
    assert finder.find("/somewhere/y.jpg") is None
    assert finder.find(str(Path("/"))) is None


@given(st.text(max_size=60) | st.from_regex(r"(https?|s3)://[\x20-\x7e]{0,30}"))
def test_any_text_is_no_path_or_one_without_steps_up(text):
    parts = parts_of_path(text)
    assert all("/" not in part and part not in {"", ".", ".."} for part in parts)
    assert Finder([Path("/nowhere")]).find(text) is None
