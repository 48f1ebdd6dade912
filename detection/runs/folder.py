"""A run folder: everything that made a result, beside the result.

::

    RUN/config.yaml        every setting
        environment.json   versions, processor, graphics card, revision of the source
        given.json         data set and backbone, where they were given in Python
        split.json         the lists of the images, where they were drawn
        command.txt        the command lines, one each
        log.txt            what was said
        model.safetensors  the detector
        metrics.json       how good it is
        detections/        what it found
"""

from __future__ import annotations

import contextlib
import logging
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from detection.config import Config
from detection.errors import CheckpointError, ConfigError, DataError
from detection.io.files import (
    FolderLock,
    explain,
    remove_leftovers,
    write_json_atomic,
    write_text_atomic,
)
from detection.runs.config_io import apply, difference, read_config_file, write_config
from detection.runs.environment import describe_environment

logger = logging.getLogger(__name__)

_CONFIG = "config.yaml"
MODEL_NAME = "model.safetensors"
_LOCK = ".lock"
_RESULTS = (_CONFIG, "metrics.json", "benchmark.json")
_DATA = ("data.json", "skipped.csv", "given.json", "split.json", "trackers.json")
_TRACKERS = "trackers"
_STARTED = frozenset(
    (_CONFIG, _LOCK, "environment.json", "command.txt", "log.txt", *_DATA, _TRACKERS)
)
"""What a training writes before there is anything to continue from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """Where a run keeps its files.

    Attributes:
        path: the folder.
        config: what the run was started with.
    """

    path: Path
    config: Config

    @property
    def model(self) -> Path:
        """The trained detector."""
        return self.path / MODEL_NAME

    @property
    def metrics(self) -> Path:
        """The evaluation's result."""
        return self.path / "metrics.json"

    @property
    def detections(self) -> Path:
        """The folder of what was found."""
        return self.path / "detections"

    @property
    def checkpoints(self) -> Path:
        """The folder of what an interrupted training resumes from."""
        return self.path / "checkpoints"


@contextlib.contextmanager
def open_run(
    path: Path,
    config: Config,
    *,
    resume: bool = False,
    override: bool = False,
    overwrite: bool = False,
) -> Iterator[RunFolder]:
    """Start a run in a folder of its own, locked against a second one.

    A run that ended before there was anything to continue from counts as none.

    Args:
        path: a new or empty folder, unless ``resume`` or ``overwrite``.
        config: written as config.yaml.
        resume: continue the run in there, if there is one.
        override: resume although the configuration changed; not where the run is finished.
        overwrite: remove the run in there first.

    Raises:
        DataError: if the folder is locked, holds something, or cannot be written.
        ConfigError: if a resumed run's configuration changed, or a finished run's at all.
    """
    path = Path(path)
    with FolderLock(path):
        remove_leftovers(path)
        if overwrite and not resume:
            _clear(path)
        elif resume and (path / _CONFIG).is_file():
            _compare(path, config, override=override)
        elif _has_only_started(path):
            for name in _DATA:
                (path / name).unlink(missing_ok=True)
            shutil.rmtree(path / _TRACKERS, ignore_errors=True)
        elif any(entry.name != _LOCK for entry in path.iterdir()):
            message = (
                f"{path}: expected an empty folder, got one with files; continue with --resume, "
                "replace with --overwrite, or choose another folder"
            )
            raise DataError(message)
        write_text_atomic(path / _CONFIG, write_config(config))
        write_json_atomic(path / "environment.json", describe_environment())
        with _record(path):
            yield RunFolder(path=path, config=config)


@contextlib.contextmanager
def reopen_run(path: Path) -> Iterator[RunFolder]:
    """Work in the folder of a finished run, locked against a second process.

    Raises:
        DataError: if there is no run, or the folder is locked.
    """
    config = read_run_config(path)
    with FolderLock(path):
        remove_leftovers(path)
        with _record(path):
            yield RunFolder(path=Path(path), config=config)


