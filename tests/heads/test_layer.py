from dataclasses import replace

import pytest
import torch

from detection.config import FeatureConfig
from detection.heads.fast_fc import prepare_fast
from detection.heads.fc import FcHead
from detection.heads.layer import FcLayer, fc_kind


def make_layer(layer="fc7"):
    head = FcHead(96, size=64, bias=0.1, generator=torch.Generator().manual_seed(0))
    return FcLayer(head=head, layer=layer)


@pytest.mark.parametrize(
    ("form", "dtype", "kind"),
    [
        ("auto", torch.float32, "fp32"),
        ("auto", torch.bfloat16, "bf16"),
        ("int8", torch.float32, "int8"),
        ("svd", torch.bfloat16, "svd"),
    ],
)
def test_form_of_the_fc_layers_follows_the_conv_layers_unless_named(form, dtype, kind):
    assert fc_kind(FeatureConfig(fc=form), dtype) == kind


@pytest.mark.parametrize("layer", ["fc6", "fc7"])
@pytest.mark.parametrize(("kind", "tolerance"), [("fp32", 1e-5), ("bf16", 2e-2)])
def test_prepared_layer_gives_what_its_head_gives(layer, kind, tolerance):
    plain = make_layer(layer)
    x = torch.randn(7, 96, generator=torch.Generator().manual_seed(1))
    expected, got = plain(x), plain.prepared(kind)(x)
    assert got.dtype == torch.float32
    assert float((got - expected).abs().max() / expected.abs().max()) < tolerance


def test_prepared_layer_keeps_the_head_for_the_model_file():
    plain = make_layer()
    assert plain.prepared("bf16").head is plain.head


def test_stored_tensors_become_the_same_layer():
    plain = make_layer("fc6")
    x = torch.randn(3, 96, generator=torch.Generator().manual_seed(2))
    assert torch.equal(FcLayer.from_tensors(plain.head.state_dict(), "fc6")(x), plain(x))


def test_prepared_layer_keeps_its_groups_on_another_device():
    layer = replace(make_layer("fc6"), groups=(90, 6))
    x = torch.rand(5, 96, generator=torch.Generator().manual_seed(3))
    expected = prepare_fast(layer.head, "int8", "fc6", groups=(90, 6))(x)
    assert torch.equal(layer.to(torch.device("cpu"), "int8")(x), expected)
    assert not torch.equal(prepare_fast(layer.head, "int8", "fc6")(x), expected)
