"""Detectors as modules that can be traced: tensors in, tensors out, every size dynamic."""

from __future__ import annotations

import copy
import math
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional

from detection.boxes import clip, decode_deltas
from detection.config import FeatureConfig
from detection.detector import Detector
from detection.errors import ConfigError
from detection.export.pooling import pool_by_table
from detection.features.batch_norm import fold_batch_norm
from detection.features.power import power_normalize
from detection.features.projection import shrink_of, windows_of_pixels
from detection.features.rcnn import RcnnExtractor
from detection.features.roi_align import align_pixels, sample_with_torchvision
from detection.features.scale import MAX_ASPECT
from detection.features.sppnet import SppExtractor
from detection.features.trunk import map_layout, taps, trunk_modules
from detection.heads.layer import FcLayer
from detection.heads.scorer import SoftmaxScorer, SvmScorer
from detection.structures import ConvGeometry

MAX_ROIS = 1_000_000


class Maps(nn.Module):
    """The maps that a detector pools, each with its factor, float32, on the CPU.

    Args:
        detector: trained; its conv layers are copied, batch normalisation folded into them.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        backbone, config = detector.extractor.backbone, detector.extractor.config
        self.taps = taps(backbone, config.maps)
        modules = trunk_modules(backbone.trunk)[: max(self.taps) + 1]
        trunk = fold_batch_norm(nn.Sequential(*copy.deepcopy(modules)).cpu().float())
        self.modules_in_order = _copy(trunk)
        self.factors = config.map_scales or (1.0,) * len(self.taps)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return one map per configured name, of normalised images (n, 3, h, w)."""
        found = {}
        for index, module in enumerate(self.modules_in_order.children()):
            image = module(image)
            found[index] = image
        return [found[tap] for tap in self.taps]


class Heads(nn.Module):
    """fc layers, scores and box deltas of pool5, float32, on the CPU."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        fc, scorer = detector.fc, detector.scorer
        self.fc = copy.deepcopy(fc.head).float().cpu().eval() if isinstance(fc, FcLayer) else None
        self.layer: Literal["fc6", "fc7"] = fc.layer if isinstance(fc, FcLayer) else "fc7"
        self.softmax = isinstance(scorer, SoftmaxScorer)
        self.factor = scorer.normaliser.factor if isinstance(scorer, SvmScorer) else 1.0
        if isinstance(scorer, SvmScorer):
            self.scores = _linear(scorer.svms.weight, scorer.svms.bias)
        elif isinstance(scorer, SoftmaxScorer):
            self.scores = _linear(scorer.weight, scorer.bias)
        else:
            message = f"scorer: expected SVMs or softmax, got {type(scorer).__name__}"
            raise TypeError(message)
        self.num_classes = len(detector.class_names)
        regressors = detector.regressors
        self.deltas: nn.Linear | None = None
        self.deltas_read_pool5 = True
        if regressors is not None:
            self.deltas = _linear(regressors.weight.flatten(0, 1), regressors.bias.flatten())
            self.deltas_read_pool5 = regressors.reads == "pool5"

    def forward(self, pool5: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (r, k) and deltas (r, k, 4); the deltas are 0 without regressors."""
        features = pool5 if self.fc is None else self.fc(pool5, self.layer)
        scores = self.scores(features * self.factor)
        if self.softmax:
            scores = scores.softmax(dim=1)[:, :-1]
        if self.deltas is None:
            return scores, scores[:, :, None].expand(-1, -1, 4) * 0
        deltas = self.deltas(pool5 if self.deltas_read_pool5 else features)
        return scores, deltas.unflatten(1, (self.num_classes, 4))


