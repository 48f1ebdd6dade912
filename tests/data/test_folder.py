from pathlib import Path

import pytest

from detection.data.folder import list_images, name_images
from detection.data.images import EXTENSIONS
from detection.errors import DataError


def test_files_are_taken_as_named_and_folders_by_extension(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("b.jpg", "a.PNG", "c.txt"):
        (tmp_path / "in" / name).write_bytes(b"")
    (tmp_path / "in" / "d.jpg").mkdir()
    odd = tmp_path / "odd.xyz"
    odd.write_bytes(b"")
    actual = list_images([odd, tmp_path / "in"])
    assert [path.name for path in actual] == ["odd.xyz", "a.PNG", "b.jpg"]


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="gone: expected an image or a folder"):
        list_images([tmp_path / "gone"])
    with pytest.raises(DataError, match=r"expected images .*, got none"):
        list_images([tmp_path])
    with pytest.raises(DataError, match="nothing: expected images"):
        list_images([])
    assert ".jpg" in EXTENSIONS


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["a"], ["1", "img"]),
        (["b"], ["img.jpg", "img.png"]),
        (["a/1.jpg", "b/img.png"], ["1", "img"]),
        (["a", "b"], ["a/1.jpg", "a/img.jpg", "b/img.jpg", "b/img.png"]),
        (["a", "b/img.png"], ["1.jpg", "img.jpg", "img.png"]),
        (["a", "a/img.jpg", "a"], ["1", "img"]),
    ],
)
def test_each_image_has_an_identifier_of_its_own(tmp_path, monkeypatch, inputs, expected):
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.jpg", "a/img.jpg", "b/img.jpg", "b/img.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"image")
    arguments = [Path(name) for name in inputs]
    paths = list_images(arguments)
    assert sorted(name_images(arguments, paths).values()) == expected
    assert len(set(paths)) == len(paths)


def test_a_pattern_names_the_images_that_it_matches(tmp_path):
    for name in ("a/1.jpg", "a/b/2.JPG", "a/b/.3.jpg", "a/notes.txt", "[x]/4.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = list_images([tmp_path / "a/**/*"])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a/1.jpg", "a/b/2.JPG"]
    literal = tmp_path / "[x]/4.jpg"
    assert list_images([literal]) == [literal]
    with pytest.raises(DataError, match="expected images"):
        list_images([tmp_path / "*.jpg"])
