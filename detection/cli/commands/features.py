"""The command ``features``: vectors of boxes, for use elsewhere."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from detection.cli.command import PARALLEL, Command, folder, option, parallel_of, report_images
from detection.config import Config
from detection.errors import ConfigError


def features(options: argparse.Namespace, config: Config) -> int:
    """Write the feature vectors of the boxes of all images, a file an image, for use elsewhere.

    They are those of a trained detector, --run, or of the network that the settings name. A file
    holds boxes, the distinct vectors and the row of each box; features.json says whose it is.
    Again, only what is missing is done. The exit code is 1 if an image could not be read.
    """
    from detection.data.folder import list_images
    from detection.inference.inputs import open_inputs
    from detection.runs.folder import model_file

    if options.run is not None:
        model_file(options.run)
        _require_network_of_run(options, config)
    with open_inputs(options.inputs) as inputs:
        if inputs.videos:
            message = f"inputs: expected images, got {inputs.videos[0]}; detect takes videos"
            raise ConfigError(message)
        list_images(inputs.images)
        from detection.inference.features import extract_features

        summary = extract_features(
            config,
            inputs.images,
            options.out,
            run=options.run,
            called=inputs.called,
            parallel=parallel_of(options),
        )
    return report_images(options.out, summary)


def _of_run_or_defaults(options: argparse.Namespace) -> Config:
    """Start from the configuration of the run, where there is one."""
    from detection.runs.folder import read_run_config

    return Config() if options.run is None else read_run_config(options.run)


def _require_network_of_run(options: argparse.Namespace, config: Config) -> None:
    """Stop where another network was asked for than the run's own.

    Raises:
        ConfigError: naming what is different.
    """
    stored = _of_run_or_defaults(options)
    own, asked = stored.features, config.features
    if asked.layer not in {"pool5", own.layer}:
        layers = " or ".join(dict.fromkeys((own.layer, "pool5")))
        message = f"features.layer: expected {layers} of {options.run}, got {asked.layer}"
        raise ConfigError(message)
    same = replace(asked, layer=own.layer, device=own.device) == own
    if not same or config.backbone != stored.backbone:
        message = (
            f"--run: expected the backbone and the features of {options.run}, got others; leave "
            "--run out, or all but features.layer and features.device"
        )
        raise ConfigError(message)


FEATURES_COMMANDS = {
    "features": Command(
        run=features,
        options=(
            option("inputs", "images, folders of images, patterns and addresses", nargs="+"),
            option(
                "--run",
                "the folder of a trained detector; without it the network of backbone and features",
                type=Path,
                metavar="FOLDER",
            ),
            folder("--out", "where to write", "runs/features"),
            *PARALLEL,
        ),
        base=_of_run_or_defaults,
        sections=("data", "proposals", "backbone", "features"),
    )
}
