import logging
from dataclasses import replace

import pytest
import torch

from detection.backbones.weights import BACKBONES, load_backbone
from detection.config import BackboneConfig, Config
from detection.data.images import read_image
from detection.errors import ConfigError
from detection.features.factory import make_extractor
from detection.heads.fc import FcHead
from detection.heads.resampling import resample_grid
from detection.heads.scorer import SoftmaxScorer, SvmScorer
from detection.model_io import load_detector, save_detector
from detection.runs.folder import RunFolder
from detection.training.distributed import ALONE
from detection.training.finetune_model import initial_fc
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


def start_of_fc(caplog, fc, resample=False, levels=(1, 2)):
    config = tiny.config("sppnet", resample_fc=resample, fc_size=8)
    features = replace(config.features, levels=levels)
    extractor = make_extractor(load_backbone(BackboneConfig(name="tiny")), features)
    extractor.backbone.fc = fc
    with caplog.at_level(logging.INFO):
        head = initial_fc(extractor, config.finetune, torch.Generator().manual_seed(0))
    return (
        head,
        extractor,
        [
            (r.levelname, r.getMessage())
            for r in caplog.records
            if r.name.endswith("finetune_model")
        ],
    )


def test_fc_layers_that_do_not_fit_start_random_and_loudly(caplog):
    channels = load_backbone(BackboneConfig(name="tiny")).channels
    head, extractor, said = start_of_fc(caplog, FcHead(channels * 9, size=8))
    assert head.start == "random"
    ((level, message),) = said
    assert level == "WARNING"
    assert "fc6 and fc7 start from RANDOM values: those of tiny read" in message
    assert f"pool5 has {extractor.feature_dim}; set features.levels=[3]" in message


def test_fc_layers_of_another_kind_of_map_are_no_grid_to_resample(caplog):
    head, _, said = start_of_fc(caplog, FcHead(13, size=8), resample=True)
    assert head.start == "random"
    assert said[0][0] == "WARNING"
    assert "features.levels" not in said[0][1]


def test_fc_layers_that_fit_start_training(caplog):
    channels = load_backbone(BackboneConfig(name="tiny")).channels
    fc = FcHead(channels * 5, size=8)
    head, _, said = start_of_fc(caplog, fc)
    assert head.start == "weights"
    assert torch.equal(head.fc6.weight, fc.fc6.weight)
    assert said == [("INFO", "fc6 and fc7 start from the weights of tiny")]


def test_fc6_is_resampled_where_asked_for(caplog):
    channels = load_backbone(BackboneConfig(name="tiny")).channels
    fc = FcHead(channels * 9, size=8)
    head, _, said = start_of_fc(caplog, fc, resample=True)
    assert head.start == "resampled"
    assert torch.equal(head.fc6.weight, resample_grid(fc.fc6.weight, channels, (1, 2)))
    assert said == [("INFO", "fc6 starts from the 3 x 3 grid of tiny, resampled to [1, 2]")]


def test_weights_without_fc_layers_are_said(caplog):
    head, _, said = start_of_fc(caplog, None)
    assert head.start == "random"
    message = "the fc layers start from random values: the weights of tiny have none"
    assert said == [("INFO", message)]


def test_what_the_fc_layers_started_from_is_in_the_model_file(tmp_path):
    detector, _ = trained(tmp_path, scores="softmax")
    for start in ("weights", "resampled", "random"):
        detector.fc.head.start = start
        save_detector(tmp_path / "model.safetensors", detector)
        assert load_detector(tmp_path / "model.safetensors").fc.head.start == start
