import pytest
import torch
from torch import nn
from torchvision import models

from detection.features.batch_norm import fold_batch_norm


def random_statistics(layers):
    generator = torch.Generator().manual_seed(1)
    for layer in layers.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                tensor.data.uniform_(0.5, 1.5, generator=generator)
    return layers.eval().requires_grad_(requires_grad=False)


def norms(layers):
    return [m for m in layers.modules() if isinstance(m, nn.BatchNorm2d)]


def resnet():
    network = models.resnet18()
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2")
    return nn.Sequential(*(network.get_submodule(name) for name in names))


def with_dilation_and_groups():
    return nn.Sequential(
        nn.ZeroPad2d((0, 2, 0, 2)),
        nn.Conv2d(3, 8, 3, stride=2, bias=False),
        nn.BatchNorm2d(8, eps=1e-3),
        nn.ReLU6(inplace=True),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8),
        nn.BatchNorm2d(8),
    )


class HeadFirst(nn.Module):
    """Its layers are not named in the order in which they run."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Conv2d(8, 8, 3)
        self.stem = nn.Conv2d(3, 8, 3)

    def forward(self, inputs):
        return self.norm(self.head(self.stem(inputs)))


@pytest.mark.parametrize(
    "make", [resnet, with_dilation_and_groups, lambda: nn.Sequential(HeadFirst())]
)
def test_folded_layers_compute_the_same_without_normalisation(make):
    torch.manual_seed(0)
    layers = random_statistics(make())
    pixels = torch.randn(2, 3, 65, 70)
    folded = fold_batch_norm(layers)
    assert norms(layers)
    assert not norms(folded)
    torch.testing.assert_close(folded(pixels), layers(pixels), rtol=1e-4, atol=1e-4)


def test_layers_without_normalisation_come_back_as_they_are():
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    assert fold_batch_norm(layers) is layers


def test_the_original_keeps_its_weights():
    layers = random_statistics(with_dilation_and_groups())
    before = {name: tensor.clone() for name, tensor in layers.state_dict().items()}
    fold_batch_norm(layers)
    assert all(tensor.equal(before[name]) for name, tensor in layers.state_dict().items())


@pytest.mark.parametrize("make", [resnet, with_dilation_and_groups])
def test_every_layer_keeps_its_mode(make):
    layers = random_statistics(make())
    layers[2].train()
    before = [module.training for module in layers.modules()]
    fold_batch_norm(nn.Sequential(*layers))
    assert [module.training for module in layers.modules()] == before


def test_a_normalisation_that_reads_no_conv_layer_stays():
    layers = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4))
    layers = random_statistics(layers)
    folded = fold_batch_norm(layers)
    assert len(norms(folded)) == 2
    pixels = torch.randn(1, 3, 20, 20)
    assert folded(pixels).equal(layers(pixels))


def test_a_conv_layer_that_two_read_is_not_folded():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.conv(x)
            return self.norm(y) + y

    layers = random_statistics(nn.Sequential(Twice()))
    pixels = torch.randn(1, 3, 20, 20)
    torch.testing.assert_close(fold_batch_norm(layers)(pixels), layers(pixels))
