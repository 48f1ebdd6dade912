import logging

import pytest
import torch

from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig, FeatureConfig
from detection.errors import DataError
from detection.features.factory import make_extractor
from detection.features.memory import extract_in_parts, extract_within_memory
from detection.io.image_errors import is_out_of_memory
from tests.features.contract import BOXES, picture

CORNERS = torch.rand(700, 2, 2, generator=torch.Generator().manual_seed(0))
MANY = torch.cat((CORNERS.amin(dim=1), CORNERS.amax(dim=1)), dim=1) * torch.tensor([90, 60, 90, 60])


def extractor(method="sppnet", scales=(64, 96, 128)):
    config = FeatureConfig(method=method, scales=scales, device="cpu")
    return make_extractor(load_backbone(BackboneConfig(name="squeezenet")), config)


def run_out(monkeypatch, cls, name, most, size_of):
    """Let a method run out of memory where ``size_of`` its arguments is above ``most``."""
    method = getattr(cls, name)
    sizes = []

    def bounded(self, *arguments):
        sizes.append(size_of(*arguments))
        if sizes[-1] > most:
            message = "CUDA out of memory. Tried to allocate 2.00 GiB"
            raise torch.OutOfMemoryError(message)
        return method(self, *arguments)

    monkeypatch.setattr(cls, name, bounded)
    return sizes


@pytest.mark.parametrize(("method", "size"), [("sppnet", 70), ("rcnn", 30)])
@pytest.mark.parametrize("part", [1, 7, 64])
def test_f53_boxes_in_parts_give_the_same_vectors(method, size, part):
    network, image, boxes = extractor(method), picture(60, 90), MANY[:size]
    whole = network.extract(image, boxes).expand()
    parts = extract_in_parts(network, image, boxes, part).expand()
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-5)


def test_f53_where_pooling_runs_out_of_memory_fewer_boxes_are_pooled_at_a_time(monkeypatch, caplog):
    network, image = extractor(), picture(60, 90)
    expected = network.extract(image, MANY).expand()
    few = len(torch.unique(MANY[:64], dim=0))
    sizes = run_out(
        monkeypatch, type(network), "pool_windows", few, lambda _, windows: len(windows)
    )
    with caplog.at_level(logging.WARNING):
        actual = extract_within_memory(network, image, MANY).expand()
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    assert max(sizes[2:]) <= few < min(sizes[:2])
    assert "out of memory; trying 512 boxes at a time, scales [64, 96, 128]" in caplog.text
    assert "trying 64 boxes" in caplog.text
    assert "trying 8 boxes" not in caplog.text


def test_f53_crops_are_warped_in_smaller_batches(monkeypatch):
    network, image = extractor("rcnn"), picture(60, 90)
    boxes = MANY[:40]
    expected = network.extract(image, boxes).expand()
    sizes = run_out(monkeypatch, type(network), "conv", 10, len)
    actual = extract_within_memory(network, image, boxes).expand()
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    assert max(sizes[1:]) <= 10 < sizes[0]


def test_f53_where_the_conv_layers_run_out_of_memory_the_largest_scale_is_left_out(
    monkeypatch, caplog
):
    network, image = extractor(), picture(60, 90)
    small = extractor(scales=(64, 96))
    expected = small.extract(image, BOXES).expand()
    run_out(monkeypatch, type(network), "conv", 100, lambda inputs: min(inputs.shape[1:]))
    with caplog.at_level(logging.WARNING):
        actual = extract_within_memory(network, image, BOXES).expand()
    assert torch.equal(actual, expected)
    assert "scales [64, 96]" in caplog.text
    assert network.config.scales == (64, 96, 128)
    assert network.num_scales == 3


def test_f53_fewer_scales_do_not_make_single_boxes_of_many(monkeypatch):
    network, image = extractor(), picture(60, 90)
    run_out(monkeypatch, type(network), "conv", 100, lambda inputs: min(inputs.shape[1:]))
    pooled = run_out(monkeypatch, type(network), "pool_windows", 8, lambda _, w: len(w))
    extract_within_memory(network, image, MANY[:80])
    assert len(pooled) == 10  # 80 boxes, 8 at a time


def test_f53_the_next_image_begins_with_what_fitted_the_last(monkeypatch, caplog):
    network, image = extractor(), picture(60, 90)
    sizes = run_out(monkeypatch, type(network), "pool_windows", 8, lambda _, w: len(w))
    extract_within_memory(network, image, MANY[:70])
    assert max(sizes) > 8
    sizes.clear()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        extract_within_memory(network, image, MANY[:70])
    assert max(sizes) <= 8
    assert not caplog.records


@pytest.mark.parametrize("method", ["sppnet", "rcnn"])
def test_f53_memory_that_never_suffices_is_one_line_with_the_remedy(monkeypatch, method):
    network = extractor(method)
    run_out(monkeypatch, type(network), "conv", 0, lambda inputs: inputs.numel())
    with pytest.raises(DataError, match=r"^60x90: expected an image that fits .*max_long_side"):
        extract_within_memory(network, picture(60, 90), BOXES)


def test_f53_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch):
    network = extractor()

    def fail(*_):
        message = "CUDA error: an illegal memory access was encountered"
        raise RuntimeError(message)

    monkeypatch.setattr(type(network), "conv", fail)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        extract_within_memory(network, picture(60, 90), BOXES)


def test_f53_the_machines_own_memory_counts_too():
    text = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 400000000000 bytes"
    assert is_out_of_memory(RuntimeError(text))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(ValueError("out of memory"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    assert is_out_of_memory(caught.value)
