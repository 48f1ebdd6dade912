from dataclasses import replace

import pytest
import torch

from detection.backbones.weights import BACKBONES, load_backbone
from detection.config import BackboneConfig, Config
from detection.data.images import read_image
from detection.errors import ConfigError
from detection.features.factory import make_extractor
from detection.heads.scorer import SoftmaxScorer, SvmScorer
from detection.model_io import load_detector, save_detector
from detection.runs.folder import RunFolder
from detection.training.distributed import ALONE
from detection.training.pipeline import train_detector, tuned_network
from tests.training import tiny


@pytest.fixture(autouse=True)
def _tiny_is_a_known_backbone(monkeypatch):
    monkeypatch.setitem(BACKBONES, "tiny", tiny.blueprint)


def trained(tmp_path, method="sppnet", **tune):
    config = tiny.config(method, iterations=2, images_per_batch=2, open_layers=1, **tune)
    config = replace(config, backbone=BackboneConfig(name="tiny"))
    records = tiny.records(tmp_path, 4)
    images = tiny.training_images(config, records)
    extractor = make_extractor(load_backbone(config.backbone), config.features)
    images.source.extractor = extractor
    run = RunFolder(path=tmp_path / "run", config=config)
    network = tuned_network(images, config, run, resume=False, workers=ALONE)
    return train_detector(network, config), records


@pytest.mark.parametrize(
    ("method", "tune", "scorer", "reads"),
    [
        ("sppnet", {"scores": "softmax", "joint_bbox": True}, SoftmaxScorer, "scored"),
        ("rcnn", {"scores": "softmax", "joint_bbox": True}, SoftmaxScorer, "scored"),
        ("sppnet", {"scores": "svm"}, SvmScorer, "pool5"),
        ("sppnet", {"scores": "softmax", "fc_size": 0}, SoftmaxScorer, "pool5"),
        ("sppnet", {"scores": "svm", "joint_bbox": True}, SvmScorer, "scored"),
    ],
)
def test_a_tuned_detector_comes_back_from_its_file(tmp_path, method, tune, scorer, reads):
    detector, records = trained(tmp_path, method, **tune)
    assert isinstance(detector.scorer, scorer)
    assert detector.regressors.reads == reads
    save_detector(tmp_path / "model.safetensors", detector)
    loaded = load_detector(tmp_path / "model.safetensors")
    assert loaded.regressors.reads == reads
    for record in records:
        image = read_image(record.path, record.image_id, max_pixels=10_000)
        expected = detector.detect(image, tiny.proposals(record))
        detections = loaded.detect(image, tiny.proposals(record))
        assert torch.equal(detections.boxes, expected.boxes)
        assert torch.equal(detections.scores, expected.scores)
        assert len(detections.boxes) > 0


@pytest.mark.parametrize("tune", [{"scores": "softmax"}, {"joint_bbox": True}])
def test_a_classifier_on_fc7_cannot_be_read_from_another_layer(tune):
    config = tiny.config(**tune)
    with pytest.raises(ConfigError, match=r"features.layer: expected fc6 or fc7.* got 'pool5'"):
        replace(config, features=replace(config.features, layer="pool5"))


def test_without_fc_layers_everything_reads_pool5():
    config = tiny.config(fc_size=0)
    with pytest.raises(ConfigError, match=r"features.layer: expected pool5 .* got 'fc7'"):
        replace(config, features=replace(config.features, layer="fc7"))
    assert isinstance(replace(config), Config)
