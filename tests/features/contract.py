"""What every extractor promises, whatever its backbone."""

import torch

from detection.features.extractor import FeatureExtractor
from detection.structures import Image, RoIFeatures


def picture(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0]
    noise = 0.1 * torch.rand(3, height, width, generator=generator)
    pixels = ((smooth * 0.9 + noise) * 255).to(torch.uint8).permute(1, 2, 0).contiguous()
    return Image(image_id=f"{height}x{width}", pixels=pixels)


BOXES = torch.tensor(
    [
        [0.0, 0, 90, 60],  # the whole image
        [10, 5, 40, 35],
        [10, 5, 40, 35],  # the same again
        [60, 30, 61, 31],  # one pixel
        [70.5, 40.25, 90, 60],  # to the corner
        [-20, -20, 30, 30],  # beyond the border
        [200, 200, 240, 250],  # outside
    ]
)


def check_extractor(extractor, boxes=BOXES):
    """Hold an extractor to its promises on an image of 60 x 90 pixels."""
    assert isinstance(extractor, FeatureExtractor)
    image = picture(60, 90)
    features = extractor.extract(image, boxes)
    check_features(features, extractor, len(boxes))
    rows = features.expand()
    assert torch.equal(rows[1], rows[2])
    assert not torch.equal(rows[0], rows[1])

    maps = extractor.encode_image(image)
    assert len(maps) == extractor.num_scales
    for feature_map in maps:
        assert feature_map.image_size == image.size
        assert min(feature_map.input_size) >= 1
        assert not feature_map.values.requires_grad
    assert torch.equal(extractor.pool(maps, boxes).expand(), rows)

    turned = extractor.pool(maps, boxes.flip(0)).expand()
    assert torch.allclose(turned, rows.flip(0), atol=1e-4, rtol=1e-4)
    few = extractor.pool(maps, boxes[:2]).expand()
    assert torch.allclose(few, rows[:2], atol=1e-4, rtol=1e-4)
    check_features(extractor.pool(maps, boxes[:0]), extractor, 0)


def check_features(features, extractor, count):
    assert isinstance(features, RoIFeatures)
    assert features.values.dtype == torch.float32
    assert features.values.shape[1] == extractor.feature_dim
    assert features.rows.shape == (count,)
    assert features.expand().shape == (count, extractor.feature_dim)
    assert torch.isfinite(features.values).all()
    if count:
        assert sorted(set(features.rows.tolist())) == list(range(len(features.values)))
