"""Train and test the rows of a table, through the same functions as the commands.

Whatever is done is kept: the same call goes on where it was ended, in a row or between rows.
"""

from __future__ import annotations

import contextlib
import json
import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from detection.classification.evaluate import classify_eval, classify_views
from detection.classification.pretrain import pretrain
from detection.config import Config
from detection.data.dataset import may_skip, read_dataset
from detection.data.kept_lists import with_kept_lists
from detection.errors import ConfigError, DataError, DetectionError
from detection.inference.dataset import detect_dataset, evaluate
from detection.io.files import FolderLock, remove_leftovers, to_plain, write_json_atomic
from detection.io.interrupts import raise_if_interrupted
from detection.model_io import load_detector
from detection.proposals.dataset import propose_dataset
from detection.proposals.search import with_backend
from detection.proposals.store import ProposalStore
from detection.reproduce.clock import clock, clock_file, read_clock
from detection.reproduce.needs import impossible, missing
from detection.reproduce.results import RowResult, scores
from detection.reproduce.settings import (
    Choices,
    chain,
    commands,
    other_trunk,
    row_config,
    training_config,
)
from detection.reproduce.show import write_table
from detection.reproduce.table import SVM_TASKS, Row, Table, Task, Training
from detection.runs.config_io import config_to_dict, difference
from detection.runs.folder import read_run_config
from detection.training.pipeline import train

_LOG = logging.getLogger(__name__)

_MODEL, _METRICS = "model.safetensors", "metrics.json"
_RESULTS: dict[Task, str] = {
    "detection": _MODEL,
    "classification": _MODEL,
    "images": _METRICS,
    "folders": _METRICS,
}
"""What a training ends with."""
_TIMED_IMAGES = 10


def reproduce(table: Table, choices: Choices) -> list[RowResult]:
    """Train and test every row that can run here; return what became of each.

    The table is written after each row, so that it can be read meanwhile.

    Args:
        table: of a paper, or some of its rows.
        choices: what holds for all rows.

    Raises:
        ConfigError: if a run folder below ``choices.out`` was made with other settings.
        DataError: if another call is at work there.
    """
    results = [RowResult(row=row, commands=commands(table, row, choices)) for row in table.rows]
    with FolderLock(choices.out):  # or a second call would take rows at work for missing ones
        remove_leftovers(choices.out)
        _require_same_settings(table, choices)
        for index, row in enumerate(table.rows):
            _LOG.info("%s: row %d of %d: %s", table.name, index + 1, len(results), row.name)
            results[index] = _result(results[index], table, choices)
            write_table(table, results, choices.out)
    return results


def _result(waiting: RowResult, table: Table, choices: Choices) -> RowResult:
    """Make one row; a row that cannot run says why, and the others go on."""
    row = waiting.row
    never = _impossible(row, table, choices)
    if never:
        return replace(waiting, state="impossible", missing=never)
    lines = _missing(row, choices)
    try:
        if not lines:
            return replace(waiting, state="done", **_made(row, table, choices))
    except DetectionError as error:
        raise_if_interrupted(error)
        _LOG.warning("%s: %s", row.name, error)
        lines = (str(error),)
    return replace(waiting, state="missing", missing=lines)


def _impossible(row: Row, table: Table, choices: Choices) -> tuple[str, ...]:
    if table.task == "classification":  # they make the fc layers that they need
        return ()
    lines = (impossible(one, training_config(one, choices)) for one in _trainings(row))
    return tuple(dict.fromkeys(line for line in lines if line))


def _missing(row: Row, choices: Choices) -> tuple[str, ...]:
    lines: dict[str, None] = {}
    for training in _trainings(row):
        if not _is_done(training, choices):
            lines |= dict.fromkeys(missing(training, training_config(training, choices)))
    return tuple(lines)


def _trainings(row: Row) -> tuple[Training, ...]:
    """Return a row's trainings and those before them, each once, in order."""
    return tuple(dict.fromkeys(one for name in row.trainings for one in chain(name)))


def _made(row: Row, table: Table, choices: Choices) -> dict[str, Any]:
    """Train what is not trained, test what is not tested; return what a `RowResult` holds."""
    for training in _trainings(row):
        _train(training, choices)
    folders = [choices.run_folder(name) for name in row.trainings]
    config = row_config(row, read_run_config(folders[0]))
    if table.task in SVM_TASKS:
        values = json.loads((folders[0] / _METRICS).read_text(encoding="utf-8"))
        made = scores(values, row, table.task) | {"notes": _notes(config, values)}
        return made | {"trunk": other_trunk(row, config)}
    out = choices.row_folder(row)
    models = [folder / _MODEL for folder in folders]
    values = _kept(out / "metrics.json", config, models)
    if values is None:
        if table.task == "classification":
            values = classify_views(folders[0], config, out)
            values = {**values, "config": config_to_dict(config)}
            write_json_atomic(out / "metrics.json", values)
        else:
            values = evaluate(folders[0], config, out, tuple(folders[1:]))
    made = scores(values, row, table.task) | {"notes": _notes(config, values)}
    made["trunk"] = other_trunk(row, config)
    if table.timed:
        made["training"] = read_clock(clock_file(folders[0]))
        made["seconds"] = _seconds(out / "speed.json", models[0], config)
    return made