def read_run_config(path: Path) -> Config:
    """Read the configuration that a run folder holds.

    Raises:
        DataError: if the folder is not one of a run.
        ConfigError: if its configuration cannot be understood.
    """
    path = Path(path)
    if not (path / _CONFIG).is_file():
        what = "none" if path.is_dir() else "no such folder" if not path.exists() else "a file"
        message = f"{path}: expected a run folder with {_CONFIG}, got {what}"
        raise DataError(message)
    return apply(Config(), read_config_file(path / _CONFIG))


def model_file(run: Path, what: str = "detector") -> Path:
    """Return the model file of a run folder; another path as it is.

    Args:
        run: the folder, or the file.
        what: the model is, in words.

    Raises:
        CheckpointError: if there is no such path, or the folder has none.
    """
    if not run.exists():
        message = f"{run}: expected a trained {what}, got no such file or folder"
        raise CheckpointError(message)
    if not run.is_dir():
        return run
    if not (path := run / MODEL_NAME).exists():
        message = f"{run}: expected a trained {what}, got a folder without {MODEL_NAME}"
        if (run / "command.txt").is_file():
            message += "; the training has not ended: repeat its command.txt with --resume"
        raise CheckpointError(message)
    return path


def require_results(path: Path) -> None:
    """Raise DataError unless a folder is one of a run or a benchmark."""
    if not any((path / name).is_file() for name in _RESULTS):
        raise nothing_to_report(path)


def nothing_to_report(path: Path, why: str = "") -> DataError:
    """Return the error for a folder that holds no results, or none that can be read.

    Args:
        path: the folder.
        why: they cannot be read; empty where there are none.
    """
    message = (
        f"{path}: expected {', '.join(_RESULTS[:-1])} or {_RESULTS[-1]}, got none of them"
        f"{why and f': {why}'}; detection train makes a run folder"
    )
    return DataError(message)


def is_unfinished(path: Path) -> bool:
    """Return whether a folder holds a run without its result."""
    return (Path(path) / _CONFIG).is_file() and not (Path(path) / MODEL_NAME).exists()


def _has_only_started(path: Path) -> bool:
    """Return whether a folder holds a run that has made nothing yet, and nothing else."""
    return (path / _CONFIG).is_file() and {entry.name for entry in path.iterdir()} <= _STARTED


def _clear(path: Path) -> None:
    """Remove the run in a folder, and nothing that is not one."""
    entries = [entry for entry in path.iterdir() if entry.name != _LOCK]
    if entries and not (path / _CONFIG).is_file():
        message = f"{path}: expected a run folder to overwrite, got other files; choose another"
        raise DataError(message)
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _compare(path: Path, config: Config, *, override: bool) -> None:
    """Stop if a resumed run's configuration changed, unless ``override``.

    Of a finished run it stays what made the model, whatever is asked for.
    """
    changes = difference(read_run_config(path), config)
    if not changes:
        return
    if RunFolder(path=path, config=config).model.exists():
        message = (
            f"{path}: expected the configuration of its finished model, got {'; '.join(changes)}; "
            "train with the new one in another --out, or replace the run with --overwrite"
        )
        raise ConfigError(message)
    for change in changes:
        logger.warning("%s: changed since this run began: %s", path, change)
    if not override:
        message = (
            f"{path}: expected the configuration this run began with, got {'; '.join(changes)}; "
            "resume with the old values, or with --override"
        )
        raise ConfigError(message)


class _LogFile(logging.FileHandler):
    """A log that a full disk cuts short; what is being done says so, or needs no disk."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Pass over a line that cannot be written."""
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)

    def close(self) -> None:
        """Close the file, whatever becomes of its last lines."""
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def _record(path: Path) -> Iterator[None]:
    """Note the command, and copy to log.txt what the package says."""
    try:
        with (path / "command.txt").open("a", encoding="utf-8") as file:
            file.write(shlex.join(["detection", *sys.argv[1:]]) + "\n")
        handler = _LogFile(path / "log.txt", encoding="utf-8")
    except OSError as error:
        raise explain(error, path / "command.txt", 0) from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    package = logging.getLogger("detection")
    level = package.level
    package.setLevel(min(level or logging.INFO, logging.INFO))
    package.addHandler(handler)
    try:
        yield
    finally:
        package.setLevel(level)
        package.removeHandler(handler)
        handler.close()
