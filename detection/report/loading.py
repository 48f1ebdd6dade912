"""What run folders hold, read part by part: a missing part leaves out its section, nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar

from detection.config import Config
from detection.data.dataset import read_dataset
from detection.data.kept_lists import with_kept_lists
from detection.errors import DataError, DetectionError
from detection.evaluation.results import read_coco_json
from detection.io.reading import read_plain
from detection.runs.config_io import config_from_dict
from detection.runs.folder import nothing_to_report, read_run_config
from detection.structures import Dataset, Detections

METHOD_NAMES = {"sppnet": "SPPnet", "rcnn": "R-CNN"}

MAPS = ("voc07", "voc10", "coco", "coco50")

MISSING = "nothing"

T = TypeVar("T")


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Run:
    """The parts of a run folder; None for what is not there or cannot be read.

    Attributes:
        name: to print; distinct among the runs of a report.
        folder: where it is.
        config: how the detections were made.
        metrics: metrics.json.
        detections: image -> detections; images without any are left out.
        benchmark: benchmark.json.
        environment: environment.json.
        problems: why a part that is there could not be read.
    """

    name: str
    folder: Path
    config: Config | None
    metrics: dict[str, Any] | None
    detections: dict[str, Detections] | None
    benchmark: dict[str, Any] | None
    environment: dict[str, Any] | None
    problems: tuple[str, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Label -> name, as evaluated."""
        return tuple(self.metrics["class_names"]) if self.metrics else ()


def load_runs(folders: Sequence[Path]) -> list[Run]:
    """Read run folders, in their order.

    Raises:
        DataError: if a folder is not there or holds nothing to report.
    """
    runs = [load_run(Path(folder)) for folder in folders]
    names = [run.name for run in runs]
    return [
        replace(run, name=f"{run.name} ({run.folder.resolve().name})")
        if names.count(run.name) > 1
        else run
        for run in runs
    ]


def load_run(folder: Path) -> Run:
    """Read what there is in a run folder.

    Raises:
        DataError: if the folder is not there or holds nothing to report.
    """
    problems: list[str] = []
    metrics = _attempt(lambda: read_metrics(folder / "metrics.json"), problems)
    config = _attempt(lambda: _read_config(folder, metrics), problems)
    run = Run(
        name=_name(folder, metrics, config),
        folder=folder,
        config=config,
        metrics=metrics,
        detections=_attempt(lambda: _read_detections(folder), problems),
        benchmark=_attempt(lambda: read_benchmark(folder / "benchmark.json"), problems),
        environment=_attempt(lambda: _read_object(folder / "environment.json"), problems),
        problems=tuple(problems),
    )
    if run.config is None and run.metrics is None and run.benchmark is None:
        raise nothing_to_report(folder, next(iter(problems), ""))
    return run


def _attempt(read: Callable[[], T | None], problems: list[str]) -> T | None:
    try:
        return read()
    except DetectionError as error:
        problems.append(str(error))
        return None


def _name(folder: Path, metrics: dict[str, Any] | None, config: Config | None) -> str:
    method = metrics["method"] if metrics else config.features.method if config else ""
    return METHOD_NAMES.get(method, folder.resolve().name)


def _read_config(folder: Path, metrics: dict[str, Any] | None) -> Config | None:
    if metrics and isinstance(metrics.get("config"), dict):
        return config_from_dict(metrics["config"], f"{folder / 'metrics.json'}: config")
    return read_run_config(folder) if (folder / "config.yaml").is_file() else None


def _read_detections(folder: Path) -> dict[str, Detections] | None:
    path = folder / "detections" / "coco.json"
    return read_coco_json(path) if path.is_file() else None


def _read_object(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        value = json.loads(read_plain(path, "a JSON object"))
    except (OSError, ValueError) as error:
        message = f"{path}: cannot be read: {error}"
        raise DataError(message) from error
    if not isinstance(value, dict):
        message = f"{path}: expected a JSON object, got {type(value).__name__}"
        raise DataError(message)
    return value


def read_metrics(path: Path) -> dict[str, Any] | None:
    """Read a metrics.json; None where there is none.

    Raises:
        DataError: if it lacks what a report needs.
    """
    value = _read_object(path)
    if value is None:
        return None
    kinds = {
        "method": str,
        "split": str,
        "num_images": int,
        "map": dict,
        "interval": list | None,
        "per_class": dict,
        "class_names": list,
        "rule": dict,
    }
    _check_kinds(path, value, kinds, "detection evaluate")
    _check_kinds(path, value["map"], dict.fromkeys(MAPS, float | int | None), "detection evaluate")
    if list(value["per_class"]) != value["class_names"]:
        message = f"{path}: per_class: expected an entry for each of class_names, got others"
        raise DataError(message)
    for name, row in value["per_class"].items():
        _check_kinds(f"{path}: {name}", row, {"voc07": float | int | None}, "detection evaluate")
    return value


def read_benchmark(path: Path) -> dict[str, Any] | None:
    """Read a benchmark.json; None where there is none.

    Raises:
        DataError: if it lacks what a report needs.
    """
    value = _read_object(path)
    if value is None:
        return None
    _check_kinds(path, value, {"methods": dict, "ratios": dict}, "detection benchmark")
    for method in value["methods"].values():
        _check_kinds(path, method, {"stages": dict}, "detection benchmark")
        for stage in method["stages"].values():
            _check_kinds(path, stage, {"median": float | int}, "detection benchmark")
    return value


def _check_kinds(
    location: Path | str, value: Any, kinds: Mapping[str, type | UnionType], command: str
) -> None:
    for key, kind in kinds.items():
        got = value.get(key, MISSING) if isinstance(value, dict) else MISSING
        if got is MISSING or not isinstance(got, kind):
            name = getattr(kind, "__name__", str(kind))
            message = (
                f"{location}: {key}: expected {name}, got {str(got)[:40]}; write it with {command}"
            )
            raise DataError(message)


def load_dataset(run: Run) -> Dataset:
    """Read the images that a run was evaluated on.

    Raises:
        DetectionError: if they cannot be read, or are others than were evaluated.
    """
    if run.config is None or run.metrics is None:
        message = f"{run.folder}: expected config.yaml and metrics.json; run detection evaluate"
        raise DataError(message)
    data = with_kept_lists(run.config.data, run.folder)
    dataset = read_dataset(data, "test", class_names=run.class_names)
    if len(dataset.records) != run.metrics["num_images"]:
        message = (
            f"{dataset.name}: expected the {run.metrics['num_images']} images that were evaluated, "
            f"got {len(dataset.records)}; run detection evaluate again"
        )
        raise DataError(message)
    return dataset
