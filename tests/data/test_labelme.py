"""LabelMe's files, sound and broken."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detection.config import DataConfig
from detection.data.check import check_dataset
from detection.data.dataset import read_dataset
from detection.data.labelme import open_labelme
from tests.data.test_tools import BOX, NAMES, image, labelme


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ({"points": [[6, 4], [36, 9], [20, 24]], "shape_type": "polygon"}, BOX),
        ({"points": [[20, 20], [20, 30]], "shape_type": "circle"}, (10, 10, 30, 30)),
        ({"points": [[6, 4], [36, 9], [20, 24]]}, BOX),
    ],
)
def test_of_other_shapes_the_box_around_them_is_read(tmp_path, shape, box):
    labelme(tmp_path, shape={"label": "dog", **shape})
    dataset = read_dataset(DataConfig(root=str(tmp_path)), "train")
    assert dataset.records[0].truth.boxes.tolist() == [pytest.approx(box)]
    assert dataset.notes == {"polygon": 5}


@pytest.mark.parametrize(
    ("shape", "kind", "action"),
    [
        ({"label": "dog", "points": [[6, 4]], "shape_type": "point"}, "shape without area", "note"),
        ({"label": "dog", "points": [[6, 4]], "shape_type": "rectangle"}, "bad shape", "stop"),
        ({"label": "", "points": [[6, 4], [9, 9]]}, "bad shape", "stop"),
        ({"label": "dog", "points": [[6, "4"], [9, 9]]}, "bad shape", "stop"),
        (
            {"label": "dog", "points": [[6, 4], [9, 9]], "shape_type": []},
            "shape without area",
            "note",
        ),
        (["dog"], "bad shape", "stop"),
        ({"label": "\ud800", "points": [[6, 4], [9, 9]]}, "bad shape", "stop"),
    ],
)
def test_a_shape_that_is_no_box_is_named(tmp_path, shape, kind, action):
    labelme(tmp_path)
    file = tmp_path / "img 0.json"
    content = json.loads(file.read_text())
    content["shapes"].append(shape)
    file.write_text(json.dumps(content))
    found = {f.kind: f.action for f in check_dataset(DataConfig(root=str(tmp_path))).findings}
    assert found == {kind: action}


def test_a_labelme_file_without_its_image_or_without_sense_is_named(tmp_path):
    labelme(tmp_path)
    (tmp_path / "img 0.jpg").unlink()
    (tmp_path / "img 1.json").write_text('{"shapes": [')
    found = check_dataset(DataConfig(root=str(tmp_path))).findings
    assert {"bad label", "unreadable image"} <= {f.kind for f in found if f.action == "stop"}


def test_labelme_folders_called_like_lists_are_these(tmp_path):
    for part in ("train", "val"):
        labelme(tmp_path / part)
        for seed, name in enumerate(NAMES):
            image(tmp_path / part / f"{name}.jpg", seed + 10 * len(part))
    config = DataConfig(root=str(tmp_path))
    assert [len(read_dataset(config, split).records) for split in ("train", "test")] == [5, 5]
    assert read_dataset(config, "test").records[0].path.parent.name == "val"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)
shape = st.fixed_dictionaries(
    {"label": anything, "points": anything | st.lists(st.lists(st.floats(), max_size=3))},
    optional={"shape_type": anything | st.sampled_from(["rectangle", "circle", "line"])},
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shapes=st.lists(shape | anything, max_size=3) | anything,
    rest=st.dictionaries(
        st.sampled_from(["imagePath", "imageHeight", "imageWidth"]), anything, max_size=3
    ),
)
def test_whatever_a_file_holds_is_read_or_named(tmp_path, shapes, rest):
    image(tmp_path / "a.jpg")
    (tmp_path / "a.json").write_text(json.dumps({"shapes": shapes, **rest}))
    tables = open_labelme(tmp_path)
    assert len(tables.images) == 1 or tables.issues
    assert all(image.file_name for image in tables.images)
