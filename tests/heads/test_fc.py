import pytest
import torch
from torch import nn

from detection.errors import CheckpointError
from detection.heads import fast_fc
from detection.heads.fast_fc import prepare_fast, quantise, truncate
from detection.heads.fc import FcHead

TOLERANCE = {"fp32": 1e-5, "bf16": 0.02, "int8": 0.05}
"""Largest difference, as a fraction of the largest output."""


def make_head(feature_dim=96, size=64, seed=0, std=0.1):
    generator = torch.Generator().manual_seed(seed)
    return FcHead(feature_dim, size=size, std=std, bias=0.1, generator=generator).eval()


def rows(n, d, seed=1):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).relu()


def test_head_is_two_linear_layers_each_with_relu():
    head, x = make_head(), rows(5, 96)
    fc6 = (x @ head.fc6.weight.T + head.fc6.bias).clamp(min=0)
    fc7 = (fc6 @ head.fc7.weight.T + head.fc7.bias).clamp(min=0)
    assert torch.allclose(head(x, "fc6"), fc6, atol=1e-6)
    assert torch.allclose(head(x, "fc7"), fc7, atol=1e-6)
    assert torch.equal(head(x), head(x, "fc7"))


def test_initial_weights_are_those_of_the_release():
    head = FcHead(200, size=400, generator=torch.Generator().manual_seed(0))
    for layer in (head.fc6, head.fc7):
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.02)
        assert layer.weight.mean().item() == pytest.approx(0.0, abs=1e-4)
        assert torch.equal(layer.bias, torch.ones(400))


def test_same_seed_gives_the_same_weights():
    assert torch.equal(make_head(seed=3).fc6.weight, make_head(seed=3).fc6.weight)
    assert not torch.equal(make_head(seed=3).fc6.weight, make_head(seed=4).fc6.weight)


def test_dropout_acts_while_training_only():
    head, x = make_head(), rows(50, 96)
    assert torch.equal(head(x), head(x))
    whole = head(x, "fc6")
    dropped = head.train()(x, "fc6")[whole > 0]
    assert (dropped == 0).float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert torch.allclose(dropped[dropped > 0], 2 * whole[whole > 0][dropped > 0])


def test_layers_of_a_network_are_taken_over():
    module = nn.Sequential(
        nn.Dropout(), nn.Linear(96, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 64), nn.ReLU()
    )
    x = rows(4, 96)
    assert torch.allclose(FcHead.from_module(module).eval()(x), module.eval()(x), atol=1e-6)


@pytest.mark.parametrize("sizes", [[(96, 64)], [(96, 64), (32, 64)], [(96, 64), (64, 10)]])
def test_network_without_fc6_and_fc7_is_refused(sizes):
    module = nn.Sequential(*(nn.Linear(a, b) for a, b in sizes))
    with pytest.raises(CheckpointError, match=r"expected fc6 .* and fc7"):
        FcHead.from_module(module)


@pytest.mark.parametrize("layer", ["fc6", "fc7"])
@pytest.mark.parametrize("kind", ["fp32", "bf16", "int8"])
def test_fast_form_is_the_head_within_its_precision(kind, layer):
    head, x = make_head(), rows(50, 96)
    expected, got = head(x, layer), prepare_fast(head, kind, layer)(x)
    assert got.dtype == torch.float32
    assert (got - expected).abs().max() <= TOLERANCE[kind] * expected.abs().max()


@pytest.mark.parametrize("size", [(3, 5), (70, 3000), (0, 8)])
@pytest.mark.parametrize("shift", [0.0, -0.7])
def test_compiled_rounding_equals_the_plain_one(size, shift):
    x = rows(*size) + shift
    quantised, step, zero = quantise(x)
    assert torch.equal(quantised, fast_fc.quantise_plain(x, 1 / step, zero + 0.5))


def test_without_numba_the_plain_rounding_takes_its_place(monkeypatch):
    x = rows(20, 30)
    expected, step, zero = quantise(x)
    monkeypatch.setattr(fast_fc, "NUMBA_AVAILABLE", False)
    monkeypatch.setattr(fast_fc, "round_to_bytes", None)
    got = quantise(x)
    assert torch.equal(got[0], expected)
    assert got[1:] == (step, zero)