def _train(training: Training, choices: Choices) -> None:
    """Train, or go on with a training; its time counts without that of the boxes."""
    folder, config = choices.run_folder(training.name), training_config(training, choices)
    if _is_done(training, choices):
        return
    if training.task in SVM_TASKS:
        classify_eval(config, folder, overwrite=True)
        return
    run: Callable[..., Path] = pretrain if training.task == "classification" else train
    if training.task == "detection":
        _propose(config)
    with clock(clock_file(folder)):
        run(config, folder, resume=True)


def _is_done(training: Training, choices: Choices) -> bool:
    return (choices.run_folder(training.name) / _RESULTS[training.task]).exists()


def _propose(config: Config) -> None:
    """Make sure that the training images have their boxes."""
    dataset = read_dataset(config.data, "train")
    propose_dataset(
        dataset,
        with_backend(config.proposals),
        Path(config.proposals.folder),
        max_pixels=config.data.max_pixels,
        max_failed=may_skip(dataset, config.data.max_skipped),
    )


def _require_same_settings(table: Table, choices: Choices) -> None:
    """Stop before any work where a run folder was made with other settings.

    Raises:
        ConfigError: naming the folder and what changed.
    """
    for training in dict.fromkeys(one for row in table.rows for one in _trainings(row)):
        folder, config = choices.run_folder(training.name), training_config(training, choices)
        if not (folder / "config.yaml").is_file():
            continue
        if training.task == "detection":
            config = replace(config, proposals=with_backend(config.proposals))
        changes = difference(read_run_config(folder), config)
        if changes:
            message = (
                f"{folder}: expected the settings that it was made with, got {'; '.join(changes)}; "
                "name another --out, or remove the folder"
            )
            raise ConfigError(message)


def _kept(path: Path, config: Config, models: list[Path]) -> dict[str, Any] | None:
    """Return a test's result where it is of these models and settings; otherwise None."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        newest = max(model.stat().st_mtime_ns for model in models)
        is_newer = path.stat().st_mtime_ns >= newest
        same = _without_lists(values["config"]) == _without_lists(to_plain(config_to_dict(config)))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return values if same and is_newer else None


def _without_lists(config: dict[str, Any]) -> dict[str, Any]:
    """Leave out the lists that a run has drawn, which a test adds to its settings."""
    return {**config, "data": {**config["data"], "lists": ""}}


def _notes(config: Config, values: dict[str, Any]) -> tuple[str, ...]:
    """Say what makes a row's number another one than the paper's."""
    notes = ["conv layers of random weights"] if config.backbone.weights == "none" else []
    start = str(values.get("fc_start", ""))
    if "random" in start:
        notes.append("fc layers started from random values")
    if "resampled" in start:
        notes.append("fc6 resampled from another grid's weights")
    if config.classify.svm_source == "objects":
        each = config.classify.svm_train_images
        notes.append(f"objects cut out of images, {each} of each class to train on")
    return tuple(notes)


def _seconds(path: Path, model: Path, config: Config) -> float:
    """Return the median time of a test image without its boxes, measured once and kept."""
    if path.exists() and path.stat().st_mtime_ns >= model.stat().st_mtime_ns:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return float(json.loads(path.read_text(encoding="utf-8"))["seconds_an_image"])
    detector = load_detector(model, device=config.features.device).with_config(config)
    data = with_kept_lists(config.data, model.parent)
    dataset = read_dataset(data, "test", class_names=detector.class_names)
    store = ProposalStore(Path(config.proposals.folder), config.proposals)
    times, start = [], 0.0
    for index, _ in enumerate(islice(detect_dataset(detector, dataset, store), _TIMED_IMAGES + 1)):
        if index:  # the first image also pays for what is made once
            times.append(time.perf_counter() - start)
        start = time.perf_counter()
    if not times:
        message = f"{dataset.name}: expected two test images or more to time, got one"
        raise DataError(message)
    median = statistics.median(times)
    write_json_atomic(path, {"seconds_an_image": median, "num_images": len(times)})
    return median
