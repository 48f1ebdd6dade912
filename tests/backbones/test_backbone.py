import torch
from safetensors.torch import save_file

from detection.backbones.backbone import PREPROCESSINGS
from detection.backbones.weights import load_backbone
from tests.backbones.saved import squeezenet


def test_a_file_can_name_its_preprocessing(tmp_path, state):
    path = tmp_path / "w.safetensors"
    save_file(state, path, metadata={"preprocessing": "caffe"})
    backbone = load_backbone(squeezenet(weights=str(path), preprocessing="auto"))
    assert backbone.preprocessing == PREPROCESSINGS["caffe"]


def test_preprocessing_makes_the_mean_zero():
    torchvision = PREPROCESSINGS["torchvision"]
    mean = torch.tensor(torchvision.mean).view(1, 3, 1, 1) * 255
    assert torchvision.apply(mean).abs().max() < 1e-6
    white = torchvision.apply(torch.full((1, 3, 1, 1), 255.0)).flatten()
    expected = [(1 - m) / s for m, s in zip(torchvision.mean, torchvision.std, strict=True)]
    assert torch.allclose(white, torch.tensor(expected))
    rgb = torch.tensor([123.0, 117, 104]).view(1, 3, 1, 1)
    assert PREPROCESSINGS["caffe"].apply(rgb).abs().max() == 0
