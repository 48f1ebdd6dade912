"""All commands, in the order of the help.

A command reads the options, imports what it needs and calls one function. Every import that costs
time happens inside it, so that ``--help`` is instant.
"""

from __future__ import annotations

from detection.cli.command import Command
from detection.cli.commands.classifier import CLASSIFIER_COMMANDS
from detection.cli.commands.configs import CONFIGS_COMMANDS
from detection.cli.commands.data import DATA_COMMANDS
from detection.cli.commands.detector import DETECTOR_COMMANDS
from detection.cli.commands.explore import EXPLORE_COMMANDS
from detection.cli.commands.export import EXPORT_COMMANDS
from detection.cli.commands.features import FEATURES_COMMANDS
from detection.cli.commands.reproduce import REPRODUCE_COMMANDS
from detection.cli.commands.serve import SERVE_COMMANDS
from detection.cli.commands.weights import WEIGHTS_COMMANDS

COMMANDS: dict[str, Command] = {
    **DATA_COMMANDS,
    **DETECTOR_COMMANDS,
    **EXPLORE_COMMANDS,
    **FEATURES_COMMANDS,
    **SERVE_COMMANDS,
    **EXPORT_COMMANDS,
    **CLASSIFIER_COMMANDS,
    **REPRODUCE_COMMANDS,
    **WEIGHTS_COMMANDS,
    **CONFIGS_COMMANDS,
}
