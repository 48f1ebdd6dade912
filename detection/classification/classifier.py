"""A classifier: conv layers, one vector per image, fc6, fc7, fc8 (SPP §3)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool2d

from detection.backbones.backbone import Backbone
from detection.backbones.weights import initialise, load_backbone
from detection.backbones.zf5 import initialise_for_pretraining
from detection.config import Config
from detection.errors import ConfigError, require
from detection.heads.fc import FcHead

_STD = 0.01


class PyramidPool(nn.Module):
    """The whole map, whatever its size, as one vector (SPP §2.2).

    Law: the same numbers as ``features.pyramid.pyramid_pool`` of the window that is the whole map.

    Args:
        levels: sides of the grids.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.levels = tuple(levels)

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Return the concatenated levels, each in the order channel, row, column."""
        return torch.cat([adaptive_max_pool2d(maps, n).flatten(1) for n in self.levels], dim=1)


class Classifier(nn.Module):
    """A trunk, its pool, and the fc layers.

    Attributes:
        backbone_name: of the trunk.
        trunk: normalised images -> conv5.
        pool: conv5 -> vectors.
        fc: fc6 and fc7.
        fc8: one number per class.
        levels: of the pyramid; None with the network's own last pool.
        preprocessing, geometry, min_size: of the backbone.
    """

    def __init__(
        self, backbone: Backbone, fc: FcHead, num_classes: int, levels: Sequence[int] | None
    ) -> None:
        super().__init__()
        self.backbone_name = backbone.name
        self.trunk = backbone.trunk
        self.pool = make_pool(backbone, levels)
        self.fc = fc
        self.fc8 = nn.Linear(fc.out_features, num_classes)
        self.levels = None if levels is None else tuple(levels)
        self.preprocessing = backbone.preprocessing
        self.geometry = backbone.geometry
        self.min_size = backbone.min_size

    def forward(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n k"]:
        """Return the logits of RGB images, 0..255."""
        return self.classify(self.pooled(pixels))

    def pooled(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Return the vectors that fc6 reads, of RGB images, 0..255."""
        vectors: Tensor = self.pool(self.conv(pixels))
        return vectors

    def conv(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c rows columns"]:
        """Return conv5 of RGB images, 0..255."""
        inputs = self.preprocessing.apply(pixels)
        maps: Tensor = self.trunk(inputs.contiguous(memory_format=torch.channels_last))
        return maps

    def classify(self, pooled: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Return the logits of pooled vectors."""
        scores: Tensor = self.fc8(self.fc(pooled))
        return scores


def make_pool(backbone: Backbone, levels: Sequence[int] | None) -> nn.Module:
    """Return the pyramid or, for None, the network's own last pool (fixed input size)."""
    if levels is not None:
        return PyramidPool(levels)
    return nn.Sequential(backbone.last_pool, nn.Flatten())


def build_classifier(config: Config, num_classes: int) -> Classifier:
    """Return a classifier before training: pretrained layers keep their weights.

    Args:
        config: the backbone with its weights; the head in ``pretrain``.
        num_classes: how many.

    Raises:
        ConfigError: for an input that the network cannot take, and frozen layers without weights.
        CheckpointError: if the weights cannot be had or do not fit.
    """
    settings = config.pretrain
    untrained = config.backbone.weights == "none"
    require(
        not untrained or settings.open_layers == -1,
        "pretrain.open_layers",
        "-1 for a network without weights",
        settings.open_layers,
    )
    backbone = load_backbone(config.backbone, to_train=True)
    smallest = min(settings.sizes)
    location, expected = "pretrain.sizes", f"at least {backbone.min_size} for {backbone.name}"
    require(smallest >= backbone.min_size, location, expected, smallest)
    levels = settings.levels if settings.head == "spp" else None
    feature_dim = _feature_dim(backbone, levels, settings.crop)
    generator = torch.Generator().manual_seed(settings.seed)
    published = backbone.fc
    if published is not None and published.get_submodule("fc6").in_features == feature_dim:
        fc = FcHead.from_module(published, dropout=settings.dropout).requires_grad_()
    else:
        fc = FcHead(feature_dim, size=settings.fc_size, dropout=settings.dropout)
        initialise_fc(fc.layers, settings.init, generator)
    classifier = Classifier(backbone, fc, num_classes, levels)
    nn.init.normal_(classifier.fc8.weight, std=_STD, generator=generator)
    nn.init.zeros_(classifier.fc8.bias)
    if untrained:
        initialise_trunk(classifier, settings.init, generator)
    open_trunk(classifier.trunk, settings.open_layers)
    return classifier.to(memory_format=torch.channels_last)


def initialise_trunk(classifier: Classifier, rule: str, generator: torch.Generator) -> None:
    """Draw the conv layers in place.

    Args:
        classifier: any.
        rule: ``paper``: N(0, 0.01), biases 0, in ZF-5 as the release has them; or ``kaiming``.
        generator: of the weights.
    """
    trunk = classifier.trunk
    initialise(trunk, generator)
    if rule != "paper":
        return
    if classifier.backbone_name == "zf5":
        initialise_for_pretraining(trunk, generator)
        return
    for layer in conv_layers(trunk):
        nn.init.normal_(layer.weight, std=_STD, generator=generator)


def initialise_fc(layers: Sequence[nn.Linear], rule: str, generator: torch.Generator) -> None:
    """Draw fc layers in place: ``paper`` N(0, 0.01) and bias 1 (the release), or ``kaiming``."""
    for layer in layers:
        std = _STD if rule == "paper" else math.sqrt(2 / layer.in_features)
        nn.init.normal_(layer.weight, std=std, generator=generator)
        nn.init.constant_(layer.bias, 1.0 if rule == "paper" else 0.0)


def conv_layers(trunk: nn.Module) -> list[nn.Conv2d]:
    """Return a trunk's conv layers in order."""
    return [layer for layer in trunk.modules() if isinstance(layer, nn.Conv2d)]


def open_trunk(trunk: nn.Module, count: int) -> None:
    """Let the last ``count`` conv layers of a trunk be trained, all of it for -1.

    Normalisation layers are trained only with the whole trunk.

    Raises:
        ConfigError: if it has not so many.
    """
    trunk.requires_grad_(count == -1)
    layers = conv_layers(trunk)
    location, expected = "pretrain.open_layers", f"at most the network's {len(layers)} conv layers"
    require(count <= len(layers), location, expected, count)
    for layer in layers[len(layers) - max(count, 0) :]:
        layer.requires_grad_()


def set_training(classifier: Classifier) -> None:
    """Switch dropout on; normalisation layers collect statistics only in an open trunk."""
    classifier.train()
    classifier.trunk.train(all(p.requires_grad for p in classifier.trunk.parameters()))


def _feature_dim(backbone: Backbone, levels: Sequence[int] | None, side: int) -> int:
    """Return fc6's input length; without a pyramid it follows from the input size."""
    if levels is not None:
        return backbone.channels * sum(n * n for n in levels)
    try:
        with torch.no_grad():
            conv5 = backbone(torch.zeros(1, 3, side, side))
            return int(make_pool(backbone, None)(conv5).shape[1])
    except RuntimeError as error:
        message = (
            f"pretrain.sizes: expected an input large enough for the last pool of {backbone.name}, "
            f"got {side}"
        )
        raise ConfigError(message) from error
