import itertools

import pytest
import torch

from detection.backbones.caffe.caffemodel import read_caffemodel
from detection.backbones.caffe.names import pyramid_columns, stored_levels
from detection.backbones.weight_import import import_weights, save_imported
from detection.backbones.weights import BACKBONES, load_backbone
from detection.config import BackboneConfig, FeatureConfig
from detection.errors import ConfigError
from detection.features.factory import make_extractor
from detection.structures import Image
from tests.backbones.caffe.writer import V0, V2, layer, network, random_blobs
from tests.reference.pyramid import pyramid

LEVELS = (1, 2, 3, 6)


FIVE = ["conv1", "conv2", "conv3", "conv4", "conv5"]


VGG16 = [f"conv{b}_{i}" for b, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, n + 1)]


CONVS = {"zf5": FIVE, "caffenet": FIVE, "vgg16": VGG16}


SHAPES = {
    name: [tuple(t.shape) for t in BACKBONES[name]().trunk.state_dict().values() if t.ndim == 4]
    for name in CONVS
}


INPUTS = {"zf5": 12800, "caffenet": 9216, "vgg16": 25088}


def joined(form, levels):
    """The layers that pool and join a pyramid, named as in the release."""
    names = [f"pool5_spm{n}_flatten" for n in levels]
    return [
        *(layer(form, name, bottoms=["conv5"], tops=[name]) for name in names),
        layer(form, "pool5_spm", bottoms=names, tops=["pool5_spm"]),
    ]


def caffe_file(folder, name, form=V2, *, legacy=False, fc=INPUTS, levels=None, changes=None):
    """A published network with fc layers 5 and 4 wide: (path, layer -> (weight, bias))."""
    shapes = dict(zip(CONVS[name], SHAPES[name], strict=True))
    if fc is not None:
        shapes |= {"fc6": (5, fc[name]), "fc7": (4, 5), "fc8": (3, 4)}
    stored, layers = {}, [layer(form, "data", tops=["data"])]
    for seed, (own, shape) in enumerate(shapes.items()):
        stored[own], blobs = random_blobs(shape, seed, legacy=legacy)
        blobs = (changes or {}).get(own, blobs)
        if own == "fc6" and levels:
            layers += joined(form, levels)
        reads = "pool5_spm" if own == "fc6" else "x"
        if blobs is not None:
            layers.append(layer(form, own, blobs, bottoms=[reads], tops=[own]))
    path = folder / f"{name}.caffemodel"
    path.write_bytes(network(layers))
    return path, stored


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


@pytest.fixture
def own(tmp_path):
    source, _ = caffe_file(tmp_path, "zf5", fc=None)
    save_imported(tmp_path / "own.safetensors", import_weights(source, "zf5"))
    return str(tmp_path / "own.safetensors")
