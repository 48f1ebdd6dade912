import pytest
import torch

from detection.classification.augment import resize_short_side
from detection.classification.classifier import Classifier, build_classifier
from detection.classification.view_scores import map_probabilities, view_probabilities
from detection.classification.views import (
    centre_place,
    nine_places,
)
from detection.errors import ConfigError
from detection.pretrain_config import ClassifyConfig, PretrainConfig
from tests.classification.tiny_classifier import picture, tiny_config, use_tiny_network


@pytest.fixture
def classifier(monkeypatch, tmp_path) -> Classifier:
    use_tiny_network(monkeypatch)
    return build_classifier(tiny_config(tmp_path, sizes=(64,), short_side=96), 5).eval()


def test_ten_views_from_the_map_equal_ten_crops_where_cells_do_not_overlap(classifier):
    # 96 x 128 and crops of 64: every view begins at a multiple of 16, the side of a cell.
    whole = picture(96, 128)
    trained = PretrainConfig(sizes=(64,), short_side=96)
    crops = view_probabilities(classifier, whole, "ten", trained, ClassifyConfig())
    maps = view_probabilities(classifier, whole, "ten_maps", trained, ClassifyConfig())
    torch.testing.assert_close(maps, crops, rtol=0, atol=1e-6)


def test_views_from_the_map_see_the_cells_whose_centres_they_cover(classifier):
    whole = picture(96, 128)
    actual = map_probabilities(classifier, whole, 96, 64, lambda size, crop: [(5, 9)])
    # Between pixels 9 and 72 lie the centres 23.5 .. 71.5: columns 1..4; between 5 and 68 lie
    # 7.5 .. 55.5: rows 0..3.
    with torch.inference_mode():
        conv5 = classifier.conv(whole[None].float())[:, :, 0:4, 1:5]
        expected = classifier.classify(classifier.pool(conv5)).softmax(dim=1)
    torch.testing.assert_close(actual[:1], expected)


def test_the_centre_view_is_the_prediction_of_the_central_crop(classifier):
    whole, trained = picture(192, 200), PretrainConfig(sizes=(64,), short_side=96)
    resized = resize_short_side(whole, 96, 64)
    top, left = centre_place((96, 100), 64)
    with torch.inference_mode():
        crop = resized[None, :, top : top + 64, left : left + 64].float()
        expected = classifier(crop).softmax(dim=1)[0]
    actual = view_probabilities(classifier, whole, "centre", trained, ClassifyConfig())
    torch.testing.assert_close(actual, expected)


def test_the_full_view_is_the_prediction_of_the_whole_picture(classifier):
    whole, trained = picture(48, 80), PretrainConfig(sizes=(64,), short_side=96)
    settings = ClassifyConfig(full_short_side=48)
    with torch.inference_mode():
        expected = classifier(whole[None].float()).softmax(dim=1)[0]
    actual = view_probabilities(classifier, whole, "full", trained, settings)
    torch.testing.assert_close(actual, expected)


def test_all_views_are_averaged_with_equal_weight(classifier):
    whole, trained = picture(96, 128), PretrainConfig(sizes=(64,), short_side=96)
    settings = ClassifyConfig(scales=(64, 96), full_short_side=96)
    parts = [map_probabilities(classifier, whole, s, 64, nine_places) for s in (64, 96)]
    both = torch.cat(parts)
    actual = view_probabilities(classifier, whole, "all_maps", trained, settings)
    assert both.shape[0] == 6 + 18
    torch.testing.assert_close(actual, both.mean(dim=0))
    full = view_probabilities(classifier, whole, "full", trained, settings)
    mirror = view_probabilities(classifier, whole.flip(2), "full", trained, settings)
    with_full = view_probabilities(classifier, whole, "all_maps_full", trained, settings)
    torch.testing.assert_close(with_full, (both.sum(dim=0) + full + mirror) / 26)


@pytest.mark.parametrize("view", ["full", "ten_maps", "all_maps", "all_maps_full"])
def test_a_view_that_takes_a_pyramid_is_refused_without_one(view, monkeypatch, tmp_path):
    use_tiny_network(monkeypatch)
    config = tiny_config(tmp_path, head="no_spp", sizes=(64,), short_side=96)
    classifier = build_classifier(config, 5).eval()
    with pytest.raises(ConfigError, match="expected centre or ten"):
        view_probabilities(classifier, picture(96, 96), view, config.pretrain, ClassifyConfig())


def test_a_scale_smaller_than_the_crop_is_refused(classifier):
    trained, settings = PretrainConfig(sizes=(64,), short_side=96), ClassifyConfig(scales=(48,))
    with pytest.raises(ConfigError, match=r"classify\.scales: expected at least the crop, 64"):
        view_probabilities(classifier, picture(96, 96), "all_maps", trained, settings)
