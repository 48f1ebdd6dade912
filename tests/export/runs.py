"""A run to export."""

import subprocess
import sys

from detection.backbones.weights import load_backbone
from detection.benchmark.instrument import untrained_detector
from detection.config import BackboneConfig, Config, FeatureConfig
from detection.model_io import save_detector
from detection.runs.config_io import write_config


def make_run(folder, **features):
    features = {"layer": "pool5", "scales": (64,), "levels": (1, 2), "device": "cpu"} | features
    config = Config(
        features=FeatureConfig(**features),
        backbone=BackboneConfig(name="squeezenet", preprocessing="torchvision"),
    )
    folder.mkdir()
    (folder / "config.yaml").write_text(write_config(config))
    detector = untrained_detector(load_backbone(config.backbone, to_train=True), config, 2)
    save_detector(folder / "model.safetensors", detector)
    return folder


def run_command(*arguments):
    """Run it in a process of its own, where shapes are not checked, as a user would."""
    command = [sys.executable, "-m", "detection", "export", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
