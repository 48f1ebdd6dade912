from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detection.backbones.weights import load_backbone
from detection.classification.classifier import (
    PyramidPool,
    build_classifier,
    conv_layers,
    open_trunk,
    set_training,
)
from detection.classification.model_io import save_classifier
from detection.config import BackboneConfig, Config, FeatureConfig
from detection.errors import ConfigError
from detection.features.factory import make_extractor
from detection.features.pyramid import pyramid_pool
from detection.pretrain_config import PretrainConfig
from tests.classification.tiny_classifier import picture, tiny_config, trained

pytestmark = pytest.mark.usefixtures("tiny_network")


@given(
    st.integers(1, 14),
    st.integers(1, 14),
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
)
def test_the_head_pools_as_the_detector_does_on_the_whole_map(height, width, levels):
    maps = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(7))
    window = torch.tensor([[0, 0, width, height]])
    expected = torch.cat([pyramid_pool(one, window, levels) for one in maps])
    assert torch.equal(PyramidPool(levels)(maps), expected)


@pytest.mark.parametrize(("levels", "bins"), [((1, 2, 3, 6), 50), ((4, 3, 2, 1), 30)])
def test_the_papers_pyramids_have_50_and_30_bins(levels, bins):
    assert PyramidPool(levels)(torch.zeros(1, 256, 13, 13)).shape == (1, 256 * bins)


def test_one_classifier_takes_pictures_of_any_size(tmp_path):
    model = build_classifier(tiny_config(tmp_path), 3).eval()
    shapes = {tuple(model(picture(h, w)[None].float()).shape) for h, w in ((32, 32), (48, 90))}
    assert shapes == {(1, 3)}


def test_without_a_pyramid_the_networks_own_pool_makes_the_vector(tmp_path):
    # 96 / 16 = 6 cells a side, pooled 2 x 2: 3 x 3 bins of 12 channels.
    model = build_classifier(tiny_config(tmp_path, head="no_spp", sizes=(96,), short_side=96), 3)
    assert model.fc.fc6.in_features == 12 * 3 * 3
    assert model(picture(96, 96)[None].float()).shape == (1, 3)


def test_an_input_too_small_for_the_last_pool_is_refused(tmp_path):
    config = tiny_config(tmp_path, head="no_spp", sizes=(16,))
    with pytest.raises(ConfigError, match="large enough for the last pool of tiny, got 16"):
        build_classifier(config, 3)


def test_an_input_too_small_for_the_trunk_is_refused():
    config = Config(backbone=BackboneConfig(name="alexnet"), pretrain=PretrainConfig(sizes=(32,)))
    with pytest.raises(ConfigError, match=r"pretrain\.sizes: expected at least 64 for alexnet"):
        build_classifier(config, 3)


def test_the_papers_initial_weights_of_zf5():
    config = Config(pretrain=PretrainConfig(fc_size=64, levels=(1, 2)))
    model = build_classifier(config, 10)
    conv1, conv2 = conv_layers(model.trunk)[:2]
    for weight in (conv1.weight, conv2.weight, model.fc.fc6.weight, model.fc8.weight):
        assert float(weight.detach().std()) == pytest.approx(0.01, rel=0.1)
    assert conv1.bias.unique().tolist() == [0]
    assert conv2.bias.unique().tolist() == [1]
    assert model.fc.fc6.bias.unique().tolist() == [1]


def test_initial_weights_that_keep_the_variance(tmp_path):
    model = build_classifier(tiny_config(tmp_path, fc_size=400), 3)
    conv2, fc7 = conv_layers(model.trunk)[1], model.fc.fc7
    assert float(conv2.weight.detach().std()) == pytest.approx((2 / (8 * 16)) ** 0.5, rel=0.1)
    assert float(fc7.weight.detach().std()) == pytest.approx((2 / 400) ** 0.5, rel=0.1)
    assert fc7.bias.unique().tolist() == [0]


def test_the_seed_decides_the_initial_weights(tmp_path):
    one, same, other = (
        build_classifier(tiny_config(tmp_path, seed=seed), 3).state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["trunk.0.weight"], other["trunk.0.weight"])
    assert not torch.equal(one["fc.fc6.weight"], other["fc.fc6.weight"])


def test_only_the_last_conv_layers_are_trained_when_asked(tmp_path):
    model = build_classifier(tiny_config(tmp_path), 3)
    assert all(p.requires_grad for p in model.parameters())
    open_trunk(model.trunk, 1)
    assert [layer.weight.requires_grad for layer in conv_layers(model.trunk)] == [False, True]
    open_trunk(model.trunk, 0)
    assert not any(p.requires_grad for p in model.trunk.parameters())
    with pytest.raises(ConfigError, match="at most the network's 2 conv layers, got 3"):
        open_trunk(model.trunk, 3)


def test_frozen_layers_take_part_without_dropout_or_statistics(tmp_path):
    model = build_classifier(tiny_config(tmp_path), 3)
    set_training(model)
    assert model.trunk.training
    open_trunk(model.trunk, 1)
    set_training(model)
    assert not model.trunk.training
    assert model.fc.training


def test_frozen_layers_need_weights(tmp_path):
    with pytest.raises(ConfigError, match=r"open_layers: expected -1 for a network without"):
        build_classifier(tiny_config(tmp_path, open_layers=0), 3)


def test_fc6_of_a_classifier_without_a_pyramid_fits_rcnn(tmp_path):
    path = tmp_path / "model.safetensors"
    save_classifier(path, trained(tmp_path, head="no_spp", sizes=(64,), short_side=64))
    backbone = load_backbone(BackboneConfig(name="tiny", weights=str(path)))
    assert make_extractor(backbone, FeatureConfig(method="rcnn")).pretrained_fc() is not None
    assert make_extractor(backbone, FeatureConfig()).pretrained_fc() is None


def test_a_classifier_starts_from_the_fc_layers_that_come_with_the_weights(tmp_path):
    path = tmp_path / "model.safetensors"
    one = trained(tmp_path)
    save_classifier(path, one)
    config = tiny_config(tmp_path, open_layers=0, seed=9)
    config = replace(config, backbone=BackboneConfig(name="tiny", weights=str(path)))
    model = build_classifier(config, 7)
    assert torch.equal(model.fc.fc7.weight, one.model.fc.fc7.weight)
    assert model.fc.fc7.weight.requires_grad
    assert model.fc8.out_features == 7
