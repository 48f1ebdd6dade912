"""What a training step on a CPU takes from its operators, forward and backward, against torch's.

A depthwise convolution of 5 x 5 weights, two cells apart, on 4 maps of 1,152 x 30 x 40 cells, and
the pyramid 1, 2, 3 of 96 windows on each of 4 maps of 1,392 x 30 x 40 cells, and RoIAlign of 7 x 7
bins on them. Then the conv part of a whole step of EfficientNet-Lite0, its last 5 stages open, 4
images of 480 x 640: every layer on all threads, or every image on one.
``max_difference`` is the largest difference of a gradient over the largest gradient; that of the
convolution is to float32 gradients of the same numbers, as oneDNN's own in bfloat16 can be wrong.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial

import torch
from comparison import Candidate, Comparison, compare, parse, report
from pooling_cases import make_windows
from torch import Tensor, nn

from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig, FeatureConfig
from detection.features.depthwise import with_fast_depthwise
from detection.features.factory import make_extractor
from detection.features.pyramid import Layout, Pool, pool_with_torch, pyramid_pool
from detection.features.roi_align import align_pool, sample_with_torchvision
from detection.structures import Image
from detection.training.image_threads import map_with_gradients

LEVELS = (1, 2, 3)
ROWS, COLUMNS = 30, 40
CPU = torch.device("cpu")
GENERATOR = torch.Generator().manual_seed(0)


def random_maps(count: int, channels: int, dtype: torch.dtype) -> Tensor:
    """Return maps with channels last that want a gradient."""
    maps = torch.randn(count, channels, ROWS, COLUMNS, generator=GENERATOR).to(dtype)
    return maps.contiguous(memory_format=torch.channels_last).requires_grad_()


def relative(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> float:
    """Return the largest difference of any gradient over the largest of its kind."""
    pairs = zip(a, b, strict=True)
    return max(float((x.float() - y.float()).abs().max() / y.float().abs().max()) for x, y in pairs)


def depthwise(images: int, repeats: int, dtype: torch.dtype) -> list[Comparison]:
    """Time the convolution."""
    channels = 1152
    plain = nn.Conv2d(channels, channels, 5, padding=4, dilation=2, groups=channels, bias=False)
    plain = plain.to(dtype)
    maps = random_maps(images, channels, dtype)
    weights = random_maps(images, channels, dtype).detach()

    def step(conv: nn.Module) -> tuple[Tensor, ...]:
        return torch.autograd.grad(conv(maps), (maps, plain.weight), weights)

    wide, full = copy.deepcopy(plain).float(), maps.detach().float().requires_grad_()
    exact = torch.autograd.grad(wide(full), (full, wide.weight), weights.float())
    name = str(dtype).removeprefix("torch.")
    return compare(
        f"depthwise convolution, forward and backward, {name}",
        Candidate(name="nn.Conv2d", run=partial(step, plain)),
        [Candidate(name="DepthwiseConv2d", run=partial(step, with_fast_depthwise(plain)))],
        lambda found, _: relative(found, exact),
        repeats,
    )


def pooling(images: int, rois: int, repeats: int, dtype: torch.dtype) -> list[Comparison]:
    """Time the pyramid; between distinct values, as of equal ones the ways choose others."""
    cells = ROWS * COLUMNS
    order = torch.rand(images, 1392, cells, generator=GENERATOR).argsort(dim=2)
    # Neighbouring bits of bfloat16 are neighbouring values: no two cells of a channel are equal.
    values = (order + 0x3C00).to(torch.int16).view(torch.bfloat16).to(dtype)
    maps = values.view(images, 1392, ROWS, COLUMNS).contiguous(memory_format=torch.channels_last)
    maps.requires_grad_()
    windows = [make_windows(rois, ROWS, COLUMNS, GENERATOR) for _ in range(images)]
    weights = torch.randn(images * rois, 1392 * sum(n * n for n in LEVELS), generator=GENERATOR)

    def step(pool: Pool, layout: Layout = "paper") -> tuple[Tensor, ...]:
        pairs = zip(maps.unbind(), windows, strict=True)
        pooled = torch.cat([pool(values, some, LEVELS, layout) for values, some in pairs])
        return torch.autograd.grad(pooled, maps, weights)

    def ours(values: Tensor, some: Tensor, levels: Sequence[int], layout: Layout) -> Tensor:
        return pyramid_pool(values, some, levels, layout=layout)

    name = str(dtype).removeprefix("torch.")
    return compare(
        f"pyramid pooling, forward and backward, {name}",
        Candidate(name="torch's operations", run=partial(step, pool_with_torch)),
        [Candidate(name="pyramid_pool", run=partial(step, ours))],
        relative,
        repeats,
    )


def aligning(images: int, rois: int, repeats: int) -> list[Comparison]:
    """Time RoIAlign, in float32."""
    maps = random_maps(images, 1392, torch.float32)
    windows = [make_windows(rois, ROWS, COLUMNS, GENERATOR).float() for _ in range(images)]
    weights = torch.randn(images * rois, 1392 * 49, generator=GENERATOR)

    def step(pool: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, ...]:
        pooled = torch.cat([pool(*pair) for pair in zip(maps.unbind(), windows, strict=True)])
        return torch.autograd.grad(pooled, maps, weights)

    return compare(
        "RoIAlign of 7 x 7 bins, forward and backward, float32",
        Candidate(
            name="torchvision",
            run=partial(step, lambda v, some: sample_with_torchvision(v, some, 7).flatten(1)),
        ),
        [
            Candidate(
                name="align_pool", run=partial(step, lambda v, some: align_pool(v, some, (7,)))
            )
        ],
        relative,
        repeats,
    )


def images_on_threads(images: int, rois: int, repeats: int) -> list[Comparison]:
    """Time conv layers and pooling of a step, with the threads shared in either way."""
    backbone = load_backbone(BackboneConfig(name="efficientnet_lite0"), to_train=True)
    features = FeatureConfig(
        scales=(480,), levels=LEVELS, maps=("head", "stage5"), device="cpu", dtype="float32"
    )
    extractor = make_extractor(backbone, features).unfreeze(5)
    boxes = torch.rand(images, rois, 4, generator=GENERATOR) * torch.tensor([320, 240, 319, 239])
    boxes[..., 2:] += boxes[..., :2] + 1
    pixels = torch.randint(256, (images, 480, 640, 3), generator=GENERATOR, dtype=torch.uint8)
    maps = [extractor.run_frozen(Image(image_id="", pixels=image)) for image in pixels]
    trained = list(extractor.trainable.parameters())

    def pooled(index: int) -> Tensor:
        return extractor.pool(extractor.run_trainable(maps[index]), boxes[index]).expand()

    def step(shared: bool) -> tuple[Tensor, ...]:
        which = range(images)
        parts = map(pooled, which) if shared else map_with_gradients(pooled, which, trained, CPU)
        return torch.autograd.grad(torch.cat(list(parts)).square().mean(), trained)

    return compare(
        "conv layers and pooling of a step, forward and backward, float32",
        Candidate(name="each layer on all threads", run=partial(step, True)),
        [Candidate(name="each image on a thread", run=partial(step, False))],
        relative,
        repeats,
    )


def main() -> None:
    """Measure and print."""
    options = parse(__doc__.split("\n", maxsplit=1)[0], images=4, rois=96, repeats=9)
    for dtype in (torch.bfloat16, torch.float32):
        results = depthwise(options.images, options.repeats, dtype)
        report(results, options, f"{options.images} maps of 1152 x 30 x 40, {dtype}")
        results = pooling(options.images, options.rois, options.repeats, dtype)
        report(results, options, f"{options.images} maps of 1392 x 30 x 40, {dtype}")
    results = aligning(options.images, options.rois, options.repeats)
    report(results, options, f"{options.images} maps of 1392 x 30 x 40, float32")
    results = images_on_threads(options.images, options.rois, options.repeats)
    report(results, options, f"{options.images} images of 480 x 640")


if __name__ == "__main__":
    main()
