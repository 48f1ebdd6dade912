"""Pooling in two passes keeps what one pass keeps."""

from dataclasses import replace

import pytest
import torch

from detection.backbones.weights import load_backbone
from detection.benchmark.clock import StageClock
from detection.benchmark.instrument import instrument, untrained_detector
from detection.config import BackboneConfig, CascadeConfig, FeatureConfig
from detection.data.images import read_image
from detection.features.factory import make_extractor
from detection.heads.cascade import Cascade, level_spans, quantiles_of
from detection.heads.coarse_first import levels_read, pool_survivors
from detection.structures import Image
from tests.training import tiny

RANDOM = torch.Generator().manual_seed(0)
PIXELS = torch.randint(0, 256, (90, 120, 3), dtype=torch.uint8, generator=RANDOM)
CORNERS = torch.rand(150, 2, 2, generator=RANDOM) * torch.tensor([120.0, 90.0])
BOXES = torch.cat((CORNERS.amin(dim=1), CORNERS.amax(dim=1)), dim=1)
IMAGE = Image(image_id="random", pixels=PIXELS)


def extractor(maps=(), scales=(96,), power=1.0):
    config = FeatureConfig(
        scales=scales, levels=(1, 3, 2, 6), maps=maps, power=power, device="cpu", layer="fc7"
    )
    return make_extractor(load_backbone(BackboneConfig(name="squeezenet")), config)


def cascade(network, levels, device="cpu"):
    spans = level_spans(network.network.channels, network.config.levels, levels)
    width = int((spans[:, 1] - spans[:, 0]).sum())
    weight = torch.randn(width, generator=torch.Generator().manual_seed(1)) / width
    scores = torch.randn(100, generator=torch.Generator().manual_seed(2))
    bias = torch.tensor(0.1)
    return Cascade(weight=weight, bias=bias, spans=spans, quantiles=quantiles_of(scores))


@pytest.mark.parametrize("maps", [(), ("fire5", "fire9")])
@pytest.mark.parametrize("scales", [(96,), (64, 128)])
@pytest.mark.parametrize("levels", [(1,), (1, 2), (3,), (1, 2, 3, 6)])
def test_two_passes_leave_the_bits_of_one(maps, scales, levels):
    names = [name for name, _ in extractor().backbone.trunk.named_children()]
    network = extractor(tuple(name for name in names if name in maps), scales, power=0.5)
    model, config = cascade(network, levels), CascadeConfig(keep=20)
    expected, kept = model.survivors(network.extract(IMAGE, BOXES), config)
    for maps_of_image in (None, network.encode_image(IMAGE)):
        actual, boxes = pool_survivors(model, config, network, IMAGE, BOXES, maps_of_image)
        assert torch.equal(boxes, BOXES[kept])
        assert torch.equal(actual.values, expected.values)
        assert torch.equal(actual.rows, expected.rows)
    assert 20 <= int(kept.sum()) < len(BOXES)


@pytest.mark.parametrize("levels", [(1,), (2, 1), (3, 6)])
def test_the_levels_are_found_in_the_columns(levels):
    network = extractor()
    found = levels_read(cascade(network, levels), network)
    assert found == tuple(level for level in (1, 3, 2, 6) if level in levels)


def test_columns_that_are_no_levels_are_pooled_at_once():
    network = extractor()
    model = cascade(network, (1, 2))
    model = replace(model, spans=model.spans + torch.tensor([[0, 0], [1, 1]]))
    assert levels_read(model, network) == ()
    config = CascadeConfig(keep=20)
    expected, kept = model.survivors(network.extract(IMAGE, BOXES), config)
    actual, boxes = pool_survivors(model, config, network, IMAGE, BOXES)
    assert torch.equal(boxes, BOXES[kept])
    assert torch.equal(actual.values, expected.values)


def test_few_boxes_have_all_their_levels_pooled(monkeypatch):
    network = extractor()
    widths = []
    pool_windows = type(network).pool_windows

    def noting(self, maps, windows):
        values = pool_windows(self, maps, windows)
        widths.append(values.shape)
        return values

    monkeypatch.setattr(type(network), "pool_windows", noting)
    pool_survivors(cascade(network, (1, 2)), CascadeConfig(keep=10), network, IMAGE, BOXES)
    (_, coarse), (few, whole) = widths
    assert (coarse, whole) == (5 * 512, 50 * 512)
    assert few <= 20


def test_a_detector_in_two_passes_detects_what_it_detects_in_one(tmp_path):
    (record,) = tiny.records(tmp_path, 1)
    image, proposals = read_image(record.path, max_pixels=10_000), tiny.proposals(record)
    config = replace(
        tiny.config(), features=replace(tiny.config().features, layer="fc7", levels=(1, 2, 3))
    )
    config = replace(config, cascade=CascadeConfig(enabled=True, keep=12))
    detector = untrained_detector(tiny.backbone(), config, 2)
    clock = StageClock(torch.device("cpu"))
    for one in (detector, instrument(detector, clock)):
        pool5 = detector.extractor.extract(image, proposals.boxes)
        expected = detector.detect_pooled(pool5, proposals.boxes, image.size, image.image_id)
        actual = one.detect(image, proposals)
        assert len(expected.scores) > 0
        assert torch.equal(actual.boxes, expected.boxes)
        assert torch.equal(actual.scores, expected.scores)
    assert {"conv", "pooling", "cascade", "fc"} <= set(clock.seconds)
