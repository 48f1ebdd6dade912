from dataclasses import replace
from pathlib import Path

import torch

from detection.boundary import inputs, remembers_file, with_probabilities
from detection.heads.calibration import Calibration
from detection.structures import Detections, Image, Proposals
from detection.tiny import tiny_detector

FOUND = Detections(
    image_id="a",
    boxes=torch.tensor([[0.0, 0, 4, 4], [1, 1, 3, 3]]),
    scores=torch.tensor([2.0, -1.0]),
    labels=torch.tensor([0, 1]),
)


class Finder:
    @remembers_file
    def detect(self, image, proposals=None):
        return FOUND


def test_what_was_read_from_a_file_is_remembered_and_pixels_are_not():
    assert Finder().detect("folder/a.jpg").source == Path("folder/a.jpg")
    assert Finder().detect(Path("a.jpg")).source == Path("a.jpg")
    pixels = torch.zeros(4, 4, 3, dtype=torch.uint8)
    assert Finder().detect(Image(image_id="a", pixels=pixels)).source is None


def test_names_are_added_and_scores_stay_without_calibration():
    named = with_probabilities(FOUND, ("cat", "dog"), None)
    assert named.class_names == ("cat", "dog")
    assert named.probabilities is None
    assert torch.equal(named.scores, FOUND.scores)


def test_probabilities_come_beside_the_scores():
    calibration = Calibration(slope=(1.0, 2.0), offset=(0.0, 1.0), threshold=0.5)
    named = with_probabilities(FOUND, ("cat", "dog"), calibration)
    assert torch.equal(named.scores, FOUND.scores)
    expected = torch.sigmoid(torch.tensor([2.0, 2 * -1.0 + 1]))
    torch.testing.assert_close(named.probabilities.float(), expected)


def test_boxes_that_are_given_are_not_searched_for():
    detector = tiny_detector()
    pixels = torch.zeros(60, 80, 3, dtype=torch.uint8)
    boxes = torch.tensor([[0.0, 0, 30, 30]])
    given = Proposals(image_id="a", boxes=boxes)
    image, taken = inputs(pixels.numpy(), given, detector.config, detector.device)
    assert image.size == (60, 80)
    assert torch.equal(taken, boxes)
    searched = replace(detector.config.proposals, max_boxes=3)
    config = replace(detector.config, proposals=searched)
    pixels[10:40, 10:40] = 200
    assert 1 <= len(inputs(pixels.numpy(), None, config, detector.device)[1]) <= 3
