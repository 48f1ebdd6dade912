"""What a training and an evaluation say, sent to experiment trackers: TensorBoard, W&B, MLflow, ...

The library accelerate knows how each of them is called; this module knows when, and with what.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from detection.config import Config
from detection.errors import ConfigError, DataError
from detection.io.files import write_json_atomic
from detection.io.reading import read_plain
from detection.runs.config_io import config_to_dict
from detection.training.events import TrainingEvent

_LOG = logging.getLogger(__name__)

PROJECT = "detection"
"""The project or experiment that runs are filed under; of TensorBoard the folder of its files."""

PLACES = "trackers.json"

_RUNS = "runs"
"""Beside the stages in that file: tracker -> what it calls the run."""

_IDENTIFIER: dict[str, Callable[[Any], str]] = {
    "wandb": lambda run: str(run.id),
    "mlflow": lambda run: str(run.info.run_id),
}
"""Where these trackers keep what they call a run; a later command goes on in it."""

_NOT_IN_MLFLOW = re.compile(r"[^\w.\- /]")
"""What MLflow does not take in the name of a metric, as that of a class may have it."""


class Trackers:
    """Experiment trackers, as a callback of `train` and within ``with``.

    Trackers want steps that only rise, over all stages and commands. Each stage therefore has its
    place on one axis, after the stages before it; ``trackers.json`` keeps the places, and what W&B
    and MLflow call the run, so that a resumed training and a later evaluation go on where they
    belong. A tracker that fails once it has started is left alone: it is no reason to end a
    training.

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
        self._kinds = [_kind_of(name) for name in dict.fromkeys(names)]
        self._made: list[Any] = []
        self._failed: list[Any] = []
        self._places: dict[str, list[int]] = {}
        self._runs: dict[str, str] = {}
        self._sums: dict[str, tuple[float, int]] = {}

    def __enter__(self) -> Trackers:
        """Start them.

        Raises:
            ConfigError: in the words of a tracker that does not start.
        """
        if not self._kinds:
            return self
        self._places, self._runs = _read_places(self._folder / PLACES)
        try:
            for kind in self._kinds:
                self._start(kind)
        except Exception as error:
            self._finish()
            name = getattr(kind, "name", kind)
            kept = f"; remove {self._folder / PLACES} to begin a new run" if self._runs else ""
            message = f"--tracker {name}: expected it to start, got {_words_of(error)}{kept}"
            raise ConfigError(message) from error
        return self

    def _start(self, kind: Any) -> None:
        """Start a tracker, in the run of an earlier command where there is one."""
        given, name = not isinstance(kind, type), str(kind.name)
        run_id = None if given else self._runs.get(name)
        tracker = kind if given else _make(kind, self._folder, run_id)
        if hasattr(tracker, "start"):  # before accelerate 1.9 they start when they are made
            tracker.start()
        self._made.append(tracker)
        if run_id is None and self._config is not None:
            settings = {"run": self._folder.name, **flat(config_to_dict(self._config))}
            tracker.store_init_configuration(settings)
        if name in _IDENTIFIER and not given:
            self._runs[name] = _IDENTIFIER[name](tracker.tracker)
            self._write_places()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let them write what they hold."""
        self._finish()

    def _finish(self) -> None:
        for tracker in (*self._made, *self._failed):
            try:
                tracker.finish()
            except Exception as error:
                _LOG.warning("--tracker %s: at its end: %s", tracker.name, _words_of(error))

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
        if not values:
            return
        start = self._start_of(stage, total)
        for tracker in list(self._made):
            try:
                tracker.log(_called_for(tracker, values), step=start + step)
            except Exception as error:
                message = "--tracker %s: expected it to take %s, got %s; going on without it"
                _LOG.warning(message, tracker.name, stage, _words_of(error))
                self._made.remove(tracker)
                self._failed.append(tracker)

    def _start_of(self, stage: str, total: int) -> int:
        """Return where a stage's steps begin on the axis of all of them."""
        if stage not in self._places:
            start = max((begin + length for begin, length in self._places.values()), default=0)
            self._places[stage] = [start, total]
            self._write_places()
        return self._places[stage][0]

    def _write_places(self) -> None:
        runs = {_RUNS: self._runs} if self._runs else {}
        write_json_atomic(self._folder / PLACES, {**self._places, **runs})


def _read_places(path: Path) -> tuple[dict[str, list[int]], dict[str, str]]:
    """Return where the stages of a run began, and what trackers call it; nothing of a new one.

    Raises:
        DataError: if the file is there and says something else.
    """
    if not path.is_file():
        return {}, {}
    try:
        places = json.loads(read_plain(path, "the places of stages"))
        runs = {str(name): str(run_id) for name, run_id in places.pop(_RUNS, {}).items()}
        return {str(one): [int(start), int(total)] for one, (start, total) in places.items()}, runs
    except (ValueError, TypeError, AttributeError) as error:
        message = f"{path}: expected stages with start and length, got another text; remove it"
        raise DataError(message) from error


def _kind_of(name: Any) -> Any:
    """Return the class of a tracker of accelerate; a tracker that is made already, as it is.

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
    return LOGGER_TYPE_TO_CLASS[name]


def _make(kind: Any, folder: Path, run_id: str | None) -> Any:
    """Return a tracker of a run folder, in the run of this identifier or in a new one."""
    run = folder.resolve().name
    files = folder / "trackers"
    if kind.name == "wandb":
        more: dict[str, Any] = {"id": run_id, "resume": "allow"} if run_id else {}
        if "WANDB_DIR" not in os.environ:
            files.mkdir(parents=True, exist_ok=True)  # W&B takes another folder if it is not there
            more["dir"] = str(files)
        return kind(PROJECT, name=run, **more)
    if kind.name == "mlflow":
        return kind(PROJECT, run_name=run, run_id=run_id)
    if kind.requires_logging_directory:
        return kind(PROJECT, logging_dir=str(files))
    return kind(PROJECT)


def _called_for(tracker: Any, values: Mapping[str, float]) -> dict[str, float]:
    """Return numbers under names that a tracker takes."""
    if tracker.name != "mlflow":
        return dict(values)
    return {_NOT_IN_MLFLOW.sub("_", name): value for name, value in values.items()}


def _words_of(error: Exception) -> str:
    """Return an error of another library in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


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
