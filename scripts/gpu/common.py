"""What the steps of ``scripts/gpu/run`` share: their options, the device, the file of results.

The device ``fakegpu`` is that of the tests: it computes on the CPU and refuses what a GPU refuses,
so that every step can be run where there is no GPU. With ``--smoke`` each takes its smallest sizes,
and a network of two layers where no trained one is needed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from detection.cli import main as command_line
from detection.config import DataConfig
from detection.io.device import device_name
from detection.io.files import write_json_atomic
from detection.runs.environment import describe_environment

ROOT = Path(__file__).parents[2]
KEPT = ("detection", "revision", "python", "platform", "processor", "cpu_count", "gpus", "cuda")
sys.path.append(str(ROOT / "scripts" / "benchmarks"))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a step is told.

    Attributes:
        device: name of it.
        voc: a VOC folder of images with annotations.
        weights: file of SqueezeNet's weights.
        work: folder for runs and boxes.
        out: folder of the results.
        smoke: whether the smallest sizes are wanted, their numbers thrown away.
        words: what else the step was told.
    """

    device: torch.device
    voc: Path
    weights: Path
    work: Path
    out: Path
    smoke: bool
    words: argparse.Namespace

    @property
    def data(self) -> DataConfig:
        """Return the data set, with its lists to train and to test on."""
        splits = ("trainval", "test") if self.smoke else ("train", "val")
        return DataConfig(root=str(self.voc), train_split=splits[0], test_split=splits[1])

    @property
    def boxes(self) -> str:
        """Return the folder of the boxes, which the steps share."""
        return str(self.work / "proposals")

    def images(self) -> Path:
        """Return the folder of the images.

        Raises:
            SystemExit: if there is none.
        """
        for folder in (self.voc, *sorted(self.voc.glob("VOC*"))):
            if (folder / "JPEGImages").is_dir():
                return folder / "JPEGImages"
        sys.exit(f"{self.voc}: expected a VOC folder, got none; scripts/gpu/bundle makes one")


def read_settings(description: str | None, **words: tuple[str, ...]) -> Settings:
    """Read the command line, and make the device known.

    Args:
        description: of the step.
        words: name -> choices of what the step wants to know besides.
    """
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    for name, choices in words.items():
        parser.add_argument(name, choices=choices)
    parser.add_argument("--device", default="cuda")
    for name in ("voc", "weights", "work", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.device == "fakegpu":
        from tests.devices.fake_gpu import install

        install()
    if options.smoke:
        torch.set_num_threads(1)
    known = {name: getattr(options, name) for name in ("voc", "weights", "work", "out", "smoke")}
    return Settings(device=torch.device(options.device), words=options, **known)


def know_small_network() -> None:
    """Make the network ``tiny`` known, which stands in for larger ones with ``--smoke``."""
    from detection.backbones.weights import BACKBONES
    from tests.classification.tiny_classifier import tiny_blueprint

    BACKBONES["tiny"] = tiny_blueprint


def write(settings: Settings, name: str, values: Mapping[str, Any]) -> None:
    """Write the results of a step, with the card and the rest of the machine."""
    described = describe_environment()
    result = {
        "card": device_name(settings.device),
        "smoke": settings.smoke,
        **values,
        "environment": {key: described[key] for key in KEPT}
        | {"torch": torch.__version__, "processors": len(os.sched_getaffinity(0))},
    }
    write_json_atomic(settings.out / f"gpu_{name}.json", result)


def detection(*words: object) -> None:
    """Run a command of the package.

    Raises:
        SystemExit: where it fails.
    """
    print("detection", *words)
    if code := command_line([str(word) for word in words]):
        sys.exit(code)


def reset_peak_memory(device: torch.device) -> None:
    """Let `peak_memory_gib` count from here."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_gib(device: torch.device) -> float | None:
    """Return the most memory that tensors took; None where the device does not count it."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