class SppGraph(nn.Module):
    """SPPnet at one scale: image and boxes to scores and refined boxes, before suppression.

    Args:
        detector: trained; its conv layers are copied in float32.

    Raises:
        ConfigError: for several scales.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        backbone, config = detector.extractor.backbone, detector.extractor.config
        if len(config.scales) != 1:
            message = (
                f"features.scales: expected one scale to export, got {list(config.scales)}; one "
                "graph sees one image: train with one scale"
            )
            raise ConfigError(message)
        self.maps = Maps(detector)
        self.heads = Heads(detector)
        self.geometries = map_layout(backbone, config.maps)[0]
        self.projection = config.projection
        self.pooling = config.pooling
        self.inset = detector.inset
        self.reads_size = reads_image_size(detector)
        self.levels = config.levels
        self.power = config.power
        self.longest_side = longest_side(config)
        stride = max(geometry.stride for geometry in self.geometries)
        few_cells = min(3 * stride, config.scales[0])  # one cell is a special case
        self.min_side = max(backbone.min_size, few_cells)

    @staticmethod
    def input_settings(detector: Detector) -> dict[str, object]:
        """Return the settings that an image and its boxes are prepared with."""
        config = detector.extractor.config
        return {
            "short_side": config.scales[0],
            "max_long_side": config.max_long_side,
            "projection": config.projection,
            "pooling": config.pooling,
        }

    def example(self) -> tuple[tuple[Tensor, ...], tuple[Any, ...]]:
        """Return inputs to trace with, and which of their axes are dynamic."""
        height, width = (max(3 * self.min_side + add, 150 + add) for add in (1, 30))
        sides = [Dim(name, min=self.min_side, max=self.longest_side) for name in ("h", "w")]
        boxes = torch.tensor([[0.0, 0, 50, 40], [8, 9, 60, 70], [1, 2, 100, 90]])
        inputs = [torch.zeros(1, 3, height, width), boxes.double()]
        dynamic: list[Any] = [{2: sides[0], 3: sides[1]}, {0: Dim("r", min=1, max=MAX_ROIS)}]
        if self.reads_size:
            inputs.append(torch.tensor([100.0, 120.0], dtype=torch.float64))
            dynamic.append(None)
        return tuple(inputs), tuple(dynamic)

    def longest(self, geometry: ConvGeometry) -> int:
        """Return the most cells that a map of the longest allowed input has along one axis."""
        return math.ceil(self.longest_side / geometry.stride) + 2

    def forward(
        self, image: Tensor, boxes: Tensor, image_size: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return scores (r, k) and boxes (r, k, 4) in input pixels.

        Args:
            image: normalised and resized, (1, 3, h, w), float32.
            boxes: input pixels, (r, 4), float64, so that the cells are those that the package
                computes.
            image_size: (height, width) before resizing, float64; read where ``reads_size`` says so.
        """
        height, width = image.shape[2:]
        first, last = self._input_pixels(boxes, (height, width), image_size)
        parts, fits = [], torch.ones_like(boxes[:, 0], dtype=torch.bool)
        for values, geometry, factor in zip(
            self.maps(image), self.geometries, self.maps.factors, strict=True
        ):
            map_size = (values.shape[2], values.shape[3])
            if self.pooling == "align":
                rois = align_pixels(boxes, geometry, map_size)
                grids = [sample_with_torchvision(values[0], rois.float(), n) for n in self.levels]
                pooled = torch.cat([grid.flatten(1) for grid in grids], dim=1)
            else:
                shrink = shrink_of(self.projection, geometry)
                windows = windows_of_pixels(first, last, geometry, map_size, shrink)
                longest = self.longest(geometry)
                pooled = pool_by_table(values[0], windows, self.levels, longest)
                # a table that is too small would give wrong maxima in silence
                fits = fits & (windows[:, 2:] - windows[:, :2] <= longest).all(dim=1)
            parts.append(pooled if factor == 1.0 else pooled * factor)
        scores, deltas = self.heads(power_normalize(torch.cat(parts, dim=1), self.power))
        refined = clip(
            self._moved(boxes, deltas.double(), (height, width), image_size), (height, width)
        )
        return torch.where(fits[:, None], scores, torch.nan), refined.float()

    def _input_pixels(
        self, boxes: Tensor, size: tuple[int, int], image_size: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Do what `projection.input_pixels` does, on boxes that are scaled already."""
        if image_size is None or self.projection != "released_code":
            return boxes[:, :2], boxes[:, 2:] - 1
        sides, new_sides = _sides(image_size, size)
        factor = (new_sides.min() - 1) / (sides.min() - 1).clamp(min=1)
        unscaled = boxes * sides / new_sides
        return unscaled[:, :2] * factor, (unscaled[:, 2:] - 1) * factor

    def _moved(
        self, boxes: Tensor, deltas: Tensor, size: tuple[int, int], image_size: Tensor | None
    ) -> Tensor:
        """Move the boxes; where sizes are measured inside the edges, in pixels of the image."""
        if image_size is None or not self.inset:
            return decode_deltas(boxes, deltas)
        sides, new_sides = _sides(image_size, size)
        moved = decode_deltas(boxes * sides / new_sides, deltas, inset=self.inset)
        return moved * new_sides / sides


def _sides(image_size: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return (width, height) twice, before and after resizing."""
    new = [torch.scalar_tensor(side, dtype=torch.float64) for side in (size[1], size[0])]
    return image_size.flip(0).repeat(2), torch.stack(new).repeat(2)


class RcnnGraph(nn.Module):
    """R-CNN: warped crops to scores and box deltas.

    Args:
        detector: trained; its conv layers are copied in float32.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        extractor = cast(RcnnExtractor, detector.extractor)
        config = extractor.config
        self.maps = Maps(detector)
        self.last_pool = _copy(extractor.backbone.last_pool)
        self.levels = config.levels if config.maps else ()
        self.heads = Heads(detector)
        self.power = config.power
        self.crop_size: int = extractor.crop_size

    @staticmethod
    def input_settings(detector: Detector) -> dict[str, object]:
        """Return the settings that crops are prepared with."""
        extractor = cast(RcnnExtractor, detector.extractor)
        config, crop_size = extractor.config, extractor.crop_size
        return {"crop_size": crop_size, "context": config.context, "warp": config.warp}

    def example(self) -> tuple[tuple[Tensor, ...], tuple[Any, ...]]:
        """Return inputs to trace with, and which of their axes are dynamic."""
        side = self.crop_size
        return (torch.zeros(2, 3, side, side),), ({0: Dim("n", min=1, max=MAX_ROIS)},)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (n, k) and deltas (n, k, 4) of normalised crops (n, 3, s, s), float32."""
        maps = self.maps(crops)
        pool5 = self.last_pool(maps[0]).flatten(1)
        if self.levels:
            pool5 = torch.cat(
                [
                    grid_max(values, level).flatten(1) * factor
                    for values, factor in zip(maps, self.maps.factors, strict=True)
                    for level in self.levels
                ],
                dim=1,
            )
        scores, deltas = self.heads(power_normalize(pool5, self.power))
        return scores, deltas


def grid_max(values: Tensor, level: int) -> Tensor:
    """Return the result of ``adaptive_max_pool2d``, by operations that other runtimes have.

    Args:
        values: maps (n, c, h, w) of a size that the graph knows.
        level: side of the grid.
    """
    rows, columns = (int(side) for side in values.shape[2:])
    bins = [
        values[:, :, _bin(i, rows, level), _bin(j, columns, level)].amax(dim=(2, 3))
        for i in range(level)
        for j in range(level)
    ]
    return torch.stack(bins, dim=2)


def _bin(index: int, side: int, level: int) -> slice:
    return slice(index * side // level, -(-(index + 1) * side // level))


def reads_image_size(detector: Detector) -> bool:
    """Return whether SPPnet's graph must know the size of the image before it was resized."""
    config = detector.config.features
    projects = config.projection == "released_code" and config.pooling == "max"
    return projects or detector.inset > 0


def graph_class(detector: Detector) -> type[SppGraph] | type[RcnnGraph]:
    """Return the kind of graph that does what the detector's extractor does."""
    graphs: dict[type, type[SppGraph] | type[RcnnGraph]] = {
        SppExtractor: SppGraph,
        RcnnExtractor: RcnnGraph,
    }
    return graphs[type(detector.extractor)]


def longest_side(config: FeatureConfig) -> int:
    """Return the longest side a resized image can have."""
    return min(config.max_long_side or math.inf, MAX_ASPECT * config.scales[0]).__ceil__()


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight.float().cpu(), "bias": bias.float().cpu()})
    return layer.requires_grad_(requires_grad=False)


