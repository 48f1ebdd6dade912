import pytest
import torch

from detection.backbones import weights
from detection.errors import CheckpointError
from detection.io.tensors import load_tensors, save_tensors
from detection.model_io import load_detector, save_detector
from detection.model_parts import is_calibration
from tests.classification.tiny_classifier import tiny_blueprint
from tests.fuzz.models import detector


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The content of a small detector's file, with fc layers and regressors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(weights.BACKBONES, "tiny", tiny_blueprint)
        path = tmp_path_factory.mktemp("model") / "m.safetensors"
        save_detector(path, detector(fc=True, boxes=True))
        yield load_tensors(path)


def wrong(path, content, **changes):
    """Write the content of a model file with changes, load it, give the message."""
    tensors, header = ({**part, **changes.get(name, {})} for name, part in content_parts(content))
    drop = changes.get("drop", ())
    save_tensors(
        path,
        {name: value for name, value in tensors.items() if name not in drop},
        {name: value for name, value in header.items() if name not in drop},
    )
    with pytest.raises(CheckpointError) as caught:
        load_detector(path, device="cpu")
    return str(caught.value).removeprefix(f"{path}: ")


def content_parts(content):
    return zip(("tensors", "header"), content, strict=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"drop": ["class_names", "config"]},
            "expected a header with class_names, config, got none",
        ),
        ({"drop": ["svm_factor"]}, "expected a header with svm_factor, got none"),
        (
            {"header": {"class_names": "cat"}},
            "class_names: expected a list of different names, got",
        ),
        (
            {"header": {"class_names": ["a", "a"]}},
            "class_names: expected a list of different names",
        ),
        (
            {"header": {"class_names": []}},
            "class_names: expected a list of different names, got []",
        ),
        ({"header": {"config": 3}}, "config: expected sections with options, got 3"),
        ({"header": {"feature_dim": True}}, "feature_dim: expected a whole number, got True"),
        ({"header": {"feature_dim": 60.0}}, "feature_dim: expected a whole number, got 60.0"),
        ({"header": {"preprocessing": ["auto"]}}, "preprocessing: expected a name, got ['auto']"),
        ({"header": {"svm_factor": "1"}}, "svm_factor: expected a positive number, got '1'"),
        ({"header": {"svm_factor": 0}}, "svm_factor: expected a positive number, got 0"),
        (
            {"header": {"bbox_reads": {"a": []}}},
            "bbox_reads: expected pool5 or scored, got {'a': []}",
        ),
        ({"header": {"schema": ["x" * 999]}}, "expected a detector of schema 1, got ['xxx"),
        ({"header": {"bbox_reads": "fc7"}}, "bbox_reads: expected pool5 or scored, got 'fc7'"),
        (
            {"header": {"bbox_reads": "scored"}},
            "bbox.weight: expected (2, 4, 6) for 2 classes, got",
        ),
        (
            {"header": {"class_names": ["a"]}},
            "svm.weight: expected (1, 6) for 1 class, got (2, 6)",
        ),
        ({"drop": ["svm.weight"]}, "svm.weight: expected (2, 6) for 2 classes, got none"),
        ({"drop": ["bbox.bias"]}, "bbox.bias: expected (2, 4) for 2 classes, got none"),
        ({"drop": ["fc.fc7.bias"]}, "fc.fc7.bias: expected (6,), got none"),
        ({"drop": ["fc.fc6.weight"]}, "fc.fc6.bias: expected (0,), got (6,)"),
        ({"tensors": {"fc.x": torch.zeros(3)}}, "fc.x: expected no such tensor, got (3,)"),
        ({"tensors": {"fc.fc6.weight": torch.tensor(0.0)}}, "fc.fc6.bias: expected (0,), got (6,)"),
        ({"tensors": {"fc.fc6.weight": torch.zeros(6, 5)}}, "fc.fc6.weight: expected (6, 60), got"),
        ({"tensors": {"svm.bias": torch.zeros(2).long()}}, "svm.bias: expected real numbers, got"),
        ({"tensors": {"bbox.bias": torch.zeros(())}}, "bbox.bias: expected (2, 4) for 2 classes"),
        (
            {"tensors": {"backbone.trunk.0.weight": torch.zeros(3, dtype=torch.complex64)}},
            "backbone.trunk.0.weight: expected real numbers, got torch.complex64",
        ),
        (
            {"drop": [f"fc.fc{n}.{kind}" for n in (6, 7) for kind in ("weight", "bias")]},
            "expected the fc layers that fc7 needs, got none",
        ),
    ],
)
def test_parts_that_do_not_belong_together_are_refused_by_name(tmp_path, model, changes, message):
    said = wrong(tmp_path / "m", model, **changes)
    assert said.startswith(message)
    assert len(said) < 500


def test_an_fc_layer_of_a_million_outputs_is_refused_before_it_is_built(tmp_path, model):
    """fc7 would have 10 ** 12 weights."""
    tall = {"fc.fc6.weight": torch.zeros(1_000_000, 1)}
    assert "fc.fc6.bias: expected (1000000,)" in wrong(tmp_path / "m", model, tensors=tall)


@pytest.mark.parametrize(
    "change",
    [
        {"slope": [1.0]},
        {"slope": [1.0, 0.0]},
        {"offset": [1.0, "2"]},
        {"offset": [1.0, 1e300]},
        {"threshold": None},
        {"threshold": float("nan")},
        {"right": 3},
        None,
    ],
)
def test_a_calibration_is_one_of_the_classes(change):
    good = {"slope": [1.0, 2.0], "offset": [0.0, -1.0], "threshold": 0.4, "right": [3, 4]}
    assert is_calibration(good, 2)
    assert not is_calibration(change and good | change, 2)
