from dataclasses import replace

import pytest
import torch

from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig, FeatureConfig
from detection.features.factory import make_extractor
from detection.features.rcnn import RcnnExtractor
from detection.features.sppnet import SppExtractor
from tests.features.contract import BOXES, picture

SMALL = FeatureConfig(scales=(64,), device="cpu", batch_size=4, layer="pool5")
METHODS = ["sppnet", "rcnn"]


def test_sppnet_has_nothing_to_train_and_rcnn_everything():
    network = load_backbone(BackboneConfig(name="squeezenet"))
    assert not list(SppExtractor(network, SMALL).unfreeze(-1).trainable.parameters())
    rcnn = RcnnExtractor(network, SMALL)
    opened = rcnn.unfreeze(-1)
    own = {id(p) for p in opened.backbone.trunk.parameters()}
    assert {id(p) for p in opened.trainable.parameters()} == own
    assert own.isdisjoint(id(p) for p in network.trunk.parameters())
    assert not any(p.requires_grad for p in network.trunk.parameters())
    assert not list(rcnn.trainable.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_gradients_reach_open_layers_and_no_others(method):
    network = load_backbone(BackboneConfig(name="squeezenet"))
    extractor = make_extractor(network, replace(SMALL, method=method)).unfreeze(1)
    maps = extractor.run_trainable(extractor.run_frozen(picture(60, 90)))
    extractor.pool(maps, BOXES).expand().square().mean().backward()
    inside = {id(parameter) for parameter in extractor.trainable.parameters()}
    assert inside
    for parameter in extractor.backbone.trunk.parameters():
        moved = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert moved == (id(parameter) in inside)


def test_fc_layers_are_given_only_where_they_fit(tmp_path):
    network = load_backbone(BackboneConfig(name="squeezenet"))
    assert RcnnExtractor(network, SMALL).pretrained_fc() is None
    state = load_backbone(BackboneConfig(name="zf5")).state_dict()
    state |= {"fc6.weight": torch.zeros(8, 12800), "fc6.bias": torch.zeros(8)}
    state |= {"fc7.weight": torch.zeros(4, 8), "fc7.bias": torch.zeros(4)}
    torch.save(state, tmp_path / "zf5.pt")
    spp = load_backbone(BackboneConfig(name="zf5", weights=str(tmp_path / "zf5.pt")))
    assert SppExtractor(spp, SMALL).pretrained_fc() is spp.fc
    assert RcnnExtractor(spp, SMALL).pretrained_fc() is None