def _copy(module: nn.Module) -> nn.Module:
    """Return a contiguous float32 copy on the CPU that can be traced."""
    own = copy.deepcopy(module).cpu().float().to(memory_format=torch.contiguous_format)
    return _without_ceil(own).requires_grad_(requires_grad=False).eval()


class PaddedMaxPool(nn.Module):
    """A max pool that rounds up, as one that rounds down on a map with a border of -inf.

    Whether the last window of a pool that rounds up is dropped depends on the size, which a traced
    graph must not ask. Where the kernel is wide enough it never is.
    """

    def __init__(self, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.border = (padding, padding + stride - 1) * 2
        self.pool = nn.MaxPool2d(kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the result of ``MaxPool2d(kernel, stride, padding, ceil_mode=True)``."""
        pooled: Tensor = self.pool(functional.pad(x, self.border, value=-torch.inf))
        return pooled


def _without_ceil(module: nn.Module) -> nn.Module:
    """Return the module with its ceil-mode pools replaced by equivalent ones."""
    if isinstance(module, nn.MaxPool2d) and module.ceil_mode and module.dilation == 1:
        sizes = module.kernel_size, module.stride, module.padding
        kernel, stride, padding = (size if isinstance(size, int) else -1 for size in sizes)
        if min(kernel, stride, padding) >= 0 and padding + stride - 1 < kernel:
            return PaddedMaxPool(kernel, stride, padding)
    for name, child in module.named_children():
        setattr(module, name, _without_ceil(child))
    return module
