import copy
from collections import OrderedDict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from detection.features import conv_norm as module
from detection.features.conv_norm import NormalisingConv2d, with_norm_in_conv
from detection.features.depthwise import with_fast_depthwise

needs_numba = pytest.mark.skipif(not module.NUMBA_AVAILABLE, reason="numba is not installed")
ACTIVATIONS = {"ReLU6": nn.ReLU6, "ReLU": nn.ReLU, "none": None}


def layers(kind="pointwise", activation="ReLU6", bias=False, channels=6):
    """A convolution, a normalisation with statistics that matter, and an activation."""
    torch.manual_seed(0)
    if kind == "pointwise":
        conv = nn.Conv2d(channels, channels + 2, 1, bias=bias)
    else:
        options = {"padding": 4, "dilation": 2, "groups": channels, "bias": bias}
        conv = nn.Conv2d(channels, channels, 5, **options)
    norm = nn.BatchNorm2d(conv.out_channels, eps=1e-3)
    for values in (norm.weight.data, norm.running_var):
        values.uniform_(0.3, 3)
    for values in (norm.bias.data, norm.running_mean):
        values.normal_()
    made = OrderedDict(conv=conv, bn=norm)
    if ACTIVATIONS[activation] is not None:
        made["act"] = ACTIVATIONS[activation](inplace=True)
    return nn.Sequential(made).eval()


def fused(plain):
    return with_norm_in_conv(with_fast_depthwise(plain))


def random(*shape, seed=1):
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def gradients(network, x):
    """The result, and the gradients of a sum of it with weights."""
    x = x.clone().requires_grad_()
    result = network(x)
    weights = random(*result.shape, seed=2).to(result.dtype)
    return result, torch.autograd.grad((result * weights).sum(), [x, *network.parameters()])


@pytest.fixture
def operations(monkeypatch):
    """The calls that were made as one operation."""
    noted, run = [], NormalisingConv2d._at_once
    monkeypatch.setattr(NormalisingConv2d, "_at_once", lambda *a: noted.append(1) or run(*a))
    return noted


@needs_numba
@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["pointwise", "depthwise"]),
    activation=st.sampled_from(list(ACTIVATIONS)),
    bias=st.booleans(),
    size=st.tuples(st.integers(0, 2), st.integers(1, 9), st.integers(1, 9)),
    last=st.booleans(),
)
def test_results_and_gradients_are_those_of_three_layers(kind, activation, bias, size, last):
    plain = layers(kind, activation, bias)
    layout = torch.channels_last if last else torch.contiguous_format
    x = random(size[0], 6, *size[1:]).contiguous(memory_format=layout)
    expected, exact = gradients(copy.deepcopy(plain).double(), x.double())
    result, actual = gradients(fused(plain), x)
    assert torch.allclose(result, expected.float(), atol=1e-4)
    for ours, theirs in zip(actual, exact, strict=True):
        assert ours.dtype == torch.float32
        assert torch.allclose(ours, theirs.float(), atol=1e-3, rtol=1e-4)


def test_tensors_are_shared_and_keep_their_names():
    plain = nn.Sequential(OrderedDict(a=layers(), b=layers("depthwise", channels=8)))
    twin = fused(plain)
    assert type(plain.a.conv) is nn.Conv2d
    assert type(twin.a.conv) is NormalisingConv2d
    assert {k: id(v) for k, v in twin.named_parameters()} == {
        k: id(v) for k, v in plain.named_parameters()
    }
    assert list(twin.state_dict()) == list(plain.state_dict())
    twin.load_state_dict({k: torch.zeros_like(v) for k, v in plain.state_dict().items()})
    assert not plain.a.bn.running_mean.any()
    again = copy.deepcopy(twin)
    assert again.a.conv._norm is again.a.bn


@needs_numba
def test_a_frozen_input_or_weight_has_no_gradient(operations):
    twin = fused(layers())
    twin.conv.weight.requires_grad_(requires_grad=False)
    twin(random(1, 6, 4, 4)).sum().backward()
    assert len(operations) == 1
    assert twin.conv.weight.grad is None
    assert twin.bn.weight.grad is not None
    assert twin.bn.bias.grad is not None


@pytest.mark.parametrize("kind", ["pointwise", "depthwise"])
def test_without_gradients_fixed_statistics_or_full_precision_the_layers_run_one_after_another(
    kind, operations
):
    plain, x = layers(kind), random(2, 6, 9, 7)
    twin = fused(plain)
    with torch.no_grad():
        assert torch.equal(twin(x), plain(x))
    assert torch.equal(twin.train()(x), plain.train()(x))
    assert twin(x).requires_grad
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(twin.eval()(x), plain.eval()(x))
    assert operations == []


@pytest.mark.parametrize(
    "conv",
    [nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 1, stride=2), nn.Conv2d(4, 4, 1, groups=2)],
)
def test_other_convolutions_stay_as_they_are(conv):
    twin = fused(nn.Sequential(conv, nn.BatchNorm2d(4), nn.ReLU()))
    assert type(twin[0]) is nn.Conv2d
    assert type(twin[1]) is nn.BatchNorm2d


def test_a_network_that_is_no_plain_sequence_stays_as_it_is():
    class Twice(nn.Sequential):
        def forward(self, x):
            return self[1](self[0](x)) + self[0](x)

    twin = fused(Twice(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)))
    assert type(twin[0]) is nn.Conv2d
