import json

import pytest

from detection.errors import DataError
from detection.runs.given import NAME, require_same_given

GIVEN = {
    "dataset": {"name": "mine", "split": "train"},
    "backbone": {"name": "own/Net", "sha256": "ab"},
}


def test_what_was_given_is_said_in_the_folder(tmp_path):
    require_same_given(tmp_path, GIVEN)
    said = json.loads((tmp_path / NAME).read_text())
    assert said["backbone"] == {"name": "own/Net", "sha256": "ab"}
    assert "not by config.yaml" in said["about"]
    require_same_given(tmp_path, GIVEN)  # the same again is no fault


def test_a_run_that_was_given_nothing_has_no_such_file(tmp_path):
    require_same_given(tmp_path, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["dataset", "backbone"])
def test_what_is_missing_is_named_with_the_call(tmp_path, name):
    require_same_given(tmp_path, GIVEN)
    left = {key: what for key, what in GIVEN.items() if key != name}
    with pytest.raises(
        DataError, match=rf"expected the {name} .*got none.*, {name}=\.\.\., resume"
    ):
        require_same_given(tmp_path, left)


def test_another_one_is_refused_unless_it_is_wanted(tmp_path):
    require_same_given(tmp_path, GIVEN)
    other = GIVEN | {"backbone": {"name": "own/Net", "sha256": "cd"}}
    with pytest.raises(DataError, match=r"expected the backbone .*sha256: 'ab' -> 'cd'"):
        require_same_given(tmp_path, other)
    require_same_given(tmp_path, other, override=True)
    assert json.loads((tmp_path / NAME).read_text())["backbone"]["sha256"] == "cd"
    require_same_given(tmp_path, {}, override=True)
    assert not (tmp_path / NAME).exists()


def test_a_damaged_file_is_one_line(tmp_path):
    (tmp_path / NAME).write_text("{")
    with pytest.raises(DataError, match=rf"{NAME}: expected JSON"):
        require_same_given(tmp_path, GIVEN)
    (tmp_path / NAME).write_text("[1]")
    require_same_given(tmp_path, GIVEN)
