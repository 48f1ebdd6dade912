from dataclasses import replace

import pytest
import torch

from detection.boxes import flip
from detection.config import PostprocessConfig, ProposalConfig
from detection.data.images import read_image
from detection.detector import Detector
from detection.ensemble import combine, score
from detection.errors import ConfigError
from detection.features.factory import make_extractor
from detection.heads.bbox_regressor import BBoxRegressors
from detection.heads.calibration import Calibration
from detection.heads.layer import identity
from detection.heads.normalisation import Normaliser
from detection.heads.scorer import SoftmaxScorer, SvmScorer
from detection.heads.svm import Svms
from detection.postprocess import Candidates, finalize, select_candidates
from tests.training import tiny


def detector(seed, *, regressors=True, postprocess=None):
    config = replace(
        tiny.config("sppnet", enabled=False),
        postprocess=postprocess or PostprocessConfig(score_threshold=-100.0),
    )
    extractor = make_extractor(tiny.backbone(), config.features)
    random = torch.Generator().manual_seed(seed)
    dim = extractor.feature_dim
    svms = Svms(weight=torch.randn(2, dim, generator=random), bias=torch.randn(2, generator=random))
    moves = BBoxRegressors(
        weight=torch.randn(2, 4, dim, generator=random) * 0.01, bias=torch.zeros(2, 4)
    )
    return Detector(
        class_names=tiny.CLASS_NAMES,
        config=config,
        extractor=extractor,
        fc=identity,
        scorer=SvmScorer(normaliser=Normaliser(factor=0.1), svms=svms),
        regressors=moves if regressors else None,
    )


@pytest.fixture
def record(tmp_path):
    return tiny.records(tmp_path, 2)[1]


@pytest.fixture
def image(record):
    return read_image(record.path, record.image_id, max_pixels=10_000)


