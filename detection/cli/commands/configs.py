"""The command on the configurations that come with the package."""

from __future__ import annotations

import argparse

from detection.cli.command import Command, option
from detection.config import Config


def configs(options: argparse.Namespace, config: Config) -> None:
    """List the presets with their published scores, or print one of them.

    'configs NAME' prints the file of a preset, to start a configuration from: 'detection configs
    own > mine.yaml'.
    """
    from detection.runs.presets import find_preset, format_presets, list_presets

    if options.name is not None:
        print(find_preset(options.name).read_text(encoding="utf-8"), end="")
    else:
        print(format_presets(list_presets()))


CONFIGS_COMMANDS = {
    "configs": Command(
        run=configs,
        options=(option("name", "the preset to print", nargs="?"),),
    ),
}
