"""What a training and an evaluation say, sent to experiment trackers: TensorBoard, W&B, MLflow, ...

The library accelerate knows how each of them is called; this module knows when, and with what.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from detection.config import Config
from detection.errors import ConfigError, DataError
from detection.io.files import write_json_atomic
from detection.io.reading import read_plain
from detection.runs.config_io import config_to_dict
from detection.training.events import TrainingEvent

PROJECT = "detection"
"""The project or experiment that runs are filed under; of TensorBoard the folder of its files."""

PLACES = "trackers.json"

_NAMED_BY = {"wandb": "name", "mlflow": "run_name"}
"""How these trackers call the argument that names a run."""


class Trackers:
    """Experiment trackers, as a callback of `train` and within ``with``.

    Trackers want steps that only rise, over all stages and commands. Each stage therefore has its
    place on one axis, after the stages before it; ``trackers.json`` keeps the places, so that a
    resumed training and a later evaluation go on where they belong.

    Args:
        names: of trackers that accelerate knows, or its ``GeneralTracker`` objects.
        folder: of the run; event files and ``trackers.json`` go there.
        config: stored with the run.
        every: steps between rows; in between losses are averaged.

    Raises:
        ConfigError: if accelerate or a tracker's own library is missing, or a name is unknown.
    """

    def __init__(
        self, names: Sequence[Any], folder: Path, config: Config | None = None, *, every: int = 1
    ) -> None:
        self._folder, self._every = Path(folder), every
        self._config = config
        self._made = [_make(name, self._folder) for name in dict.fromkeys(names)]
        self._places: dict[str, list[int]] = {}
        self._sums: dict[str, tuple[float, int]] = {}

    def __enter__(self) -> Trackers:
        """Start them."""
        if not self._made:
            return self
        path = self._folder / PLACES
        self._places = _read_places(path)
        settings = {} if self._config is None else flat(config_to_dict(self._config))
        for tracker in self._made:
            if hasattr(tracker, "start"):  # before accelerate 1.9 they start when they are made
                tracker.start()
            if settings:
                tracker.store_init_configuration({"run": self._folder.name, **settings})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let them write what they hold."""
        for tracker in self._made:
            tracker.finish()

    def __call__(self, event: TrainingEvent) -> None:
        """Take the numbers of a step; send them on if it is time."""
        if not self._made:
            return
        for name, value in event.metrics.items():
            total, count = self._sums.get(name, (0.0, 0)) if name.startswith("loss") else (0.0, 0)
            self._sums[name] = total + value, count + 1
        measured = any(name.startswith("validation") for name in event.metrics)
        if measured or event.step % self._every == 0 or event.step == event.total:
            self._send(event.stage, event.step, event.total)

    def _send(self, stage: str, step: int, total: int) -> None:
        means = {f"{stage}/{name}": sum_ / n for name, (sum_, n) in self._sums.items()}
        self._sums.clear()
        values = {name: value for name, value in means.items() if math.isfinite(value)}
        if values:
            start = self._start_of(stage, total)
            for tracker in self._made:
                tracker.log(values, step=start + step)

    def _start_of(self, stage: str, total: int) -> int:
        """Return where a stage's steps begin on the axis of all of them."""
        if stage not in self._places:
            start = max((begin + length for begin, length in self._places.values()), default=0)
            self._places[stage] = [start, total]
            write_json_atomic(self._folder / PLACES, self._places)
        return self._places[stage][0]


def _read_places(path: Path) -> dict[str, list[int]]:
    """Return where the stages of a run began; none of a new one.

    Raises:
        DataError: if the file is there and says something else.
    """
    if not path.is_file():
        return {}
    try:
        places = json.loads(read_plain(path, "the places of stages"))
        return {str(stage): [int(start), int(total)] for stage, (start, total) in places.items()}
    except (ValueError, TypeError, AttributeError) as error:
        message = f"{path}: expected stages with start and length, got another text; remove it"
        raise DataError(message) from error


def _make(name: Any, folder: Path) -> Any:
    """Return a tracker of accelerate.

    Raises:
        ConfigError: see ``Trackers``.
    """
    try:
        from accelerate.tracking import (
            LOGGER_TYPE_TO_CLASS,
            GeneralTracker,
            get_available_trackers,
        )
    except ImportError as error:
        message = (
            f"--tracker {name}: expected the library accelerate, got none; pip install accelerate, "
            "or this package with the extra 'track'"
        )
        raise ConfigError(message) from error
    if isinstance(name, GeneralTracker):
        return name
    if name not in LOGGER_TYPE_TO_CLASS:
        known = ", ".join(sorted(map(str, LOGGER_TYPE_TO_CLASS)))
        message = f"--tracker: expected one of {known}, got {name}"
        raise ConfigError(message)
    if name not in [str(one) for one in get_available_trackers()]:
        message = f"--tracker {name}: expected its library, got none; pip install {name}"
        raise ConfigError(message)
    kind = LOGGER_TYPE_TO_CLASS[name]
    named = {_NAMED_BY[name]: folder.resolve().name} if name in _NAMED_BY else {}
    if kind.requires_logging_directory:
        return kind(PROJECT, logging_dir=str(folder / "trackers"), **named)
    return kind(PROJECT, **named)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, bool | str | float | int]:
    """Return nested settings as ``section.name`` -> what every tracker can store."""
    rows: dict[str, bool | str | float | int] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows |= flat(value, f"{name}.")
        else:
            rows[name] = value if isinstance(value, bool | str | float | int) else str(value)
    return rows
