import numpy as np
import pytest
import torch

from detection.boxes import area
from detection.data.scenes import SCENE_CLASSES, draw_scene


@pytest.fixture(scope="module")
def scenes():
    return [
        draw_scene(np.random.default_rng(seed), (300, 400), num_objects=4) for seed in range(40)
    ]


def test_scenes_are_varied(scenes):
    actual = [item for scene in scenes for item in scene.objects]
    boxes = torch.tensor([item.box for item in actual])
    sides = area(boxes).sqrt()
    aspects = (boxes[:, 2] - boxes[:, 0]) / (boxes[:, 3] - boxes[:, 1])
    assert {item.class_name for item in actual} == set(SCENE_CLASSES)
    assert sides.quantile(0.98) > 5 * sides.quantile(0.02)
    assert aspects.min() < 0.5
    assert aspects.max() > 2
    assert 0.01 < np.mean([item.difficult for item in actual]) < 0.2
    assert any(item.visible < 0.9 and not item.difficult for item in actual)


def test_boxes_lie_in_their_scene(scenes):
    for scene in scenes:
        for item in scene.objects:
            x1, y1, x2, y2 = item.box
            assert 0 <= x1 < x2 <= 400
            assert 0 <= y1 < y2 <= 300


def test_a_scene_without_objects_has_none():
    scene = draw_scene(np.random.default_rng(0), (50, 60), num_objects=0)
    assert scene.objects == ()
    assert scene.pixels.shape == (50, 60, 3)
    assert scene.pixels.std() > 5


def test_an_object_that_is_hidden_is_not_listed():
    scene = draw_scene(np.random.default_rng(0), (60, 60), num_objects=12, side_range=(40, 50))
    assert len(scene.objects) < 12
    assert all(item.visible >= 0.15 for item in scene.objects)
