"""From a table to configurations and command lines. Nothing here imports torch."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from detection.config import Config
from detection.errors import ConfigError
from detection.reproduce.table import SVM_TASKS, Row, Table, Task, Training
from detection.reproduce.tables import TABLES
from detection.reproduce.trainings import TRAININGS
from detection.reproduce.trunks import Trunk
from detection.runs.config_io import Departures, apply, did_you_mean, merge, read_config_file
from detection.runs.config_io import read_option as read_text
from detection.runs.presets import find_preset

DataName = Literal["voc", "subset", "synthetic"]

_DATA: dict[DataName, Departures] = {
    "voc": {},
    "subset": {
        "data": {
            "root": "data/voc2012-subset/VOCdevkit",
            "year": 0,
            "train_split": "train",
            "test_split": "val",
        }
    },
    "synthetic": {"data": {"root": "data/synthetic", "year": 0}},
}
"""What ``--data`` stands for."""

_OBJECTS: Departures = {"classify": {"svm_source": "objects", "svm_train_images": 10}}
"""What else than ``voc`` stands for where each image has one class: too few objects for 30."""

_CLASSIFIER = ("data", "backbone", "features", "pretrain", "classify")
_SVMS = ("data", "backbone", "features", "classify", "evaluation")
_SECTIONS: dict[Task, tuple[str, ...]] = {
    "detection": tuple(one.name for one in fields(Config) if one.name not in _CLASSIFIER[3:]),
    "classification": _CLASSIFIER,
    "images": _SVMS,
    "folders": _SVMS,
}
"""What the commands that train take."""

_VERBS: dict[Task, str] = {
    "detection": "train",
    "classification": "pretrain",
    "images": "classify-eval",
    "folders": "classify-eval",
}
"""The commands that train; the last one tests too."""

_SAME_NETWORKS = {"alexnet": ("caffenet",)}
"""Networks of presets -> others that the papers mean by the same name."""

DATA_NAMES: tuple[DataName, ...] = tuple(_DATA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What holds for all rows of a table.

    Attributes:
        out: below it come the run folders and the tables.
        data: which images; ``voc`` as the presets say.
        files: ``--config``, between a row's preset and what makes the row what it is.
        from_files: what those files say.
        given: options of the command line, the last word.
        trunk: takes the place of the papers'; its settings come right after a row's preset.
    """

    out: Path
    data: DataName = "voc"
    files: tuple[str, ...] = ()
    from_files: Departures = field(default_factory=dict)
    given: Departures = field(default_factory=dict)
    trunk: Trunk | None = None

    def run_folder(self, training: str) -> Path:
        """Return where a training keeps its files; tables share it."""
        name = training if self.trunk is None else self.trunk.folder_name(training)
        return self.out / "trainings" / name

    def row_folder(self, row: Row) -> Path:
        """Return where what a row found is kept; rows of all tables that test the same share it."""
        trained = "-and-".join(self.run_folder(name).name for name in row.trainings)
        return self.out / "tests" / trained / (_folder_name(row.test or row.view) or "as-trained")


def find_table(name: str) -> Table:
    """Return a table by its name.

    Raises:
        ConfigError: if there is none of that name.
    """
    if name not in TABLES:
        near = did_you_mean(name, TABLES) or f"; there are {', '.join(TABLES)}"
        message = f"{name}: expected a table{near}"
        raise ConfigError(message)
    return TABLES[name]


def choose_rows(table: Table, wanted: Sequence[str]) -> Table:
    """Return the table with those rows only whose names hold one of some texts; all for none.

    Raises:
        ConfigError: if a text is in no name.
    """
    for text in wanted:
        if not any(text in row.name for row in table.rows):
            names = "; ".join(row.name for row in table.rows)
            message = f"--rows: expected a part of a row's name ({names}), got {text!r}"
            raise ConfigError(message)
    kept = [row for row in table.rows if not wanted or any(text in row.name for text in wanted)]
    return replace(table, rows=tuple(kept))


def training_config(training: Training, choices: Choices) -> Config:
    """Return the configuration of a training.

    Later ones hold: the preset, the trunk, ``--config``, ``--data``, the training's own, what
    belongs to the trunk's network, the options.

    Raises:
        ConfigError: for values that do not go together.
    """
    preset = read_config_file(find_preset(training.preset))
    trunk = choices.trunk.settings if choices.trunk else {}
    departures = merge(preset, trunk, choices.from_files, _options(training, choices))
    sections = _SECTIONS[training.task]
    return apply(Config(), {name: departures[name] for name in departures if name in sections})


