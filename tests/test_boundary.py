import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from detection import boundary
from detection.boundary import inputs, inputs_and_maps, remembers_file, with_probabilities
from detection.errors import ImageError
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


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def scene(height=90, width=120):
    random = torch.Generator().manual_seed(0)
    pixels = torch.full((height, width, 3), 90, dtype=torch.uint8)
    pixels[10:60, 20:70] = 200
    noise = torch.randint(0, 40, pixels.shape, dtype=torch.uint8, generator=random)
    return Image(image_id="scene", pixels=pixels + noise)


def search_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("proposals")]


@pytest.mark.parametrize("method", ["sppnet", "rcnn"])
@pytest.mark.usefixtures("two_threads")
def test_searching_beside_the_conv_layers_changes_no_bit(method):
    detector, image = tiny_detector(method=method), scene()
    there, boxes, maps = inputs_and_maps(image, None, detector.config, detector.extractor)
    alone, expected = inputs(image, None, detector.config, detector.device)
    assert torch.equal(there.pixels, alone.pixels)
    assert torch.equal(boxes, expected)
    for one, other in zip(maps, detector.extractor.encode_image(image), strict=True):
        assert torch.equal(one.values, other.values)
    beside = detector.detect(image)
    after = detector.detect(image, Proposals(image_id="scene", boxes=expected))
    assert len(beside.scores) > 0
    assert torch.equal(beside.scores, after.scores)
    assert torch.equal(beside.boxes, after.boxes)
    assert not search_threads()


@pytest.mark.usefixtures("two_threads")
def test_the_search_is_at_work_while_the_conv_layers_are(monkeypatch):
    detector = tiny_detector()
    meeting = threading.Barrier(2)
    propose, encode = boundary.propose, type(detector.extractor).encode_image

    def meet_and_propose(*args, **kwargs):
        meeting.wait(timeout=20)
        return propose(*args, **kwargs)

    def meet_and_encode(self, image):
        meeting.wait(timeout=20)
        return encode(self, image)

    monkeypatch.setattr(boundary, "propose", meet_and_propose)
    monkeypatch.setattr(type(detector.extractor), "encode_image", meet_and_encode)
    assert inputs_and_maps(scene(), None, detector.config, detector.extractor)[2] is not None


def test_with_one_thread_or_known_boxes_nothing_runs_beside(monkeypatch):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(boundary, "ThreadPoolExecutor", refuse)
    detector, image, before = tiny_detector(), scene(), torch.get_num_threads()
    given = Proposals(image_id="scene", boxes=torch.tensor([[0.0, 0, 30, 30]]))
    try:
        torch.set_num_threads(2)
        assert inputs_and_maps(image, given, detector.config, detector.extractor)[2] is None
        torch.set_num_threads(1)
        assert inputs_and_maps(image, None, detector.config, detector.extractor)[2] is None
    finally:
        torch.set_num_threads(before)


def out_of_memory(*_):
    message = "CUDA out of memory. Tried to allocate 2.00 GiB"
    raise torch.OutOfMemoryError(message)


def stop(*_):
    raise KeyboardInterrupt


def illegal(*_):
    message = "CUDA error: an illegal memory access was encountered"
    raise RuntimeError(message)


def unsearchable(*_, **__):
    message = "scene: expected an image that OpenCV can search, got another"
    raise ImageError(message)


@pytest.mark.parametrize(
    ("encode", "search", "error"),
    [
        (illegal, None, RuntimeError),
        (stop, None, KeyboardInterrupt),
        (None, unsearchable, ImageError),
        (illegal, unsearchable, ImageError),
        (out_of_memory, unsearchable, ImageError),
        (stop, unsearchable, KeyboardInterrupt),
    ],
)
@pytest.mark.usefixtures("two_threads")
def test_errors_come_as_one_after_the_other_and_no_thread_is_left(
    monkeypatch, encode, search, error
):
    detector = tiny_detector()
    if encode:
        monkeypatch.setattr(type(detector.extractor), "encode_image", encode)
    if search:
        monkeypatch.setattr(boundary, "propose", search)
    with pytest.raises(error):
        detector.detect(scene())
    assert not search_threads()


@pytest.mark.usefixtures("two_threads")
def test_an_image_that_the_memory_does_not_hold_is_left_to_the_fallback(monkeypatch):
    detector = tiny_detector()
    monkeypatch.setattr(type(detector.extractor), "encode_image", out_of_memory)
    _, boxes, maps = inputs_and_maps(scene(), None, detector.config, detector.extractor)
    assert len(boxes)
    assert maps is None
