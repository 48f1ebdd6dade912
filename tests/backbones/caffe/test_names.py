import itertools

import pytest
import torch

from detection.backbones.caffe.caffemodel import read_caffemodel
from detection.backbones.caffe.names import pyramid_columns, stored_levels
from detection.backbones.weight_import import import_weights, save_imported
from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig, FeatureConfig
from detection.errors import ConfigError
from detection.features.factory import make_extractor
from detection.structures import Image
from tests.backbones.caffe.files import caffe_file
from tests.backbones.caffe.writer import V0
from tests.reference.pyramid import pyramid

LEVELS = (1, 2, 3, 6)


def as_tensors(pair):
    return [torch.from_numpy(array) for array in pair]


@pytest.mark.parametrize("order", [LEVELS, (6, 3, 2, 1), (2, 6, 1, 3)])
@pytest.mark.parametrize("said", [False, True])
def test_fc6_reads_the_pyramid_bin_by_bin_whatever_its_order_in_the_file(tmp_path, order, said):
    """fc6 of this package's pool5 is Caffe's fc6 of Caffe's pool5, computed plainly."""
    source, stored = caffe_file(tmp_path, "zf5", V0, levels=order if said else None)
    imported = import_weights(source, "zf5", levels=() if said else order)
    save_imported(tmp_path / "own.safetensors", imported)
    config = BackboneConfig(name="zf5", weights=str(tmp_path / "own.safetensors"))
    extractor = make_extractor(
        load_backbone(config), FeatureConfig(method="sppnet", scales=(160,), device="cpu")
    )
    pixels = torch.randint(
        0, 256, (160, 200, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    image = Image(image_id="noise", pixels=pixels)
    boxes = torch.tensor([[0.0, 0, 200, 160], [30, 20, 150, 140]])
    with torch.no_grad():
        maps = extractor.encode_image(image)
        windows, rows = extractor.project(maps, boxes)
        fc6 = extractor.pretrained_fc().fc6(extractor.pool(maps, boxes).expand())
    caffe_pool5 = pyramid(maps[0].values, windows[rows, 1:].tolist(), order)
    weight, bias = as_tensors(stored["fc6"])
    assert torch.allclose(fc6, caffe_pool5 @ weight.T + bias, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("order", list(itertools.permutations(LEVELS)))
def test_columns_move_with_their_levels(order):
    values = torch.rand(3, 7, 9, generator=torch.Generator().manual_seed(0))
    windows = [[0, 0, 9, 7], [2, 1, 5, 6]]
    columns = pyramid_columns(3, order, LEVELS)
    assert torch.equal(
        pyramid(values, windows, LEVELS), pyramid(values, windows, order)[:, columns]
    )


def test_the_order_in_the_file_is_read_off_its_names(tmp_path):
    source, _ = caffe_file(tmp_path, "zf5", V0, levels=(6, 3, 2, 1))
    assert stored_levels(read_caffemodel(source)) == (6, 3, 2, 1)
    with pytest.raises(ConfigError, match=r"levels: expected \[6, 3, 2, 1\]"):
        import_weights(source, "zf5", levels=LEVELS)
