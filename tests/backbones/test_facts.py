"""The table that is read without torch says what torch, torchvision and the networks say."""

import pytest
import torch

from detection.backbones.caffe.names import CAFFE_NETWORKS
from detection.backbones.caffe.names import LEVELS as CAFFE_LEVELS
from detection.backbones.facts import FACTS, download_path
from detection.backbones.weight_files import published_enum, published_facts, published_path
from detection.backbones.weight_list import LEVELS
from detection.backbones.weights import BACKBONES


def test_it_has_every_backbone_in_the_same_order():
    assert list(FACTS) == list(BACKBONES)
    assert LEVELS == CAFFE_LEVELS


@pytest.mark.parametrize("name", BACKBONES)
def test_it_says_what_the_network_is(name):
    if name.startswith("efficientnet"):
        pytest.importorskip("timm")
    spec, facts, caffe = BACKBONES[name](), FACTS[name], CAFFE_NETWORKS.get(name)
    assert (facts.channels, facts.grid) == (spec.channels, spec.grid)
    assert facts.fc == (caffe is not None or any(ours == "fc.fc6." for _, ours in spec.renames))
    assert facts.caffe == ("" if caffe is None else caffe.source)
    preprocessing = spec.preprocessing
    if preprocessing == "auto":
        preprocessing = "torchvision" if spec.published else caffe.preprocessing
    assert facts.preprocessing == preprocessing


@pytest.mark.parametrize("name", BACKBONES)
def test_it_says_what_torchvision_publishes(name):
    facts = FACTS[name]
    published = None if name.startswith("efficientnet") else BACKBONES[name]().published
    assert bool(facts.published) == bool(published)
    if published:
        assert facts.published == published_enum(published)
        assert (facts.megabytes, facts.top1) == published_facts(published)
        assert download_path(facts.file) == published_path(published)


@pytest.mark.parametrize("name", ["TORCH_HOME", "XDG_CACHE_HOME", None])
def test_downloads_lie_where_torch_keeps_them(name, tmp_path, monkeypatch):
    for variable in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    if name:
        monkeypatch.setenv(name, str(tmp_path))
    assert str(download_path("a.pth")) == f"{torch.hub.get_dir()}/checkpoints/a.pth"