def same(detections, expected):
    torch.testing.assert_close(detections.boxes, expected.boxes, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(detections.scores, expected.scores, rtol=1e-4, atol=1e-4)
    assert torch.equal(detections.labels, expected.labels)


def test_a_detector_combined_with_itself_finds_the_same(image, record):
    one = detector(0)
    both = combine([one, one])
    boxes = tiny.proposals(record)
    assert both.detect(image, boxes).class_names == tiny.CLASS_NAMES
    assert next(both.detect_each([record.path])).class_names == tiny.CLASS_NAMES
    same(both.detect(image, boxes), one.detect(image, boxes))


@pytest.mark.parametrize("first_nms", [True, False])
def test_suppression_acts_on_the_union_and_each_box_moves_by_its_own_regressors(
    image, record, first_nms
):
    post = PostprocessConfig(score_threshold=-100.0, first_nms=first_nms)
    members = [detector(seed, postprocess=post) for seed in (1, 2)]
    proposals = tiny.proposals(record)
    views = [score(member, image, proposals.boxes, member.config) for member in members]
    boxes = torch.cat([proposals.boxes, proposals.boxes])
    scores = torch.cat([view.scores for view in views])
    count = len(proposals.boxes)
    candidates = select_candidates(boxes, scores, post)

    def regressed(index):
        row = int(candidates.rows[index])
        one = Candidates(
            rows=torch.tensor([row % count]),
            boxes=boxes[row][None],
            scores=candidates.scores[index][None],
            labels=candidates.labels[index][None],
        )
        return views[row // count].regressed(one, image)

    moved = torch.cat([torch.zeros(0, 4), *map(regressed, range(len(candidates.rows)))])
    expected = finalize(replace(candidates, boxes=moved), post)
    detections = combine(members).detect(image, proposals)
    same(detections, expected)
    alone = members[0].detect(image, proposals)
    assert len(detections.boxes) != len(alone.boxes) or not torch.equal(
        detections.boxes, alone.boxes
    )


def test_no_proposal_is_no_detection(image, record):
    none = replace(tiny.proposals(record), boxes=torch.zeros(0, 4))
    assert len(combine([detector(0), detector(1)]).detect(image, none).boxes) == 0


def test_other_thresholds_hold_for_all_members(image, record):
    both = combine([detector(0), detector(1)])
    config = replace(both.config, postprocess=PostprocessConfig(score_threshold=1e9, flip=True))
    changed = both.with_config(config)
    assert all(member.config.postprocess.flip for member in changed.members)
    assert len(changed.detect(image, tiny.proposals(record)).boxes) == 0


def test_detectors_that_do_not_belong_together_stop(tmp_path):
    one = detector(0)
    with pytest.raises(ConfigError, match=r"expected the classes \['red', 'blue'\] in this order"):
        combine([one, replace(one, class_names=("blue", "red"))])
    softmax = SoftmaxScorer(weight=torch.zeros(3, one.extractor.feature_dim), bias=torch.zeros(3))
    with pytest.raises(ConfigError, match="expected a SvmScorer like the first detector's"):
        combine([one, replace(one, scorer=softmax)])
    with pytest.raises(ConfigError, match="at least one detector"):
        combine([])


@pytest.mark.parametrize("regressors", [True, False])
def test_with_flipping_a_mirrored_image_has_the_mirrored_detections(image, record, regressors):
    post = PostprocessConfig(score_threshold=-100.0, flip=True)
    one = detector(3, regressors=regressors, postprocess=post)
    proposals = tiny.proposals(record)
    mirrored = replace(proposals, boxes=flip(proposals.boxes, tiny.WIDTH))
    with pytest.raises(ConfigError, match=r"postprocess.flip: expected false: .* got True"):
        one.detect(image, proposals)
    both = combine([one])
    straight = both.detect(image, proposals)
    detections = both.detect(image.mirrored(), mirrored)
    assert len(straight.boxes) > 2
    same(replace(detections, boxes=flip(detections.boxes, tiny.WIDTH)), straight)
    plain = both.with_config(replace(one.config, postprocess=replace(post, flip=False)))
    assert isinstance(plain, Detector)
    assert not torch.allclose(plain.detect(image, proposals).scores[:3], straight.scores[:3])


@pytest.mark.parametrize("mirrored", [False, True])
def test_scores_and_boxes_are_means_over_the_scales(image, record, mirrored):
    sides = (48, 96)
    post = PostprocessConfig(score_threshold=-100.0, flip=mirrored, scales=sides)
    one = detector(3, postprocess=post)
    boxes = tiny.proposals(record).boxes
    views = [(False, image, boxes), (True, image.mirrored(), flip(boxes, tiny.WIDTH))]
    expected_scores, expected_boxes = [], []
    pairs = Candidates(
        rows=torch.arange(len(boxes)),
        boxes=boxes,
        scores=torch.zeros(len(boxes)),
        labels=torch.zeros(len(boxes), dtype=torch.int64),
    )
    for turned, its_image, its_boxes in views[: 1 + mirrored]:
        for side in sides:
            features = replace(one.config.features, scales=(side,))
            pool5 = make_extractor(tiny.backbone(), features).extract(its_image, its_boxes)
            expected_scores.append(one.scorer.score(pool5.expand()))
            at = replace(pairs, boxes=its_boxes)
            moved = one.regress(at, pool5, pool5, image.size).boxes
            expected_boxes.append(flip(moved, tiny.WIDTH) if turned else moved)
    actual = score(one, image, boxes, one.config)
    mean = torch.stack(expected_scores).double().mean(dim=0).float()
    torch.testing.assert_close(actual.scores, mean, rtol=1e-5, atol=1e-5)
    mean = torch.stack(expected_boxes).double().mean(dim=0).float()
    torch.testing.assert_close(actual.regressed(pairs, image), mean, rtol=1e-5, atol=1e-3)
    assert (expected_scores[0] - expected_scores[1]).abs().max() > 1e-3


def test_one_scale_to_average_is_the_detector_of_that_scale(image, record):
    one = detector(3)
    other = replace(one, extractor=one.extractor.with_scales((96,)))
    post = replace(one.config.postprocess, scales=(96,))
    with pytest.raises(ConfigError, match=r"postprocess.scales: expected none: .* got \(96,\)"):
        one.with_config(replace(one.config, postprocess=post)).detect(image)
    combined = combine([one], replace(one.config, postprocess=post))
    proposals = tiny.proposals(record)
    same(combined.detect(image, proposals), other.detect(image, proposals))


def test_crops_have_one_scale(image, record):
    one = detector(3)
    crops = make_extractor(tiny.backbone(), tiny.config("rcnn", enabled=False).features)
    scorer = SoftmaxScorer(weight=torch.ones(3, crops.feature_dim), bias=torch.zeros(3))
    one = replace(one, extractor=crops, scorer=scorer, regressors=None)
    post = replace(one.config.postprocess, scales=(48, 96))
    seen = score(one, image, tiny.proposals(record).boxes, replace(one.config, postprocess=post))
    assert len(seen.views) == 1


def test_an_image_mirrored_twice_is_itself(image):
    assert torch.equal(image.mirrored().mirrored().pixels, image.pixels)
    assert torch.equal(image.mirrored().pixels[:, 0], image.pixels[:, -1])


def test_a_detector_that_sees_the_boxes_of_another_backend_says_so(caplog):
    one = detector(0)
    trained = replace(one.config, proposals=ProposalConfig(backend="native"))
    config = replace(trained, proposals=ProposalConfig(backend="opencv"))
    combine([one.with_config(trained)])
    assert caplog.text == ""
    combine([one.with_config(trained)], config)
    assert "proposals.backend: expected native" in caplog.text


@pytest.mark.parametrize("views", [{"flip": True}, {"scales": (48, 64)}])
def test_probabilities_of_other_views_are_said_to_be_off(caplog, views):
    plain = detector(0)
    other = replace(plain.config, postprocess=replace(plain.config.postprocess, **views))
    combine([plain], other)
    calibrated = replace(
        plain, calibration=Calibration(slope=(1.0, 1.0), offset=(0.0, 0.0), threshold=0.5)
    )
    combine([calibrated])
    combine([calibrated.with_config(other)])
    assert caplog.messages == []
    combine([calibrated], other)
    (said,) = caplog.messages
    assert "with which the probabilities were fitted" in said
