from dataclasses import replace

import pytest

from detection.benchmark.flops import count_flops
from detection.benchmark.instrument import untrained_detector
from detection.data.images import read_image
from tests.training import tiny

# A product and a sum for each weight that each value of a conv layer's output takes.
WHOLE = 2 * (16 * 24 * 6) * (3 * 4 * 4) + 2 * (8 * 12 * 8) * (6 * 3 * 3)  # of 64 x 96 pixels
CROP = 2 * (8 * 8 * 6) * (3 * 4 * 4) + 2 * (4 * 4 * 8) * (6 * 3 * 3)  # of 32 x 32 pixels


@pytest.mark.parametrize(
    ("method", "conv", "dim"),
    [("sppnet", lambda boxes: WHOLE, 8 * 50), ("rcnn", lambda boxes: CROP * boxes, 8 * 4)],
)
@pytest.mark.parametrize("boxes", [2, 7])
def test_operations_by_hand(tmp_path, method, conv, dim, boxes):
    """SPPnet's conv layers see the image once, R-CNN's each box."""
    (record,) = tiny.records(tmp_path, 1)
    detector = untrained_detector(tiny.backbone(), tiny.config(method), 2)
    proposals = tiny.proposals(record)
    counted = count_flops(
        detector,
        read_image(record.path, max_pixels=10_000),
        replace(proposals, boxes=proposals.boxes[:boxes]),
    )
    assert counted == {"conv": conv(boxes), "fc": boxes * 2 * (dim * 8 + 8 * 8)}
