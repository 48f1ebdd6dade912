import pytest
import torch
from torch import nn

from detection.errors import CheckpointError
from detection.heads import fast_fc
from detection.heads.fast_fc import prepare_fast
from detection.heads.fc import FcHead

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


def test_a_resampled_head_keeps_everything_but_the_weights_of_fc6():
    head = make_head(3 * 49)
    other = head.resampled(3, [3, 1])
    assert other.start == "resampled"
    assert other.fc6.in_features == 30
    assert torch.equal(other.fc6.bias, head.fc6.bias)
    assert torch.equal(other.fc7.weight, head.fc7.weight)