def test_int8_takes_negative_inputs():
    head, x = make_head(), rows(50, 96) - 0.5
    expected, got = head(x, "fc6"), prepare_fast(head, "int8", "fc6")(x)
    assert (got - expected).abs().max() <= TOLERANCE["int8"] * expected.abs().max()


def test_int8_sums_of_the_largest_numbers_do_not_overflow():
    """Processors without VNNI add pairs of 8-bit products in 16 bits, which are then cut."""
    head, x = make_head(), torch.ones(50, 96)
    with torch.no_grad():
        head.fc6.weight.fill_(1.0)
    expected, got = head(x, "fc6"), prepare_fast(head, "int8", "fc6")(x)
    assert (got - expected).abs().max() <= 0.01 * expected.abs().max()


def test_int8_gives_bfloat16_only_where_a_processor_has_it():
    """Elsewhere the 8-bit product that writes it is a loop, a hundred times slower."""
    step = prepare_fast(make_head(), "int8", "fc6").steps[0]
    unit = torch.bfloat16 if fast_fc._has_bf16() else torch.float32
    assert step(rows(3, 96)).dtype == unit


@pytest.mark.parametrize("shift", [0.0, -1.0, -100.0, 3.0])
def test_quantised_numbers_are_within_half_a_step(shift):
    x = rows(20, 30) + shift
    q, step, zero = quantise(x)
    assert (step * (q.float() - zero) - x).abs().max() <= step * 0.51
    assert step * (q.float() - zero)[x == 0].abs().sum() == 0


def test_svd_of_full_rank_is_the_head():
    head, x = make_head(), rows(50, 96)
    first, second = truncate(head.fc6.weight.detach(), 64)
    assert torch.allclose(second @ first, head.fc6.weight, atol=1e-5)
    expected = head(x)
    got = prepare_fast(head, "svd", ranks=(64, 64))(x)
    assert (got - expected).abs().max() <= 0.02 * expected.abs().max()


@pytest.mark.parametrize("rank", [1, 5, 20])
def test_truncation_is_the_best_of_its_rank(rank):
    """The error is the rest of the singular values (Eckart and Young)."""
    weight = make_head().fc6.weight.detach()
    first, second = truncate(weight, rank)
    assert first.shape == (rank, 96)
    assert second.shape == (64, rank)
    expected = torch.linalg.svdvals(weight)[rank:].square().sum().sqrt()
    assert torch.linalg.norm(weight - second @ first).item() == pytest.approx(
        expected.item(), rel=1e-3
    )


@pytest.mark.parametrize(("kind", "tolerance"), [("svd", 0.02), ("svd_int8", 0.06)])
def test_weights_of_low_rank_survive_the_truncation(kind, tolerance):
    head, x = make_head(), rows(20, 96)
    with torch.no_grad():
        for layer, rank in ((head.fc6, 8), (head.fc7, 4)):
            first, second = truncate(layer.weight, rank)
            layer.weight.copy_(second @ first)
    expected, got = head(x), prepare_fast(head, kind, ranks=(8, 4))(x)
    assert (got - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("kind", ["fp32", "bf16", "int8", "svd", "svd_int8"])
class TestEveryKind:
    def test_no_rows_give_no_rows(self, kind):
        assert prepare_fast(make_head(), kind)(torch.zeros(0, 96)).shape == (0, 64)

    def test_zeros_are_no_obstacle(self, kind):
        head = make_head()
        got = prepare_fast(head, kind, "fc6")(torch.zeros(3, 96))
        assert torch.allclose(got, head(torch.zeros(3, 96), "fc6"), atol=1e-3)

    def test_later_training_of_the_head_is_not_seen(self, kind):
        head, x = make_head(), rows(5, 96)
        fast = prepare_fast(head, kind)
        before = fast(x)
        with torch.no_grad():
            head.fc6.weight.zero_()
        assert torch.equal(fast(x), before)

    def test_machine_without_the_kernels_gets_the_same(self, kind, monkeypatch):
        head, x = make_head(), rows(50, 96)
        here = prepare_fast(head, kind)(x)
        monkeypatch.setattr(fast_fc, "_has_onednn", lambda: False)
        monkeypatch.setattr(fast_fc, "_has_bf16", lambda: False)
        there = prepare_fast(head, kind)(x)
        assert (here - there).abs().max() <= 0.05 * there.abs().max()
