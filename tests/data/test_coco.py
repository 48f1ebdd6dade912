import pytest

from detection.data.coco import read_coco
from detection.errors import DataError
from tests.data.folders import coco_content, write_coco


@pytest.mark.parametrize(
    ("table", "entry"),
    [
        ("categories", {"id": 3, "name": "\ud800"}),
        ("categories", {"id": "\udfff", "name": "cat"}),
        ("images", {"id": 7, "file_name": "\ud800.jpg"}),
        ("images", {"id": "\ud800", "file_name": "a.jpg"}),
    ],
)
def test_halves_of_characters_in_coco_are_refused_by_name(tmp_path, table, entry):
    path = write_coco(tmp_path, coco_content(**{table: [entry]}))
    with pytest.raises(DataError, match=r"expected a (number or a )?text as") as caught:
        read_coco(tmp_path, path)
    str(caught.value).encode()
