import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import conv2d

from detection.features import depthwise as module
from detection.features.depthwise import DepthwiseConv2d, with_fast_depthwise
from tests.devices.test_fake_gpu import python

needs_numba = pytest.mark.skipif(not module.NUMBA_AVAILABLE, reason="numba is not installed")


def pair(channels=3, side=3, dilation=1, padding=1, bias=True):
    """A plain convolution and its fast form, which has tensors of its own."""
    torch.manual_seed(0)
    options = {"padding": padding, "dilation": dilation, "groups": channels, "bias": bias}
    plain = nn.Conv2d(channels, channels, side, **options)
    return plain, with_fast_depthwise(copy.deepcopy(plain))


def random(*shape, dtype=torch.float32, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def gradients(conv, x, use=lambda conv, x: conv(x)):
    """The result, and the gradients of a sum of it with weights."""
    x = x.clone().requires_grad_()
    result = use(conv, x)
    weights = random(*result.shape, seed=2).to(result.dtype)
    given = [x, *conv.parameters()]
    return result, torch.autograd.grad((result * weights).sum(), given)


@pytest.fixture
def loops(monkeypatch):
    """The calls of the compiled loop."""
    noted, run = [], module.weight_gradient
    monkeypatch.setattr(module, "weight_gradient", lambda *a: noted.append(len(a)) or run(*a))
    return noted


@needs_numba
@settings(max_examples=40)
@given(
    images=st.integers(0, 3),
    size=st.tuples(st.integers(9, 15), st.integers(9, 15)),
    channels=st.sampled_from([2, 5, 64, 67]),
    side=st.sampled_from([1, 3, 5]),
    dilation=st.integers(1, 2),
    less=st.integers(0, 1),
    bias=st.booleans(),
    last=st.booleans(),
)
def test_the_gradients_are_those_of_torch(images, size, channels, side, dilation, less, bias, last):
    padding = max(0, dilation * (side - 1) // 2 - less)
    plain, fast = pair(channels, side, dilation, padding, bias)
    layout = torch.channels_last if last else torch.contiguous_format
    x = random(images, channels, *size).contiguous(memory_format=layout)
    expected, exact = gradients(plain.double(), x.double())
    result, actual = gradients(fast, x)
    assert torch.allclose(result, expected.float(), atol=1e-5)
    for ours, theirs in zip(actual, exact, strict=True):
        assert ours.dtype == torch.float32
        assert torch.allclose(ours, theirs.float(), atol=1e-4, rtol=1e-5)


@needs_numba
def test_the_padding_may_be_as_wide_as_the_kernel_reaches():
    plain, fast = pair(side=3, dilation=2, padding=4)
    x = random(1, 3, 2, 5)
    for ours, theirs in zip(gradients(fast, x)[1], gradients(plain, x)[1], strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
    assert type(with_fast_depthwise(pair(padding=3)[0])) is nn.Conv2d  # wider


@needs_numba
def test_a_convolution_used_twice_has_the_sum_of_both_gradients(loops):
    plain, fast = pair()
    x = random(2, 3, 7, 6)

    def twice(conv, x):
        return conv(conv(x).relu())

    for ours, theirs in zip(
        gradients(fast, x, twice)[1], gradients(plain, x, twice)[1], strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-4)
    assert len(loops) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_results_are_those_of_torch_bit_for_bit(dtype):
    plain, fast = pair(side=5, dilation=2, padding=4)
    plain, fast, x = plain.to(dtype), fast.to(dtype), random(2, 3, 9, 8, dtype=dtype)
    expected = plain(x)
    assert torch.equal(fast(x), expected)
    with torch.no_grad():
        assert torch.equal(fast(x), expected)
    for parameter in fast.parameters():
        parameter.requires_grad_(False)
    assert torch.equal(fast(x), expected)


@needs_numba
def test_autocast_computes_in_bfloat16_and_sums_in_float32(loops):
    """The gradient of the weights is exact for the rounded values, not rounded once more."""
    plain, fast = pair(channels=2)
    x = random(3, 2, 8, 7)

    def cast(conv, x):
        with torch.autocast("cpu", torch.bfloat16):
            return conv(x)

    expected, theirs = gradients(plain, x, cast)
    result, ours = gradients(fast, x, cast)
    assert result.dtype == expected.dtype == torch.bfloat16
    assert torch.equal(result, expected)
    assert [t.dtype for t in ours] == [t.dtype for t in theirs] == [torch.float32] * 3
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=0.05, rtol=0.02)

    rounded = x.bfloat16().double()
    weights = random(*result.shape, seed=2).bfloat16().double()
    exact = plain.weight.detach().bfloat16().double().requires_grad_()
    (conv2d(rounded, exact, None, padding=1, groups=2) * weights).sum().backward()
    assert torch.allclose(ours[1], exact.grad.float(), atol=1e-4)
    assert len(loops) == 1


@needs_numba
def test_bfloat16_with_channels_last_and_a_dilation_has_the_gradient_of_its_values():
    """oneDNN's own was wrong here, by more than its largest value."""
    plain, fast = pair(channels=64, side=5, dilation=2, padding=4, bias=False)
    plain, fast = plain.to(torch.bfloat16).double(), fast.to(torch.bfloat16)
    x = random(2, 64, 12, 11, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    rounded = random(2, 64, 12, 11, seed=2).bfloat16()
    ours = torch.autograd.grad(fast(x), fast.weight, rounded)[0]
    exact = torch.autograd.grad(plain(x.double()), plain.weight, rounded.double())[0]
    assert torch.allclose(ours.double(), exact, atol=1e-4, rtol=2**-8)


@needs_numba
def test_a_backward_inside_autocast_keeps_the_dtype_of_the_convolution():
    plain, fast = pair()
    x = random(1, 3, 5, 5).requires_grad_()
    y = random(1, 3, 5, 5).requires_grad_()
    result, expected = fast(x).sum(), plain(y).sum()
    with torch.autocast("cpu", torch.bfloat16):
        result.backward()
    expected.backward()
    assert torch.allclose(x.grad, y.grad, atol=1e-6)


@needs_numba
def test_only_gradients_that_are_wanted_are_computed(loops):
    _, fast = pair()
    fast.weight.requires_grad_(False)
    x = random(1, 3, 5, 5).requires_grad_()
    fast(x).sum().backward()
    assert loops == []
    assert fast.weight.grad is None
    assert x.grad is not None
    fast.weight.requires_grad_(True)
    fast(x.detach()).sum().backward()
    assert len(loops) == 1


@needs_numba
def test_the_gradient_does_not_depend_on_the_number_of_threads(monkeypatch):
    x, gradient = random(3, 70, 9, 9), random(3, 70, 9, 9, seed=2)
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(module.weight_gradient(x, gradient, 3, 1, 1))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_what_the_loop_cannot_read_is_left_to_torch(loops, monkeypatch):
    plain, fast = pair()
    image = random(3, 5, 5)
    assert torch.equal(fast(image), plain(image))  # without a batch
    fast(image).sum().backward()
    double = random(1, 3, 5, 5).double()
    copy.deepcopy(fast).double()(double).sum().backward()
    monkeypatch.setattr(module, "NUMBA_AVAILABLE", False)
    fast(random(1, 3, 5, 5)).sum().backward()
    assert loops == []


ON_A_GPU = """
import torch
from detection.features import depthwise
from tests.devices.fake_gpu import NAME, install
install()
plain = torch.nn.Conv2d(4, 4, 3, padding=1, groups=4)
x = torch.randn(2, 4, 6, 5)
def refuse(*_):
    raise RuntimeError("the loop cannot read this device")
depthwise._Convolution.apply = refuse
found = []
for device in (NAME, "cpu"):
    conv = plain.to(device)
    conv = conv if device == "cpu" else depthwise.with_fast_depthwise(conv)
    conv.weight.grad = None
    conv(x.to(device)).square().sum().backward()
    found.append(conv.weight.grad.cpu())
assert type(conv) is torch.nn.Conv2d
assert torch.allclose(*found, atol=1e-4)
"""


def test_a_gpu_convolves_by_itself():
    ran = python("-c", ON_A_GPU)
    assert ran.returncode == 0, ran.stderr


def network():
    torch.manual_seed(0)
    shared = nn.Conv2d(4, 4, 3, padding=1, groups=4)
    return nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.Sequential(shared, nn.BatchNorm2d(4), nn.ReLU()),
        shared,
        nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
    )


def test_a_network_keeps_its_names_and_its_tensors():
    plain = network()
    names = list(plain.state_dict())
    fast = with_fast_depthwise(plain)
    assert list(fast.state_dict()) == names
    assert [id(p) for p in fast.parameters()] == [id(p) for p in plain.parameters()]
    kinds = [type(m) for m in fast.modules() if isinstance(m, nn.Conv2d)]
    assert kinds == [nn.Conv2d, DepthwiseConv2d, DepthwiseConv2d]
    assert fast[1][0] is fast[2]
    assert not any(isinstance(m, DepthwiseConv2d) for m in plain.modules())
    x = random(2, 3, 6, 6)
    assert torch.equal(fast(x), plain(x))
    assert fast[1][1].running_mean is plain[1][1].running_mean
    fast.eval()
    assert plain[1][1].training
    fast.load_state_dict(network().state_dict())
    assert torch.equal(plain[2].weight, network()[2].weight)


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2},
        {"groups": 1},
        {"groups": 2},
        {"out_channels": 8},
        {"kernel_size": (3, 5)},
        {"dilation": (1, 2)},
        {"padding": (0, 1)},
        {"padding": "same"},
        {"padding": 3},
        {"padding_mode": "reflect"},
    ],
)
def test_other_convolutions_stay_as_they_are(options):
    base = {"in_channels": 4, "out_channels": 4, "kernel_size": 3, "groups": 4}
    assert type(with_fast_depthwise(nn.Conv2d(**base))) is DepthwiseConv2d
    assert type(with_fast_depthwise(nn.Conv2d(**base | options))) is nn.Conv2d


def test_a_convolution_of_another_kind_keeps_its_meaning():
    class Doubled(nn.Conv2d):
        def forward(self, input):  # noqa: A002
            return 2 * super().forward(input)

    assert type(with_fast_depthwise(Doubled(2, 2, 3, groups=2))) is Doubled
