import pytest
import torch

from detection.benchmark.clock import StageClock
from detection.benchmark.instrument import instrument, untrained_detector
from detection.data.images import read_image
from detection.errors import ConfigError
from tests.training import tiny


@pytest.mark.parametrize("method", ["sppnet", "rcnn"])
def test_a_clock_around_every_stage_changes_no_detection(tmp_path, method):
    (record,) = tiny.records(tmp_path, 1)
    image = read_image(record.path, max_pixels=10_000)
    detector = untrained_detector(tiny.backbone(), tiny.config(method), 2)
    expected = detector.detect(image, tiny.proposals(record))
    clock = StageClock(torch.device("cpu"))
    timed = instrument(detector, clock)
    actual = timed.detect(image, tiny.proposals(record))
    assert len(expected.scores) > 0
    assert torch.equal(actual.boxes, expected.boxes)
    assert torch.equal(actual.scores, expected.scores)
    stages = {*detector.extractor.stages.values(), "fc", "svm", "regression"}
    assert set(clock.seconds) == stages
    assert all(seconds > 0 for seconds in clock.seconds.values())


def test_random_heads_are_those_of_the_seed():
    def weight(num_classes):
        detector = untrained_detector(tiny.backbone(), tiny.config(), num_classes)
        assert detector.class_names == tuple(f"class {k}" for k in range(num_classes))
        return detector.scorer.svms.weight

    assert torch.equal(weight(3), weight(3))
    assert weight(3).shape == (3, 8)


def test_a_detector_of_no_class_is_refused():
    with pytest.raises(ConfigError, match="num_classes: expected at least 1, got 0"):
        untrained_detector(tiny.backbone(), tiny.config(), 0)
