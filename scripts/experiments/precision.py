"""Is float32 or bfloat16 faster on this processor, and which one does `auto` take?

Times the conv layers of each network on one image of 480 x 640, on one thread, by the processor's
own seconds, so that other work on the machine disturbs little. The weights are random.

    python scripts/experiments/precision.py zf5 vgg16
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig, FeatureConfig
from detection.features.trunk import ConvTrunk
from detection.io.device import resolve_dtype

NETWORKS = ("zf5", "alexnet", "squeezenet", "vgg16", "efficientnet_lite0")
DTYPES = ("float32", "bfloat16")
IMAGE = (1, 3, 480, 640)


def milliseconds(trunk: ConvTrunk, repeats: int) -> float:
    """Return the median of the processor's milliseconds for one image."""
    image = torch.rand(IMAGE, generator=torch.Generator().manual_seed(0))
    trunk.conv(image)
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        trunk.conv(image)
        taken.append(1e3 * (time.process_time() - start))
    return statistics.median(taken)


def row(name: str, repeats: int) -> str:
    """Return a network's line of the table."""
    backbone = load_backbone(BackboneConfig(name=name))
    times = {
        dtype: milliseconds(ConvTrunk(backbone, FeatureConfig(dtype=dtype)), repeats)  # type: ignore[arg-type]
        for dtype in DTYPES
    }
    ratio = times["float32"] / times["bfloat16"]
    return f"| {name} | {times['float32']:.0f} ms | {times['bfloat16']:.0f} ms | {ratio:.2f} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS, help="names of backbones")
    parser.add_argument("--repeats", type=int, default=5, help="images each (default: 5)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = str(resolve_dtype("auto", torch.device("cpu"))).removeprefix("torch.")
    print(f"auto takes {chosen}\n\n| conv layers | float32 | bfloat16 | ratio |\n|---|---|---|---|")
    for name in options.networks:
        print(row(name, options.repeats), flush=True)
