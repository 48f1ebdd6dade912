import numpy as np
import pytest
import torch

from detection.data.images import read_image
from detection.export.inputs import graph_inputs, to_image_pixels
from detection.tiny import tiny_detector
from tests.training import tiny


@pytest.fixture
def image(tmp_path):
    """64 pixels high, 96 wide; the detector's scale makes it 96 x 144."""
    (record,) = tiny.records(tmp_path, 1)
    return read_image(record.path, max_pixels=10_000)


BOXES = torch.tensor([[0.0, 0, 96, 64], [10, 20, 30, 40]])


def test_sppnet_takes_the_resized_image_and_boxes_of_its_size(image):
    arrays = graph_inputs(tiny_detector(), image, BOXES)
    assert set(arrays) == {"image", "boxes"}
    assert arrays["image"].shape == (1, 3, 96, 144)
    assert arrays["boxes"].tolist() == [[0, 0, 144, 96], [15, 30, 45, 60]]


def test_rcnn_takes_a_crop_for_each_box(image):
    detector = tiny_detector(method="rcnn")
    arrays = graph_inputs(detector, image, BOXES)
    assert set(arrays) == {"crops"}
    assert arrays["crops"].shape == (2, 3, 227, 227)
    alone = graph_inputs(detector, image, BOXES[1:])["crops"]
    assert np.array_equal(arrays["crops"][1:], alone)


def test_boxes_come_back_to_pixels_of_the_image():
    boxes = np.array([[15, 30, 45, 60]], np.float32)
    assert to_image_pixels(boxes, (96, 144), (64, 96)).tolist() == [[10, 20, 30, 40]]
