"""The conv layers of one image in each form, against torch's default: float32, NCHW.

The image is 375 x 500 pixels resized to 688 x 917. ``max_difference`` is the largest difference of
a value over the largest value.
"""

from __future__ import annotations

import copy

import torch
from comparison import Candidate, Comparison, compare, parse, report
from torch import Tensor, nn

from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig

NETWORKS = ("zf5", "alexnet", "squeezenet", "resnet18_c4", "vgg16")


def relative(a: Tensor, b: Tensor) -> float:
    """Return the largest difference over the largest value."""
    return float((a.float() - b).abs().max() / b.abs().max())


def measure(name: str, repeats: int) -> list[Comparison]:
    """Time one network."""
    plain = load_backbone(BackboneConfig(name=name)).trunk
    last: nn.Module = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    half: nn.Module = copy.deepcopy(last).to(torch.bfloat16)
    pixels = 60 * torch.randn(1, 3, 688, 917, generator=torch.Generator().manual_seed(0))
    pixels_last = pixels.contiguous(memory_format=torch.channels_last)

    def cast() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return last(pixels_last)

    return compare(
        f"conv trunk {name}",
        Candidate(name=f"{name}, float32 NCHW", run=lambda: plain(pixels)),
        [
            Candidate(
                name=f"{name}, float32 channels-last", run=lambda: last(pixels_last), reach=0.0
            ),
            Candidate(
                name=f"{name}, bfloat16 converted once", run=lambda: half(pixels_last.bfloat16())
            ),
            Candidate(name=f"{name}, autocast (never used)", run=cast, reach=0.0),
        ],
        relative,
        repeats,
    )


def main() -> None:
    """Measure and print."""
    options = parse(__doc__.split("\n", maxsplit=1)[0], repeats=5, networks=len(NETWORKS))
    with torch.inference_mode():
        for name in NETWORKS[: options.networks]:
            report(measure(name, options.repeats), options, f"{name}, 688 x 917")


if __name__ == "__main__":
    main()
