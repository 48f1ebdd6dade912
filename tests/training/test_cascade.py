"""A cascade fitted to a trained detector, through its model file to its detections."""

from dataclasses import replace

import pytest
import torch

from detection.backbones import weights
from detection.config import CascadeConfig, Config, FeatureConfig, PostprocessConfig
from detection.detector import Detector
from detection.ensemble import combine
from detection.errors import CheckpointError, ConfigError, DataError
from detection.heads.cascade import Cascade
from detection.heads.fc import FcHead
from detection.heads.layer import FcLayer
from detection.heads.normalisation import Normaliser
from detection.heads.scorer import SoftmaxScorer, SvmScorer
from detection.heads.svm import Svms
from detection.io.tensors import load_tensors, save_tensors
from detection.model_io import load_detector, save_detector
from detection.training.cascade import final_rows, fit_cascade, sureness
from tests.training import tiny


@pytest.fixture
def images(tmp_path):
    return tiny.training_images(tiny.config(), tiny.records(tmp_path, 12))


def detector(images, *, softmax=False, **cascade):
    random = torch.Generator().manual_seed(3)
    extractor = images.source.extractor
    head = FcHead(extractor.feature_dim, size=8, std=0.05, generator=random)
    weight = torch.randn(3 if softmax else 2, 8, generator=random) * (0.3 if softmax else 1)
    svms = Svms(weight=weight, bias=torch.zeros(2)) if not softmax else None
    return Detector(
        class_names=tiny.CLASS_NAMES,
        config=replace(
            tiny.config(),
            cascade=CascadeConfig(enabled=True, **cascade),
            postprocess=PostprocessConfig(score_threshold=0.1 if softmax else -1.5),
        ),
        extractor=extractor,
        fc=FcLayer(head=head, layer="fc7"),
        scorer=SvmScorer(normaliser=Normaliser(factor=1.0), svms=svms)
        if svms
        else SoftmaxScorer(weight=weight, bias=torch.zeros(3)),
        regressors=None,
    )


def found(one, images, cascade=None):
    if cascade is not None:
        one = one.with_config(replace(one.config, cascade=cascade))
    out = []
    for record in images.records:
        boxes = images.proposals(record).boxes
        pool5 = next(images.source.pool5([record], [boxes]))
        out.append(one.detect_pooled(pool5, boxes, record.truth.size, record.image_id))
    return out


def assert_same(some, others):
    for a, b in zip(some, others, strict=True):
        assert torch.equal(a.boxes, b.boxes)
        assert torch.equal(a.scores, b.scores)
        assert torch.equal(a.labels, b.labels)


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("pooling", ["max", "align"])
def test_keeping_every_box_changes_no_bit(tmp_path, pooling, softmax):
    config = tiny.config()
    config = replace(config, features=replace(config.features, pooling=pooling))
    images = tiny.training_images(config, tiny.records(tmp_path, 12))
    exact = detector(images, softmax=softmax)
    fitted = fit_cascade(exact, images)
    assert sum(len(one.scores) for one in found(exact, images)) > 20
    assert_same(found(fitted, images, CascadeConfig(enabled=True, keep=1000)), found(exact, images))
    assert_same(found(fitted, images, CascadeConfig(enabled=False)), found(exact, images))


@pytest.mark.parametrize("softmax", [False, True])
def test_about_the_stated_recall_is_kept_on_images_never_seen(tmp_path, softmax):
    images = tiny.training_images(tiny.config(), tiny.records(tmp_path, 60))
    seen = replace(images, records=images.records[:30])
    unseen = replace(images, records=images.records[30:])
    exact = detector(images, softmax=softmax)
    fitted = fit_cascade(exact, seen).cascade
    shares = []
    for recall in (0.7, 0.95):
        total = kept_total = 0
        for record in unseen.records:
            boxes = unseen.proposals(record).boxes
            pool5 = next(unseen.source.pool5([record], [boxes]))
            rows = final_rows(exact, pool5, boxes, record.truth.size)[1]
            kept = fitted.survivors(pool5, CascadeConfig(enabled=True, recall=recall))[1]
            total, kept_total = total + len(rows), kept_total + int(kept[rows].sum())
        shares.append(kept_total / total)
    assert shares == pytest.approx([0.7, 0.95], abs=0.1)


def test_rows_of_final_detections_are_their_boxes(images):
    exact = detector(images)
    record = images.records[0]
    boxes = images.proposals(record).boxes
    pool5 = next(images.source.pool5([record], [boxes]))
    rows = final_rows(exact, pool5, boxes, record.truth.size)[1]
    out = exact.detect_pooled(pool5, boxes, record.truth.size, "")
    assert sorted(boxes[rows].tolist()) == sorted(out.boxes.tolist())


