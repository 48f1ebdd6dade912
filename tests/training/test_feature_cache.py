import pytest
import torch

from detection.features.factory import make_extractor
from detection.training.feature_cache import FrozenMaps
from tests.training import tiny

METHODS = ("sppnet", "rcnn")


@pytest.fixture
def records(tmp_path):
    return tiny.records(tmp_path)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("open_layers", [0, 1, 2])
def test_the_layers_below_and_above_the_cut_make_the_whole(records, method, open_layers):
    config = tiny.with_scales(tiny.config(method), 48, 64)
    extractor = make_extractor(tiny.backbone(), config.features)
    image_boxes = tiny.proposals(records[0]).boxes
    from detection.data.images import read_image

    image = read_image(records[0].path, max_pixels=10_000)
    expected = extractor.extract(image, image_boxes).expand()
    extractor = extractor.unfreeze(open_layers)
    maps = FrozenMaps(extractor, records, max_pixels=10_000, budget=0, dtype=torch.float32)
    below = maps.of(0, flipped=False)
    actual = extractor.pool(extractor.run_trainable(below), image_boxes).expand()
    assert actual.requires_grad == (open_layers > 0)
    torch.testing.assert_close(actual.detach(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kept_and_recomputed_maps_are_equal(records, dtype):
    extractor = make_extractor(tiny.backbone(), tiny.config().features)

    def maps(budget):
        return FrozenMaps(extractor, records, max_pixels=10_000, budget=budget, dtype=dtype)

    kept, computed = maps(1 << 20), maps(0)
    for flipped in (False, True):
        first, again = kept.of(1, flipped=flipped)[0], kept.of(1, flipped=flipped)[0]
        assert first.values is again.values
        assert first.values.dtype == dtype
        fresh = computed.of(1, flipped=flipped)[0]
        assert fresh is not computed.of(1, flipped=flipped)[0]
        assert fresh.values.equal(first.values)


def test_the_map_of_a_mirrored_image_is_computed_not_mirrored(records):
    config = tiny.with_scales(tiny.config(), 60)
    extractor = make_extractor(tiny.backbone(), config.features)
    maps = FrozenMaps(extractor, records, max_pixels=10_000, budget=0, dtype=torch.float32)
    plain, mirrored = (maps.of(0, flipped=flipped)[0].values for flipped in (False, True))
    assert not torch.allclose(plain.flip(2), mirrored)


def test_features_that_are_left_in_the_middle_leave_gradients_as_they_were(records):
    images = tiny.training_images(tiny.config(), records)
    boxes = [tiny.proposals(record).boxes for record in records]
    features = images.source.pool5(records, boxes)
    assert not next(features).values.requires_grad
    assert torch.is_grad_enabled()
