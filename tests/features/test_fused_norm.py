"""The compiled pass against the three modules that it stands for."""

import pytest
import torch
from torch import nn

from detection.backbones.weights import load_backbone
from detection.backbones.zf5 import WithinChannelNorm
from detection.config import BackboneConfig, FeatureConfig
from detection.features.fused_norm import NormalisedPool, with_fused_norm
from detection.features.trunk import ConvTrunk


def layers(alpha=5e-5, *, ceil_mode=True, side=3):
    return nn.Sequential(
        nn.ReLU(), WithinChannelNorm(alpha), nn.MaxPool2d(side, stride=2, ceil_mode=ceil_mode)
    )


def noise(*shape, scale=100.0, dtype=torch.float32):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))) * scale
    return values.to(dtype).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(3, 3), (3, 4), (4, 3), (5, 6), (8, 8), (13, 21), (40, 3)])
@pytest.mark.parametrize("channels", [1, 5, 96])
@pytest.mark.parametrize("threads", [1, 2])
def test_one_pass_computes_what_three_modules_do(size, channels, threads):
    x, three = noise(2, channels, *size), layers()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        actual = with_fused_norm(three)(x)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(actual, three(x), rtol=2e-6, atol=0)
    assert actual.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(7, 9), (8, 6)])
def test_bfloat16_is_rounded_once(size):
    x, three = noise(2, 8, *size, dtype=torch.bfloat16), layers()
    actual = with_fused_norm(three)(x)
    assert actual.dtype == torch.bfloat16
    torch.testing.assert_close(actual.float(), three(x.float()), rtol=2**-8, atol=0)


def test_the_result_is_the_same_on_any_number_of_threads():
    x, fused = noise(3, 16, 31, 17), with_fused_norm(layers())
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        results.append(fused(x))
    torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_what_is_not_a_number_spreads_to_its_neighbours_and_infinity_is_no_zero():
    x = noise(1, 4, 9, 9).abs()
    x[0, 1, 4, 4], x[0, 2, 0, 0] = float("nan"), float("inf")
    three = layers()
    actual, expected = with_fused_norm(three)(x), three(x)
    assert torch.equal(actual.isnan(), expected.isnan())
    assert actual.isnan().any()
    halves = with_fused_norm(three)(x.bfloat16())
    assert torch.equal(halves.isnan(), expected.isnan())


def test_negative_zeros_are_no_maxima():
    x = torch.full((1, 2, 5, 5), -0.0).contiguous(memory_format=torch.channels_last)
    assert not with_fused_norm(layers())(x).signbit().any()


def test_where_the_loop_cannot_run_the_modules_do():
    three = layers()
    fused = with_fused_norm(three)
    x = noise(1, 3, 7, 7).double()
    assert torch.equal(fused(x), three(x))
    x = noise(1, 3, 7, 7).requires_grad_()
    assert fused(x).requires_grad
    with torch.no_grad():
        assert not fused(x).requires_grad
    small = noise(1, 3, 2, 2)
    assert torch.equal(fused(small), three(small))


@pytest.mark.parametrize("three", [layers(ceil_mode=False), layers(side=2)])
def test_other_poolings_stay_as_they_are(three):
    assert not any(isinstance(module, NormalisedPool) for module in with_fused_norm(three))


def test_modules_keep_their_places_and_those_whose_results_are_needed_stay():
    trunk = nn.Sequential(nn.Conv2d(3, 4, 3), *layers(), nn.Conv2d(4, 4, 3), *layers())
    x = noise(1, 3, 40, 40)
    fused = with_fused_norm(trunk)
    assert [type(module).__name__ for module in fused][1:4] == 2 * ["Identity"] + ["NormalisedPool"]
    assert len(fused) == len(trunk)
    with torch.no_grad():
        torch.testing.assert_close(fused(x), trunk(x), rtol=1e-4, atol=1e-5)
    kept = with_fused_norm(trunk, kept=(2,))
    assert [isinstance(module, NormalisedPool) for module in kept].index(True) == 7
    pooled = with_fused_norm(trunk, kept=(3,))
    assert isinstance(pooled[3], NormalisedPool)


def test_a_trunk_of_zf5_has_both_of_its_normalisations_in_one_pass():
    backbone = load_backbone(BackboneConfig(name="zf5"))
    network = ConvTrunk(backbone, FeatureConfig(device="cpu"))
    x = noise(1, 3, 120, 90, scale=60.0)
    (actual,) = network.conv(x)
    assert sum(isinstance(module, NormalisedPool) for module in network._frozen) == 2
    with torch.no_grad():
        expected = backbone.trunk(x)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * float(expected.max()))
