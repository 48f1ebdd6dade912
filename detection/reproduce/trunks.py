"""Other trunks to make the papers' tables on, where the weights of theirs are not at hand.

Nothing here imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from detection.config import BackboneConfig
from detection.errors import ConfigError
from detection.reproduce.table import SVM_TASKS, Row, Table
from detection.runs.config_io import Departures, did_you_mean, read_config_file
from detection.runs.presets import find_preset, preset_names

_FOLDER = "trunks/"
_PAPERS_SCALE = 688
"""The short side of the papers' one scale, to which the others stand in a ratio (SPP §4.1)."""
_STEP = 16
_IN_NAMES = {"zf5": "", "overfeat7": "", "alexnet": "", "vgg16": "as-vgg16-"}
"""Networks in the names of trainings. But for VGG16's they differ in nothing but the network."""
_IN_ROWS = re.compile(r" \((?:ZF-5|Overfeat-7|AlexNet|VGG16)\)")
_WHOSE = ("name", "weights", "preprocessing", "output_stride")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trunk:
    """A network that takes the place of the papers' in all rows of a table.

    Attributes:
        file: its settings, for ``--config``.
        settings: what that file says.
    """

    file: str
    settings: Departures

    @property
    def name(self) -> str:
        """Name of the backbone."""
        return str(self.settings["backbone"]["name"])

    def fixed(self, own: Departures, given: Departures, *, scale: bool) -> Departures:
        """Return what holds whatever a row or another file says.

        Weights, pixel values and pooled maps belong to the network. The scales keep the ratios of
        the papers', around the network's own.

        Args:
            own: what makes a row what it is.
            given: options of the command line.
            scale: whether a row's scales follow the network's own; those of whole images are the
                sizes that networks are trained on, and stay.
        """
        defaults = BackboneConfig()
        backbone = {name: getattr(defaults, name) for name in _WHOSE} | self.settings["backbone"]
        if _is_another(given.get("backbone", {}), backbone["weights"]):
            backbone["preprocessing"] = "auto"  # the pixel values belonged to the trunk's own file
        features = self.settings.get("features", {})
        kept = {name: features.get(name, ()) for name in ("maps", "map_scales")}
        scales = own.get("features", {}).get("scales", ())
        if scale and scales and "scales" in features:
            kept["scales"] = scaled(scales, features["scales"][0])
        return {"backbone": backbone, "features": kept}

    def folder_name(self, training: str) -> str:
        """Return the run folder of a training on this trunk.

        ``rcnn-zf5-ft-fc7`` and ``rcnn-alexnet-ft-fc7`` are the same training then, and share one.
        """
        name = re.sub(r"[^a-z0-9_.]+", "_", self.name.lower())
        for word, beside in _IN_NAMES.items():
            if word in training.split("-"):
                return training.replace(word, f"{beside}{name}")
        return f"{training}-{name}"


def find_trunk(text: str) -> Trunk:
    """Return a trunk: that of a preset ``trunks/NAME``, or of a file like them.

    Raises:
        ConfigError: if there is neither, and for a file that names no network or several scales.
    """
    file = text if Path(text).is_file() else f"{_FOLDER}{text}"
    names = trunk_names()
    if file.startswith(_FOLDER) and text not in names:
        near = did_you_mean(text, names) or f"; there is {', '.join(names)}"
        message = f"--trunk: expected a trunk or a file of settings, got {text!r}{near}"
        raise ConfigError(message)
    path = Path(text) if file == text else find_preset(file)
    settings = read_config_file(path)
    if not settings.get("backbone", {}).get("name"):
        message = f"{path}: expected backbone.name, the trunk's network, got none"
        raise ConfigError(message)
    scales = settings.get("features", {}).get("scales", (_PAPERS_SCALE,))
    if len(scales) != 1:
        message = f"{path}: features.scales: expected one, got {list(scales)}; rows have several"
        raise ConfigError(message)
    return Trunk(file=file, settings=settings)


def trunk_names() -> tuple[str, ...]:
    """Return the trunks that come with the package."""
    found = (name for name in preset_names() if name.startswith(_FOLDER))
    return tuple(name.removeprefix(_FOLDER) for name in found)


def on_trunk(table: Table, trunk: Trunk, given: Departures) -> Table:
    """Return a table whose rows are all of one trunk, under another name.

    Args:
        table: of a paper.
        trunk: takes the place of its networks.
        given: options of the command line.

    Raises:
        ConfigError: for a table that compares networks or belongs to one, and where an option names
            another network.
    """
    if table.own_trunk:
        message = f"--trunk: expected none for {table.name}, which is about its own networks"
        raise ConfigError(message)
    other = given.get("backbone", {}).get("name", trunk.name)
    if other != trunk.name:
        message = f"--backbone.name: expected {trunk.name}, which --trunk names, got {other}"
        raise ConfigError(message)
    rows: dict[str, Row] = {}
    for row in table.rows:
        name = _IN_ROWS.sub("", row.name)
        rows.setdefault(name, replace(row, name=name))
    return replace(
        table,
        name=trunk.folder_name(table.name),
        title=f"{table.title}, on {trunk.name}",
        note=_note(table, trunk),
        rows=tuple(rows.values()),
    )


def scaled(scales: tuple[int, ...], own: int) -> tuple[int, ...]:
    """Return short sides in the ratios of the papers' around another one than their 688.

    Law: ``scaled((688,), s) == (s,)``; other sides are multiples of 16.
    """
    factor = own / _PAPERS_SCALE
    sides = (max(_STEP * round(side * factor / _STEP), 2 * _STEP) for side in scales)
    return tuple(
        own if side == _PAPERS_SCALE else new for side, new in zip(scales, sides, strict=True)
    )


def _is_another(backbone: Mapping[str, Any], weights: str) -> bool:
    """Return whether options name other weights than the trunk's, not just their place."""
    named = backbone.get("weights", weights)
    return "preprocessing" not in backbone and Path(named).name != Path(weights).name


def _note(table: Table, trunk: Trunk) -> str:
    text = (
        f"Every row is of {trunk.name} with the settings of {trunk.file}; the published numbers "
        "are of other networks, so that rows compare with each other alone."
    )
    if table.task in SVM_TASKS:
        return f"{text} {table.note}"
    own = trunk.settings.get("features", {}).get("scales", ())
    if own:
        five = scaled((480, 576, 688, 864, 1200), own[0])
        text += f" One scale is {own[0]} pixels, five are {', '.join(map(str, five))}."
    return f"{text} A second model starts from the same weights and differs in its seed."