def row_config(row: Row, trained: Config) -> Config:
    """Return the configuration that a row is tested with.

    Args:
        row: with its departures at test time.
        trained: of the row's run folder.
    """
    departures = read_options(row.test)
    if row.view:
        departures = merge(departures, {"classify": {"views": (row.view,)}})
    return apply(trained, departures)


def other_trunk(row: Row, config: Config) -> str:
    """Return the network of a row's training, where it is another than the paper's.

    Args:
        row: with its training.
        config: that it was trained with.
    """
    preset = read_config_file(find_preset(TRAININGS[row.training].preset))
    papers = preset.get("backbone", {}).get("name", Config().backbone.name)
    same = {papers, *_SAME_NETWORKS.get(papers, ())}
    return "" if config.backbone.name in same else config.backbone.name


def chain(name: str) -> tuple[Training, ...]:
    """Return a training with those before it whose network it starts from, first to last."""
    training = TRAININGS[name]
    return (*(chain(training.network) if training.network else ()), training)


def commands(table: Table, row: Row, choices: Choices) -> tuple[str, ...]:
    """Return the command lines that make a row one after the other."""
    trainings = dict.fromkeys(one for name in row.trainings for one in chain(name))
    lines = [_train_command(training, choices) for training in trainings]
    if table.task in SVM_TASKS:
        return tuple(lines)
    folders = [str(choices.run_folder(name)) for name in row.trainings]
    out = ["--out", str(choices.row_folder(row))]
    if table.task == "classification":
        test = ["classify-views", *folders, *out, "--classify.views", row.view]
    else:
        test = ["evaluate", *folders, *out, *shlex.split(row.test)]
    return (*lines, shlex.join(["detection", *test]))


def read_options(text: str) -> Departures:
    """Read options as they are typed: ``--features.layer fc7 --finetune.enabled true``.

    Raises:
        ConfigError: for a wrong value.
    """
    words = shlex.split(text)
    departures: Departures = {}
    for name, value in zip(words[::2], words[1::2], strict=True):
        section, _, option = name.removeprefix("--").partition(".")
        departures.setdefault(section, {})[option] = read_text(section, option, value)
    return departures


def option_words(departures: Departures) -> list[str]:
    """Return departures as they are typed; law: ``read_options`` undoes it, joined by shlex."""
    return [
        word
        for section, options in departures.items()
        for name, value in options.items()
        for word in (f"--{section}.{name}", _typed(value))
    ]


def _options(training: Training, choices: Choices) -> Departures:
    """Return what a training departs in from its preset and from files."""
    own = merge(_DATA[choices.data], read_options(training.options))
    if training.task == "folders" and choices.data != "voc":
        own = merge(own, _OBJECTS)
    if choices.trunk:
        fixed = choices.trunk.fixed(own, choices.given, scale=training.task not in SVM_TASKS)
        own = merge(own, fixed)
    elif training.weights and "weights" not in choices.from_files.get("backbone", {}):
        own = merge(own, {"backbone": {"weights": training.weights}})
    departures = merge(own, choices.given)
    if training.network:
        start = {"weights": str(choices.run_folder(training.network)), "preprocessing": "auto"}
        departures = merge(departures, {"backbone": start})
    return {name: departures[name] for name in departures if name in _SECTIONS[training.task]}


def _train_command(training: Training, choices: Choices) -> str:
    trunk = (choices.trunk.file,) if choices.trunk else ()
    names = (training.preset, *trunk, *choices.files)
    files = [word for name in names for word in ("--config", name)]
    out = ["--out", str(choices.run_folder(training.name))]
    again = [] if training.task in SVM_TASKS else ["--resume"]
    options = option_words(_options(training, choices))
    return shlex.join(["detection", _VERBS[training.task], *files, *options, *out, *again])


def _typed(value: Any) -> str:
    """Return a value as an option takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        is_plain = value and not any(isinstance(one, str) for one in value)
        return ",".join(map(str, value)) if is_plain else json.dumps(list(value))
    return str(value)


def _folder_name(options: str) -> str:
    return "-".join(re.findall(r"[a-z0-9._]+", options.lower()))
