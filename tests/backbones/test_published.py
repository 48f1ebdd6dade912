import hashlib
from pathlib import Path

import pytest
import torch
from torchvision import models

from detection.backbones import weights as module
from detection.backbones.backbone import PREPROCESSINGS
from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig
from detection.errors import CheckpointError, ConfigError

UNPUBLISHED = {"zf5", "convnet5", "overfeat5", "overfeat7", "caffenet"}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder for published weights, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(url, *_, **__):
        message = "<urlopen error no network>"
        raise OSError(message)

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_no_network_is_said_with_file_address_folder_and_remedy(hub):
    with pytest.raises(CheckpointError) as caught:
        load_backbone(BackboneConfig(name="squeezenet", weights="torchvision"))
    message = str(caught.value)
    for part in ("squeezenet1_0-b66bff10.pth", "https://", str(hub), "backbone.weights"):
        assert part in message


def test_a_published_file_with_another_content_is_refused(hub, state):
    torch.save(state, hub / "squeezenet1_0-b66bff10.pth")
    with pytest.raises(CheckpointError, match="expected a SHA-256 that starts with b66bff10"):
        load_backbone(BackboneConfig(name="squeezenet", weights="torchvision"))


def test_a_published_file_is_downloaded_checked_and_loaded(hub, state, monkeypatch):
    class Entry:
        url = "https://example.org/models/net-{}.pth"

    torch.save(state, hub / "source")
    content = (hub / "source").read_bytes()
    Entry.url = Entry.url.format(hashlib.sha256(content).hexdigest()[:8])
    downloads = []

    def fetch(url, target, **_):
        downloads.append(url)
        Path(target).write_bytes(content)

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    monkeypatch.setattr(models, "get_model_weights", lambda _: {"IMAGENET1K_V1": Entry})
    config = BackboneConfig(name="squeezenet", weights="torchvision")
    for _ in range(2):
        backbone = load_backbone(config)
        assert torch.equal(backbone.trunk[0].weight, state["features.0.weight"])
        assert backbone.preprocessing == PREPROCESSINGS["torchvision"]
    assert downloads == [Entry.url]


def test_torchvision_has_no_zf5():
    with pytest.raises(ConfigError, match="torchvision publishes no such network"):
        load_backbone(BackboneConfig(name="zf5", weights="torchvision"))


def test_every_published_backbone_names_weights_that_exist():
    for name, build in module.BACKBONES.items():
        spec = build()
        published = spec.published
        unpublished = spec.package is not None or name in UNPUBLISHED
        assert (published is None) == unpublished
        if published is not None:
            url = models.get_model_weights(published)["IMAGENET1K_V1"].url
            assert len(Path(url).stem.rsplit("-", 1)[1]) == 8
