"""A layer in 8 bits against the same layer in whole numbers."""

import pytest
import torch

from detection.heads import fast_fc, int8_fc
from detection.heads.fast_fc import prepare_fast
from detection.heads.fc import FcHead
from detection.heads.int8_fc import (
    ByteRows,
    round_inputs,
    round_inputs_plainly,
    round_weights,
    scale_sums,
    scale_sums_plainly,
)

RANDOM = torch.Generator().manual_seed(0)


def head_of(weight, bias):
    head = FcHead(weight.shape[1], size=len(weight), single=True).eval()
    with torch.no_grad():
        head.fc6.weight.copy_(weight)
        head.fc6.bias.copy_(bias)
    return head


def in_whole_numbers(x, weight, bias, limit, groups=()):
    """Return the layer with its products summed as 64-bit integers."""
    out = None
    for part in round_weights(weight, bias, limit=limit, relu=True, groups=groups):
        columns = slice(part.start, part.start + part.values.shape[1])
        rows = round_inputs_plainly(x[:, columns])
        sums = rows.values.long() @ part.values.long().T
        out = scale_sums_plainly(sums.float(), rows, part, out)
    return out


def limit():
    return 127 if fast_fc.sums_bytes_in_32_bits() else 63


@pytest.mark.parametrize("zero", [0, 37, 255])
@pytest.mark.parametrize("shape", [(7, 300, 40), (1, 16, 16), (33, 5, 3)])
def test_what_8_bits_can_hold_comes_back_exact(zero, shape):
    """Whole numbers times powers of two: nothing is rounded, so that nothing may differ."""
    n, d, f = shape
    steps = 2.0 ** -torch.arange(n).remainder(9)
    values = torch.randint(0, 256, (n, d), generator=RANDOM)
    values[:, 0], values[:, 1] = 0, 255
    scale = 2.0 ** -torch.arange(f).remainder(5)
    whole = torch.randint(-limit(), limit() + 1, (f, d), generator=RANDOM)
    whole[:, 2] = limit()
    bias = torch.randint(-50, 50, (f,), generator=RANDOM)
    x = steps[:, None] * (values - zero)
    layer = prepare_fast(head_of(scale[:, None] * whole, bias), "int8", "fc6")
    products = (values - zero) @ whole.T
    expected = (products * steps[:, None].double() * scale.double() + bias).relu()
    assert torch.equal(layer(x).double(), expected)


@pytest.mark.parametrize("shift", [0.0, -0.8])
@pytest.mark.parametrize("d", [96, 12800])
@pytest.mark.parametrize("two_maps", [False, True])
def test_kernel_is_the_layer_in_whole_numbers_to_the_bit(d, shift, two_maps):
    """Also where sums are beyond 2 ** 24: both round the whole sum once."""
    x = torch.randn(20, d, generator=RANDOM).relu() * torch.rand(20, 1, generator=RANDOM) + shift
    weight = torch.randn(64, d, generator=RANDOM) * 0.05
    bias = torch.randn(64, generator=RANDOM)
    groups = (d - 7, 7) if two_maps else ()
    got = prepare_fast(head_of(weight, bias), "int8", "fc6", groups=groups)(x)
    assert torch.equal(got, in_whole_numbers(x, weight, bias, limit(), groups))
    assert got.dtype == torch.float32


def test_a_row_does_not_depend_on_the_others():
    x = torch.randn(30, 500, generator=RANDOM).relu()
    x[3] *= 1e4
    layer = prepare_fast(
        head_of(torch.randn(64, 500, generator=RANDOM), torch.zeros(64)), "int8", "fc6"
    )
    together = layer(x)
    assert torch.equal(together[:3], layer(x[:3]))
    assert torch.equal(together[3:], layer(x[3:]))


def test_a_row_of_small_numbers_beside_a_large_one_keeps_its_precision():
    x = torch.randn(10, 500, generator=RANDOM).relu()
    x[0] *= 1000
    head = head_of(torch.randn(64, 500, generator=RANDOM), torch.zeros(64))
    got, expected = prepare_fast(head, "int8", "fc6")(x), head(x, "fc6")
    off = (got - expected).abs().amax(dim=1) / expected.amax(dim=1)
    assert off.max() < 0.02


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_row_that_is_not_finite_stays_so_and_spares_the_others(value):
    x = torch.rand(4, 50, generator=RANDOM)
    head = head_of(torch.rand(8, 50, generator=RANDOM), torch.zeros(8))
    layer = prepare_fast(head, "int8", "fc6")
    broken = x.clone()
    broken[1, 7] = value
    got, expected = layer(broken), layer(x)
    assert got[1].isnan().all()
    assert torch.equal(got[[0, 2, 3]], expected[[0, 2, 3]])


