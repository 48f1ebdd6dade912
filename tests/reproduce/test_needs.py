"""What a training lacks is said in one line each, with the place where it goes."""

from dataclasses import replace

import pytest

from detection.config import BackboneConfig, Config, DataConfig, FeatureConfig, FineTuneConfig
from detection.pretrain_config import ClassifyConfig, PretrainConfig
from detection.reproduce import needs
from detection.reproduce.needs import impossible, missing
from detection.reproduce.table import Training

TRAINING = Training(name="t", preset="p")


@pytest.fixture
def config(tmp_path):
    return Config(data=DataConfig(root=str(tmp_path)))


def with_weights(config, name, weights):
    return replace(config, backbone=BackboneConfig(name=name, weights=weights))


def test_nothing_is_missing_where_all_is_there(config, tmp_path):
    assert missing(TRAINING, config) == ()
    file = tmp_path / "zf5.safetensors"
    file.write_bytes(b"")
    assert missing(TRAINING, with_weights(config, "zf5", str(file))) == ()


def test_each_root_that_is_missing_is_named(config, tmp_path):
    roots = (str(tmp_path), str(tmp_path / "a"), str(tmp_path / "b"))
    lines = missing(TRAINING, replace(config, data=DataConfig(root=roots, year=2012)))
    assert [line.split(":")[0] for line in lines] == list(roots[1:])
    assert all("detection download --year 2012" in line for line in lines)


def test_a_weight_file_that_is_missing_is_named_with_its_network(config):
    (line,) = missing(TRAINING, with_weights(config, "zf5", "data/no/zf5.safetensors"))
    assert line.startswith("data/no/zf5.safetensors: no such file; weights of zf5 go there")


def test_the_network_of_another_training_needs_no_file(config):
    training = replace(TRAINING, network="first")
    assert missing(training, with_weights(config, "zf5", "data/no/zf5.safetensors")) == ()


def test_weights_that_nobody_publishes_are_explained(config):
    (line,) = missing(TRAINING, with_weights(config, "zf5", "torchvision"))
    assert "torchvision publishes no such network" in line


def test_published_weights_are_asked_for_once(config, monkeypatch):
    asked = []
    monkeypatch.setattr(needs, "published_file", lambda *names: asked.append(names))
    needs._weights.cache_clear()
    for _ in range(2):
        assert missing(TRAINING, with_weights(config, "alexnet", "torchvision")) == ()
    needs._weights.cache_clear()
    assert asked == [("alexnet", "alexnet")]


def test_a_classifier_needs_both_folders_of_images(config, tmp_path):
    training = replace(TRAINING, task="classification")
    (tmp_path / "train").mkdir()
    config = replace(config, pretrain=PretrainConfig(root=str(tmp_path)))
    (line,) = missing(training, config)
    assert line.startswith(f"{tmp_path / 'val'}: no such folder; ImageNet goes there")
    of_objects = replace(config, pretrain=PretrainConfig(source="objects", root="nowhere"))
    assert missing(training, of_objects) == ()


def on_layer(config, layer, name, *, tuned=False, weights="none"):
    return replace(
        config,
        backbone=BackboneConfig(name=name, weights=weights),
        features=FeatureConfig(layer=layer),
        finetune=FineTuneConfig(enabled=tuned),
    )


@pytest.mark.parametrize("layer", ["fc6", "fc7"])
def test_a_trunk_without_fc_layers_has_none_before_fine_tuning(layer, config, tmp_path):
    assert impossible(TRAINING, on_layer(config, layer, "squeezenet")) == (
        f"the weights of squeezenet have no {layer}, and only fine-tuning makes one"
    )
    assert impossible(TRAINING, on_layer(config, layer, "squeezenet", tuned=True)) == ""
    assert impossible(TRAINING, on_layer(config, layer, "alexnet")) == ""
    assert impossible(TRAINING, on_layer(config, layer, "timm/resnet18")) == ""
    of_run = on_layer(config, layer, "squeezenet", weights=str(tmp_path))
    assert impossible(TRAINING, of_run) == ""
    taken_over = replace(TRAINING, network="first")
    assert impossible(taken_over, on_layer(config, layer, "squeezenet")) == ""


def test_pool5_is_there_on_every_trunk(config):
    assert impossible(TRAINING, on_layer(config, "pool5", "squeezenet")) == ""


def test_svms_on_whole_images_have_no_fc_layers_that_fine_tuning_makes(config, tmp_path):
    images = replace(TRAINING, task="images")
    line = "the weights of squeezenet have no fc6"
    assert impossible(images, on_layer(config, "fc6", "squeezenet", tuned=True)) == line
    of_run = on_layer(config, "fc6", "squeezenet", weights=str(tmp_path))
    assert impossible(images, of_run) == ""
    assert impossible(images, on_layer(config, "pool5", "squeezenet")) == ""


def test_class_folders_are_named_where_they_are_missing(config, tmp_path):
    folders = replace(TRAINING, task="folders")
    gone = replace(config, classify=ClassifyConfig(svm_root=str(tmp_path / "caltech")))
    (line,) = missing(folders, gone)
    assert line.startswith(f"{tmp_path / 'caltech'}: no such folder; Caltech101 goes there")
    there = replace(config, classify=ClassifyConfig(svm_root=str(tmp_path)))
    assert missing(folders, there) == ()
    objects = replace(config, classify=ClassifyConfig(svm_source="objects", svm_root="nowhere"))
    assert missing(folders, objects) == ()
