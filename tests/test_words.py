import pytest

from detection.words import counted


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (1, "thread", "1 thread"),
        (0, "image", "0 images"),
        (2, "image", "2 images"),
        (1, "class", "1 class"),
        (3, "class", "3 classes"),
        (2, "box", "2 boxes"),
        (2, "batch", "2 batches"),
        (1.0, "box", "1.0 box"),
        ("unknown", "image", "unknown images"),
    ],
)
def test_nouns_follow_their_number(number, noun, text):
    assert counted(number, noun) == text


def test_a_plural_and_a_spelling_can_be_given():
    assert counted(2000, "entry", "entries", ",") == "2,000 entries"
    assert counted(1.0, "epoch", spec="g") == "1 epoch"
