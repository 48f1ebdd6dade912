"""Weights in files."""

import torch
from safetensors.torch import save_file

from detection.config import BackboneConfig


def saved(tmp_path, tensors, name="weights.safetensors"):
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return str(path)


def squeezenet(**settings):
    return BackboneConfig(name="squeezenet", **{"preprocessing": "torchvision", **settings})