def inputs(n, d):
    x = torch.randn(n, d, generator=RANDOM) * torch.rand(n, 1, generator=RANDOM)
    x[::3] = x[::3].relu()
    if n > 4:
        x[4] = 0
        x[2, 3] = torch.nan
        x[1, 0] = torch.inf
    return x


def same(a: ByteRows, b: ByteRows):
    return (
        torch.equal(a.values, b.values)
        and torch.equal(a.zeros, b.zeros)
        and torch.equal(a.steps.nan_to_num(-1.0), b.steps.nan_to_num(-1.0))
    )


@pytest.mark.parametrize("size", [(3, 5), (70, 3000), (0, 8), (5, 1)])
def test_compiled_rounding_equals_the_plain_one(size):
    x = inputs(*size) if size[1] > 3 else torch.randn(size, generator=RANDOM)
    assert same(round_inputs(x), round_inputs_plainly(x))


def test_compiled_scaling_equals_the_plain_one():
    rows = round_inputs(inputs(60, 40))
    weight = torch.randn(90, 40, generator=RANDOM)
    bias = torch.randn(90, generator=RANDOM)
    (weights,) = round_weights(weight, bias, limit=127, relu=False)
    sums = torch.randint(-(2**20), 2**20, (60, 90), generator=RANDOM).float()
    expected = scale_sums_plainly(sums, rows, weights).nan_to_num(-1e9)
    assert torch.equal(scale_sums(sums.clone(), rows, weights).nan_to_num(-1e9), expected)


def test_without_numba_the_plain_arithmetic_takes_its_place(monkeypatch):
    x, weight = inputs(12, 30), torch.randn(8, 30, generator=RANDOM)
    layer = prepare_fast(head_of(weight, torch.zeros(8)), "int8", "fc6")
    expected = layer(x)
    monkeypatch.setattr(int8_fc, "NUMBA_AVAILABLE", False)
    monkeypatch.setattr(int8_fc, "round_rows", None)
    monkeypatch.setattr(int8_fc, "scale_rows", None)
    assert torch.equal(layer(x).nan_to_num(-1.0), expected.nan_to_num(-1.0))


def test_weights_are_within_half_a_step_of_their_output():
    weight = torch.randn(6, 50, generator=RANDOM) * torch.tensor([1e-3, 1, 10, 1, 1, 0])[:, None]
    (rounded,) = round_weights(weight, None, limit=127, relu=True)
    back = rounded.scale[:, None] * rounded.values
    assert ((back - weight).abs().amax(dim=1) <= rounded.scale * 0.501).all()
    assert torch.equal(rounded.sums, rounded.values.sum(dim=1).float())
    assert rounded.bias.tolist() == [0.0] * 6


def test_a_map_of_large_numbers_takes_no_steps_from_another():
    x = torch.rand(10, 100, generator=RANDOM)
    x[:, 60:] *= 1000
    weight = torch.randn(64, 100, generator=RANDOM)
    weight[:, 60:] *= 0.001
    head = head_of(weight, torch.zeros(64))
    expected = head(x, "fc6").detach()

    def off(groups):
        got = prepare_fast(head, "int8", "fc6", groups=groups)(x)
        return float((got - expected).norm() / expected.norm())

    assert off((60, 40)) < 0.01
    assert off(()) > 0.1


def test_groups_are_those_of_the_columns():
    with pytest.raises(ValueError, match=r"expected 5 columns, got \[2, 2\]"):
        round_weights(torch.ones(3, 5), None, limit=127, relu=True, groups=(2, 2))


def test_both_layers_are_rounded_and_groups_are_those_of_the_first():
    head = FcHead(30, size=16, std=0.2, generator=RANDOM).eval()
    x = torch.rand(9, 30, generator=RANDOM)
    fast = prepare_fast(head, "int8", groups=(20, 10))
    fc6 = in_whole_numbers(x, head.fc6.weight.detach(), head.fc6.bias.detach(), limit(), (20, 10))
    fc7 = in_whole_numbers(fc6, head.fc7.weight.detach(), head.fc7.bias.detach(), limit())
    assert torch.equal(fast(x), fc7)
