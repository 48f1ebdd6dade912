import torch

from detection.backbones.weights import initialise, load_backbone
from detection.backbones.zf5 import CONV_BIASES, WithinChannelNorm, initialise_for_pretraining, zf5
from detection.config import BackboneConfig
from tests.reference.zf5 import within_channel_norm


def test_the_norm_is_caffes_within_channel():
    x = 128 * torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(WithinChannelNorm()(x[None])[0], within_channel_norm(x), rtol=1e-5)


def test_the_norm_ignores_other_channels():
    x = torch.ones(1, 2, 4, 4) * 100
    louder = x.clone()
    louder[:, 1] *= 10
    assert torch.equal(WithinChannelNorm()(x)[:, 0], WithinChannelNorm()(louder)[:, 0])


def test_the_norm_has_a_gradient():
    x = (50 * torch.randn(1, 2, 4, 4, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(WithinChannelNorm(), (x,))


def test_pretraining_starts_as_released():
    trunk = zf5().trunk.to_empty(device="cpu")
    initialise_for_pretraining(trunk, torch.Generator().manual_seed(0))
    for name, bias in CONV_BIASES.items():
        layer = trunk.get_submodule(name)
        assert torch.equal(layer.bias, torch.full_like(layer.bias, bias))
        assert abs(layer.weight.std().item() - 0.01) < 2e-4
        assert abs(layer.weight.mean().item()) < 3e-4


def test_random_weights_for_use_keep_the_variance_of_the_image():
    """With the released initialisation two different images would give the same map."""
    images = 60 * torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))

    def contrast(trunk):
        with torch.no_grad():
            conv5 = trunk(images)
        return ((conv5[0] - conv5[1]).std() / conv5.abs().mean()).item()

    trunk = zf5().trunk.to_empty(device="cpu")
    initialise(trunk, torch.Generator().manual_seed(0))
    ours = contrast(trunk)
    initialise_for_pretraining(trunk, torch.Generator().manual_seed(0))
    assert contrast(trunk) < ours / 3


def test_zf5_takes_bgr_minus_128():
    preprocessing = load_backbone(BackboneConfig(name="zf5")).preprocessing
    red = torch.tensor([255.0, 0, 10]).view(1, 3, 1, 1)
    assert preprocessing.apply(red).flatten().tolist() == [-118, -128, 127]
