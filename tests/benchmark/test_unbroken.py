import pytest
import torch

from detection.benchmark import unbroken
from detection.benchmark.instrument import untrained_detector
from detection.benchmark.unbroken import TimedImage, quartiles, time_unbroken
from detection.data.images import read_image
from tests.training import tiny


@pytest.fixture
def image(tmp_path):
    (record,) = tiny.records(tmp_path, 1)
    return TimedImage(
        image=read_image(record.path, max_pixels=10_000),
        proposals=tiny.proposals(record),
        seconds={},
    )


def test_quartiles_of_five_numbers():
    assert quartiles([5.0, 1.0, 4.0, 2.0, 3.0]) == {"q1": 2.0, "median": 3.0, "q3": 4.0}


def test_quartiles_lie_between_two_measurements():
    assert quartiles([0.0, 1.0]) == {"q1": 0.25, "median": 0.5, "q3": 0.75}


def test_the_methods_take_turns_and_each_begins_with_a_run_that_is_not_timed(monkeypatch, image):
    detectors = {
        method: untrained_detector(tiny.backbone(), tiny.config(method), 2)
        for method in ("sppnet", "rcnn")
    }
    results = []

    def seconds_on(device, run):
        results.append(type(run()).__name__)
        return float(len(results))

    monkeypatch.setattr(unbroken, "seconds_on", seconds_on)
    times = time_unbroken(detectors, [image], 3)
    # Of either method three times the network, then the image: 1 to 6, and 7 to 12.
    medians = {
        method: {key: values["median"] for key, values in its.items()}
        for method, its in times.items()
    }
    assert medians == {
        "sppnet": {"network_s": 3.0, "without_proposals_s": 4.0},
        "rcnn": {"network_s": 9.0, "without_proposals_s": 10.0},
    }
    assert results[1::2] == ["Detections"] * 6
    assert "Detections" not in results[::2]


def test_a_warm_up_takes_the_first_boxes(image):
    few = image.few_boxes().boxes
    assert len(few) == min(64, len(image.proposals.boxes))
    assert torch.equal(few, image.proposals.boxes[: len(few)])
