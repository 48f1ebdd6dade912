"""R-CNN against SPPnet on whole images, beside the bound that their operations set on this card.

At equal precision and at one rate for all products, a method's network takes its operations over
the rate, and the ratio of the methods is that of their operations: no implementation that reaches
the rate in both gets more. The rate is that of a large square product in the same run.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from common import (
    Settings,
    detection,
    know_small_network,
    peak_memory_gib,
    read_settings,
    reset_peak_memory,
    write,
)

from detection.config import ProposalConfig
from detection.data.folder import list_images
from detection.io.device import seconds_on, use_exact_float32

CASES = (("zf5", "bfloat16"), ("vgg16", "bfloat16"), ("zf5", "float32"), ("vgg16", "float32"))
PAPER = {"conv_s": 270.0, "network_s": 102.0}
"""R-CNN over SPPnet, both with ZF-5 at one scale, on a card of 2014 (SPP Table 10)."""
FEW_BOXES = 300
"""Where the fc layers of SPPnet see so many boxes only."""


def product_rate(device: torch.device, dtype: torch.dtype, size: int, repeats: int = 5) -> float:
    """Return the operations a second of a square product, the best of some."""
    use_exact_float32()
    a, b = (torch.randn(size, size).to(device, dtype) for _ in range(2))
    seconds = min(seconds_on(device, lambda: a @ b) for _ in range(1 + repeats))
    return 2 * size**3 / seconds


def compare_methods(result: Mapping[str, Any], rate: float) -> dict[str, Any]:
    """Return the ratios of the methods beside what their operations allow.

    Args:
        result: a benchmark.json.
        rate: operations a second.
    """
    sppnet, rcnn = (result["flops"][name] for name in ("sppnet", "rcnn"))
    whole = {name: sum(flops.values()) for name, flops in result["flops"].items()}
    few = sppnet["conv"] + sppnet["fc"] * FEW_BOXES / result["median_boxes"]
    unbroken = result["unbroken"]
    network, image = (
        unbroken["rcnn"][key]["median"] / unbroken["sppnet"][key]["median"]
        for key in ("network_s", "without_proposals_s")
    )
    conv, conv_flops = result["ratios"]["conv_s"], result["ratios"]["conv_flops"]
    bound = whole["rcnn"] / whole["sppnet"]
    return {
        "conv": {"ratio": conv, "flops": conv_flops, "share": conv / conv_flops},
        "network": {"ratio": network, "bound": bound, "share": network / bound},
        "image": {"ratio": image},
        "bound_few_boxes": (rcnn["conv"] + rcnn["fc"]) / few,
        "floor_s": {name: flops / rate for name, flops in whole.items()},
        "paper": PAPER,
    }


def measure(settings: Settings, images: Path, backbone: str, dtype: str) -> dict[str, Any]:
    """Time one network in one precision."""
    rate = product_rate(settings.device, getattr(torch, dtype), 64 if settings.smoke else 8192)
    out = settings.work / f"benchmark_{backbone}_{dtype}"
    words = ["--backbone.name", backbone, "--features.dtype", dtype, "--out", out]
    words += ["--features.device", settings.device, "--images", images, "--num_images", 2]
    words += ["--proposals.mode", "paper_fast", "--repeats", 1 if settings.smoke else 3]
    if settings.smoke:
        words += ["--proposals.max_boxes", 20, "--features.scales", 96, "--features.context", 4]
    reset_peak_memory(settings.device)
    detection("benchmark", *words)
    result = json.loads((out / "benchmark.json").read_text(encoding="utf-8"))
    kept = ("backbone", "dtype", "median_boxes", "num_images", "repeats", "flops", "ratios")
    seconds = {
        name: {key: values[key] for key in ("conv_s", "network_s", "without_proposals_s")}
        for name, values in result["methods"].items()
    }
    return {
        **{key: result[key] for key in kept},
        "seconds": seconds,
        "unbroken": result["unbroken"],
        "product_flops_s": rate,
        "peak_gib": peak_memory_gib(settings.device),
        "against_operations": compare_methods(result, rate),
    }


def main() -> None:
    """Choose images that are full of boxes, time case after case, write after each."""
    settings = read_settings(__doc__)
    if settings.smoke:
        know_small_network()
    from whole_image import with_many_boxes  # of scripts/benchmarks

    cases = (("tiny", "float32"),) if settings.smoke else CASES
    config = ProposalConfig(mode="paper_fast", max_boxes=20 if settings.smoke else 2000)
    paths = list_images([settings.images()])
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for path in with_many_boxes(paths, 1 if settings.smoke else 2, config):
            shutil.copy(path, name)
        for backbone, dtype in cases:
            found.append(measure(settings, Path(name), backbone, dtype))
            write(settings, "methods", {"cases": found})
            print(json.dumps(found[-1]["against_operations"], indent=1))


if __name__ == "__main__":
    main()
