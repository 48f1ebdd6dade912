"""Files in the format of Caffe."""

import pytest

from detection.backbones.caffe.caffemodel import read_caffemodel
from detection.backbones.weights import BACKBONES
from detection.errors import CheckpointError
from tests.backbones.caffe.writer import V2, layer, network, random_blobs

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


def written(tmp_path, content, name="net.caffemodel"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def refused(tmp_path, content, match):
    path = written(tmp_path, content)
    with pytest.raises(CheckpointError, match=match) as caught:
        read_caffemodel(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
