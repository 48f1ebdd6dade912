"""The authors' rules that the experiment puts into the package do what they say."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig, DataConfig, FeatureConfig
from detection.data.synthetic import synthesize
from detection.features.factory import make_extractor
from detection.features.rcnn import RcnnExtractor
from detection.features.sppnet import SppExtractor
from detection.structures import Image
from detection.training import bbox_targets, examples, row_store
from tests.features.contract import BOXES, picture

SCRIPTS = Path(__file__).parents[2] / "scripts/experiments"
PATCHED = (
    (SppExtractor, "resize"),
    (RcnnExtractor, "warp"),
    (bbox_targets, "torch"),
    (row_store, "torch"),
    (examples, "label_rois"),
)
CONFIG = FeatureConfig(scales=(64, 100), device="cpu", layer="pool5")


@pytest.fixture(autouse=True)
def _scripts(monkeypatch):
    """Let the script be imported, and take back afterwards what it changes."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    for owner, name in PATCHED:
        monkeypatch.setattr(owner, name, getattr(owner, name))


@pytest.fixture
def pattern(monkeypatch, tmp_path):
    """A mean image that is 8 brighter than its mean on the right, 8 darker on the left."""
    import departures

    mean = torch.full((1, 3, 256, 256), 8.0)
    mean[..., :128] = -8.0
    save_file({"mean": mean}, tmp_path / "mean.safetensors")
    monkeypatch.setenv(departures.MEAN_FILE, str(tmp_path / "mean.safetensors"))
    departures.mean_image.cache_clear()
    return departures


@pytest.fixture(scope="module")
def backbone():
    return load_backbone(BackboneConfig(name="squeezenet", preprocessing="caffe"))


def test_sppnet_subtracts_the_whole_mean_image_at_every_scale(pattern, backbone):
    extractor, image = make_extractor(backbone, CONFIG), picture(60, 90)
    before = extractor.resize(image)
    pattern.mean_of_each_place()
    for one, other in zip(before, extractor.resize(image), strict=True):
        width = one.shape[2]
        assert torch.allclose((one - other)[..., : width // 2 - 2], torch.tensor(-8.0))
        assert torch.allclose((one - other)[..., width // 2 + 2 :], torch.tensor(8.0))


def test_rcnn_subtracts_the_middle_of_it_inside_the_image_alone(pattern, backbone):
    extractor = make_extractor(backbone, replace(CONFIG, method="rcnn", context=40))
    pixels = torch.full((60, 90, 3), 200, dtype=torch.uint8)
    maps = extractor.encode_image(Image(image_id="a", pixels=pixels))
    before = extractor.warp(maps, BOXES)
    pattern.mean_of_each_place()
    difference = before - extractor.warp(maps, BOXES)
    outside = before == 0
    assert outside.any()
    assert (difference[outside] == 0).all()
    left, right = difference[..., :113], difference[..., 114:]
    inside = before > 50  # no pixel of the border, where the crop fades out
    assert torch.allclose(left[inside[..., :113]], torch.tensor(-8.0))
    assert torch.allclose(right[inside[..., 114:]], torch.tensor(8.0))


def test_the_mean_image_keeps_the_means_of_the_channels(pattern, tmp_path):
    synthesize(tmp_path / "data", train_images=3, test_images=1)
    data = DataConfig(root=str(tmp_path / "data"), train_split="train")
    pattern.write_mean_image(data, tmp_path / "m")
    mean = pattern.load_file(tmp_path / "m")["mean"]
    assert mean.shape == (1, 3, 256, 256)
    assert mean.mean(dim=(2, 3)).abs().max() < 1e-3
    assert mean.abs().max() > 1


def test_another_torch_differs_in_one_type_alone(pattern):
    pattern.full_precision_boxes()
    assert bbox_targets.torch.float16 is torch.float32
    assert row_store.torch.bfloat16 is torch.bfloat16
    assert bbox_targets.torch.cat is torch.cat
