import numpy as np
import pytest
import torch

from detection.model_io import load_detector, save_detector
from detection.tiny import tiny_detector


@pytest.fixture(scope="module")
def scene():
    pixels = np.full((120, 160, 3), 200, dtype=np.uint8)
    pixels[30:90, 40:110] = (30, 60, 200)
    pixels[60:100, 90:150] = (220, 40, 30)
    return pixels


@pytest.mark.parametrize("method", ["sppnet", "rcnn"])
def test_something_is_found_and_comes_back_from_a_file(tmp_path, scene, method):
    detector = tiny_detector(("ball", "cup", "key"), method=method)
    found = detector.detect(scene)
    assert len(found.scores) > 0
    assert set(found.labels.tolist()) <= {0, 1, 2}
    save_detector(tmp_path / "m.safetensors", detector)
    again = load_detector(tmp_path / "m.safetensors", device="cpu").detect(scene)
    assert torch.equal(again.boxes, found.boxes)
    assert torch.equal(again.scores, found.scores)


def test_the_seed_decides_the_weights():
    def weight(seed):
        return tiny_detector(seed=seed).scorer.svms.weight

    assert torch.equal(weight(1), weight(1))
    assert not torch.equal(weight(1), weight(2))
    assert weight(1).norm(dim=1).tolist() == pytest.approx([1, 1])
