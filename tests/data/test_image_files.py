"""Headers and damage of image files, without their pixels."""

import pytest

from detection.data import image_files
from detection.data.image_files import decode, require_whole
from detection.errors import ImageError
from tests.data.folders import picture
from tests.faults.test_images import encoded


def test_headers_are_read_once_and_again_where_the_file_changed(tmp_path, monkeypatch):
    picture(60, 40).save(tmp_path / "a.png")
    read = []
    monkeypatch.setattr(image_files, "require_plain", lambda path, *_: read.append(path))
    assert image_files.known_header(tmp_path / "a.png")[0] == (40, 60)
    assert image_files.known_header(tmp_path / "a.png")[0] == (40, 60)
    assert len(read) == 1
    picture(61, 40).save(tmp_path / "b.png")
    (tmp_path / "b.png").replace(tmp_path / "a.png")
    assert image_files.known_header(tmp_path / "a.png")[0] == (40, 61)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.9, 0.99, 1.0])
def test_damage_shows_at_an_eighth_of_the_side_too(mode, options, part):
    data = encoded(picture(200, 120).convert(mode), "JPEG", **options)
    data = data[: int(part * len(data))]
    outcomes = []
    for read in (decode, require_whole):
        try:
            read(data, "it", 100_000)
            outcomes.append("whole")
        except ImageError as error:
            outcomes.append(str(error).partition("(")[0])
    assert outcomes[0] == outcomes[1]
    assert (outcomes[0] == "whole") == (part == 1.0)


def test_too_many_pixels_are_refused_before_they_are_decoded():
    with pytest.raises(ImageError, match="at most 100 pixels"):
        require_whole(encoded(picture(200, 120), "JPEG"), "it", 100)
