import pytest
import torch

from detection.backbones.weights import load_backbone
from detection.classification.model_io import load_classifier, save_classifier
from detection.config import BackboneConfig, FeatureConfig
from detection.errors import CheckpointError
from detection.features.factory import make_extractor
from detection.io.tensors import load_tensors, save_tensors
from tests.classification.tiny_classifier import NAMES, picture, trained

pytestmark = pytest.mark.usefixtures("tiny_network")


def test_a_stored_classifier_says_the_same_with_its_label_map(tmp_path):
    one = trained(tmp_path)
    save_classifier(tmp_path / "model.safetensors", one)
    again = load_classifier(tmp_path)
    inputs = picture(32, 40)[None].float()
    assert torch.equal(one.model(inputs), again.model(inputs))
    assert again.class_names == NAMES
    assert again.config == one.config


def test_the_file_of_a_classifier_is_a_weight_file_of_its_trunk(tmp_path):
    one = trained(tmp_path, levels=(1, 2))
    path = tmp_path / "model.safetensors"
    save_classifier(path, one)
    backbone = load_backbone(BackboneConfig(name="tiny", weights=str(path)))
    assert backbone.preprocessing == one.model.preprocessing
    for name, tensor in one.model.trunk.state_dict().items():
        assert torch.equal(backbone.trunk.state_dict()[name], tensor)
    extractor = make_extractor(backbone, FeatureConfig(levels=(1, 2)))
    pretrained = extractor.pretrained_fc()
    assert pretrained is not None
    assert torch.equal(pretrained.get_submodule("fc6").weight, one.model.fc.fc6.weight)


def test_a_file_of_something_else_is_no_classifier(tmp_path):
    path = tmp_path / "model.safetensors"
    save_tensors(path, {"x": torch.zeros(1)}, {"schema": 1})
    with pytest.raises(CheckpointError, match="expected a classifier of schema 1, got None"):
        load_classifier(path)


def test_a_label_map_of_another_length_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_classifier(path, trained(tmp_path))
    tensors, header = load_tensors(path)
    save_tensors(path, tensors, {**header, "class_names": ["blue", "green"]})
    with pytest.raises(CheckpointError, match="fit together and 2 classes, got"):
        load_classifier(path)


@pytest.mark.parametrize(
    ("tensors", "header", "said"),
    [
        ({}, {"schema": True}, "expected a classifier of schema 1"),
        ({}, {"class_names": ["a\nb", "c", "d"]}, "class_names: expected a list of different"),
        ({}, {"config": None}, "config: expected sections with options, got None"),
        ({}, {"config": {"features": {"scales": [10**9]}}}, "m: features.scales: expected one"),
        ({}, {"levels": [1] * 10_000}, "levels: expected the levels of a pyramid, got"),
        ({}, {"levels": "none"}, "levels: expected the levels of a pyramid, got 'none'"),
        ({"fc8.bias": torch.zeros(3).long()}, {}, "fc8.bias: expected real numbers, got torch.int"),
        (
            {"fc.fc6.bias": torch.zeros(3) > 0},
            {},
            "fc.fc6.bias: expected real numbers, got torch.b",
        ),
        (
            {"fc8.bias": torch.full((3,), 1e300, dtype=torch.float64)},
            {},
            "expected numbers that float32",
        ),
        ({"fc.fc6.weight": torch.zeros(3)}, {}, "fc.fc6.bias: expected (0,), got"),
        ({"fc.fc6.weight": None}, {}, "fc.fc6.bias: expected (0,), got"),
        ({}, {"levels": ...}, "expected a header with levels, got none"),
    ],
)
def test_parts_that_cannot_be_are_refused_by_name(tmp_path, tensors, header, said):
    path = tmp_path / "m"
    save_classifier(path, trained(tmp_path, levels=(1, 2)))
    all_tensors, whole = load_tensors(path)
    changed = {
        name: value for name, value in {**all_tensors, **tensors}.items() if value is not None
    }
    save_tensors(path, changed, {k: v for k, v in {**whole, **header}.items() if v is not ...})
    with pytest.raises(CheckpointError) as caught:
        load_classifier(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(path))
