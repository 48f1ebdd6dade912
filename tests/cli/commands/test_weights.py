import pytest

from detection.backbones.weight_import import import_weights, save_imported
from detection.backbones.weights import BACKBONES
from detection.cli import main
from tests.backbones.caffe.writer import V0, V2, layer, network, random_blobs

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


@pytest.fixture
def own(tmp_path):
    source, _ = caffe_file(tmp_path, "zf5", fc=None)
    save_imported(tmp_path / "own.safetensors", import_weights(source, "zf5"))
    return str(tmp_path / "own.safetensors")


def fail(capsys, *arguments):
    assert main(["weights", *map(str, arguments)]) == 2
    output = capsys.readouterr()
    assert output.err.count("\n") == 1
    return output.err


def test_import_works_from_the_command_line(tmp_path, capsys):
    source, _ = caffe_file(tmp_path, "zf5", V0, levels=LEVELS)
    out = tmp_path / "weights" / "own.safetensors"
    assert main(["weights", "import", str(source), "--backbone", "zf5", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "zf5, constant128" in text
    assert "fc6 of 12,800 inputs" in text
    assert f"--backbone.name zf5 --backbone.weights {out}" in text
    assert main(["weights", "list", "--folder", str(out.parent)]) == 0
    assert f"file: {out}" in capsys.readouterr().out


def test_mistakes_on_the_command_line_are_one_line(tmp_path, capsys):
    out = tmp_path / "own.safetensors"
    source = tmp_path / "net.caffemodel"
    source.write_bytes(b"not a network")
    assert "choose from" in fail(capsys, "lst")
    assert "expected a file to read" in fail(capsys, "import")
    assert "--backbone: expected the name" in fail(capsys, "import", source)
    assert "--out: expected a file" in fail(capsys, "import", source, "--backbone", "zf5")
    given = ["import", source, "--backbone", "zf5", "--out"]
    assert "ends in .safetensors" in fail(capsys, *given, tmp_path / "own.pth")
    assert f"{source}: byte" in fail(capsys, *given, out)
    assert not out.exists()
    assert "whole numbers" in fail(capsys, *given, out, "--levels", "6,x")
    out.write_bytes(b"x")
    assert "another file" in fail(capsys, "import", out, "--backbone", "zf5", "--out", out)
    assert "weights list: expected no file" in fail(capsys, "list", source)