def test_fitting_twice_gives_the_same(images):
    one, two = (fit_cascade(detector(images), images).cascade for _ in range(2))
    assert all(torch.equal(a, two.tensors()[name]) for name, a in one.tensors().items())


def test_a_detector_that_finds_nothing_says_so(images):
    blind = detector(images)
    options = replace(blind.config, postprocess=PostprocessConfig(score_threshold=1e9))
    with pytest.raises(DataError, match=r"cascade: expected detections in 12 training images"):
        fit_cascade(blind.with_config(options), images)


def test_a_probability_counts_as_its_log_odds():
    scores = torch.tensor([[0.5, 0.1], [0.2, 0.9], [0.0, 0.0]])
    expected = torch.logit(torch.tensor([0.5, 0.9, 1e-5]))
    assert torch.allclose(sureness(scores, probabilities=True), expected, rtol=1e-3)
    assert sureness(scores - 3, probabilities=False).tolist() == pytest.approx([-2.5, -2.1, -3])


@pytest.fixture
def stored(images, tmp_path, monkeypatch):
    monkeypatch.setitem(weights.BACKBONES, "tiny", tiny.blueprint)
    made = fit_cascade(detector(images), images)
    backbone = replace(made.config.backbone, name="tiny")
    made = made.with_config(replace(made.config, backbone=backbone))
    save_detector(tmp_path / "model.safetensors", made)
    return tmp_path / "model.safetensors", made


def test_a_cascade_goes_through_the_model_file(stored, images):
    path, made = stored
    again = load_detector(path, device="cpu")
    assert isinstance(again.cascade, Cascade)
    for name, tensor in made.cascade.tensors().items():
        assert torch.equal(again.cascade.tensors()[name], tensor)
    assert combine([again]) is not None


def test_a_file_without_cascade_still_loads_and_cannot_be_asked_for_one(stored):
    path, _ = stored
    tensors, header = load_tensors(path)
    plain = {name: t for name, t in tensors.items() if not name.startswith("cascade.")}
    save_tensors(path, plain, header)
    again = load_detector(path, device="cpu")
    assert again.cascade is None
    with pytest.raises(ConfigError, match=r"cascade\.enabled: expected false, as this model"):
        combine([again])
    off = replace(again.config, cascade=CascadeConfig())
    assert combine([again], off).cascade is None


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("weight", lambda t: t[1:], "the shape"),
        ("weight", lambda t: None, "the shape"),
        ("bias", lambda t: t[None], "the shape"),
        ("spans", lambda t: t.flip(0), "ascending ranges"),
        ("spans", lambda t: t + 100_000, "ascending ranges"),
        ("spans", lambda t: t.float(), "ascending ranges"),
        ("spans", lambda t: None, "ascending ranges"),
        ("quantiles", lambda t: t.flip(0), "ascending scores"),
        ("quantiles", lambda t: t[:0], "ascending scores"),
        ("quantiles", lambda t: t.long(), "real numbers"),
    ],
)
def test_a_damaged_cascade_is_refused(stored, name, change, said):
    path, _ = stored
    tensors, header = load_tensors(path)
    tensors = {key: t.clone() for key, t in tensors.items()}
    new = change(tensors.pop(f"cascade.{name}"))
    if new is not None:
        tensors[f"cascade.{name}"] = new.contiguous()
    save_tensors(path, tensors, header)
    with pytest.raises(CheckpointError, match=rf"cascade\.{name}: expected {said}"):
        load_detector(path, device="cpu")


def test_several_detectors_or_a_mirrored_image_take_no_cascade(stored):
    _, made = stored
    flip = replace(made.config, postprocess=replace(made.config.postprocess, flip=True))
    for detectors, config in (([made, made], None), ([made], flip)):
        with pytest.raises(ConfigError, match=r"cascade\.enabled: expected false for several"):
            combine(detectors, config)


@pytest.mark.parametrize(
    ("features", "option"),
    [
        ({"method": "rcnn"}, r"features\.method"),
        ({"layer": "pool5"}, r"features\.layer"),
        ({"levels": (1, 3)}, r"cascade\.levels"),
    ],
)
def test_a_cascade_needs_fc_layers_and_levels_of_an_sppnet(features, option):
    with pytest.raises(ConfigError, match=option):
        Config(features=FeatureConfig(**features), cascade=CascadeConfig(enabled=True))
