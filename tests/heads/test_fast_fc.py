import gc
import weakref

import pytest
import torch

from detection.heads import fast_fc
from detection.heads.fast_fc import prepare_fast, truncate
from detection.heads.fc import FcHead

TOLERANCE = {"fp32": 1e-5, "bf16": 0.02, "int8": 0.05}


def make_head(feature_dim=96, size=64, seed=0, std=0.1):
    generator = torch.Generator().manual_seed(seed)
    return FcHead(feature_dim, size=size, std=std, bias=0.1, generator=generator).eval()


def rows(n, d, seed=1):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).relu()


@pytest.mark.parametrize("layer", ["fc6", "fc7"])
@pytest.mark.parametrize("kind", ["fp32", "bf16", "int8"])
def test_fast_form_is_the_head_within_its_precision(kind, layer):
    head, x = make_head(), rows(50, 96)
    expected, got = head(x, layer), prepare_fast(head, kind, layer)(x)
    assert got.dtype == torch.float32
    assert (got - expected).abs().max() <= TOLERANCE[kind] * expected.abs().max()


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_in_the_order_of_the_kernel_change_no_bit(dtype):
    if not torch.backends.mkldnn.is_available():
        pytest.skip("no oneDNN")
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("no bfloat16 in oneDNN here")
    weight, x = make_head(640, 256).fc6.weight.detach().to(dtype), rows(77, 640).to(dtype)
    own, plain = (
        torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")
        for packed in (fast_fc._rearranged(weight), weight.to_mkldnn())
    )
    assert own.equal(plain)


def test_a_packed_layer_keeps_its_weights_once(monkeypatch):
    """The weights of ZF-5's fc6 take 210 MB."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("no oneDNN")
    copies = []

    def noted(tensor):
        copy = tensor.detach().clone()
        copies.append(weakref.ref(copy))
        return copy

    monkeypatch.setattr(fast_fc, "_frozen", noted)
    prepared = prepare_fast(make_head(), "fp32", "fc6")
    gc.collect()
    assert [None if ref() is None else tuple(ref().shape) for ref in copies] == [None, (64,)]
    assert prepared(rows(3, 96)).shape == (3, 64)
