"""What a command is: options, a function to call, and where its settings start from."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from detection.cli.parser import Parser
from detection.config import Config
from detection.errors import DataError

if TYPE_CHECKING:
    from detection.inference.images import Summary
    from detection.io.shards import Parallel

SECTIONS = tuple(field.name for field in fields(Config))

_OUTPUTS = ("--out", "--coco")


@dataclass(frozen=True, slots=True)
class Option:
    """An option or a positional argument: what ``add_argument`` takes."""

    name: str
    settings: dict[str, Any]

    @property
    def usage(self) -> str:
        """How a positional argument stands in the usage; nothing for an option."""
        if self.name.startswith("-"):
            return ""
        name = self.name.upper()
        shapes = {"*": f"[{name} ...]", "?": f"[{name}]", "+": f"{name} [{name} ...]"}
        return shapes.get(self.settings.get("nargs", ""), name)

    def add_to(self, parser: Parser) -> None:
        """Add it to a parser, its default shown."""
        settings = dict(self.settings)
        default = settings.get("default")
        if default is not None and default != ():
            shown = ", ".join(default) if isinstance(default, tuple) else default
            settings["help"] += f" (default: {shown})"
        parser.add_argument(self.name, **settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command.

    Attributes:
        run: called with the options and the configuration; its docstring is the help. It gives the
            exit code, None for 0.
        options: besides the configuration's.
        base: where the configuration starts from; None for a command without one.
        sections: of the configuration that the command uses.
    """

    run: Callable[[argparse.Namespace, Config], int | None]
    options: tuple[Option, ...]
    base: Callable[[argparse.Namespace], Config] | None = None
    sections: tuple[str, ...] = SECTIONS

    @property
    def description(self) -> str:
        """What the command does."""
        return " ".join((self.run.__doc__ or "").split())

    @property
    def summary(self) -> str:
        """The first line of that."""
        return (self.run.__doc__ or "").split("\n", maxsplit=1)[0]


def check_outputs(command: Command, options: argparse.Namespace) -> None:
    """Check, before any work is done, that a command can write its outputs.

    Raises:
        DataError: where a file stands in the way of a folder or a folder in that of a file, or the
            folder cannot be written.
    """
    for one in command.options:
        path = getattr(options, one.name.removeprefix("--"), None)
        if one.name not in _OUTPUTS or path is None:
            continue
        is_folder = one.settings.get("metavar") == "FOLDER"
        if path.exists() and path.is_dir() != is_folder:
            wanted, got = ("folder", "file") if is_folder else ("file", "folder")
            message = f"{one.name}: expected a {wanted} to write, got the {got} {path}"
            raise DataError(message)
        nearest = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
        if not os.access(nearest, os.W_OK) or not (nearest.is_dir() or nearest == path):
            message = f"{one.name}: expected a place that can be written, got {path}"
            raise DataError(message)


def option(name: str, help: str, **settings: Any) -> Option:  # noqa: A002
    """Describe an option; a name without dashes is a positional argument.

    A ``Path`` as the default makes it a path.
    """
    if isinstance(settings.get("default"), Path):
        settings.setdefault("type", Path)
    return Option(name, {"help": help, **settings})


def flag(name: str, help: str) -> Option:  # noqa: A002
    """Describe an option without a value."""
    return Option(name, {"help": help, "action": "store_true"})


def folder(name: str, help: str, default: str | None = None) -> Option:  # noqa: A002
    """Describe an option that names a folder."""
    path = None if default is None else Path(default)
    return Option(name, {"help": help, "type": Path, "default": path, "metavar": "FOLDER"})


_NUMBER: dict[str, Any] = {"type": int, "default": 0, "metavar": "N"}

RESTART = (
    flag("--resume", "continue what was interrupted there"),
    flag("--override", "resume with changed settings"),
    flag("--overwrite", "remove the run there first"),
)
"""What a training does with a run folder that is not new."""


TRACKER = option(
    "--tracker",
    "send metrics to an experiment tracker: tensorboard, wandb, mlflow or another that accelerate "
    "knows; may be given several times. Needs the extra 'track'",
    action="append",
    metavar="NAME",
)


PARALLEL = (
    option(
        "--parallel",
        "share the images out to workers: none, processes of this machine, or a cluster of dask or "
        "ray; again, only what is missing is done",
        choices=("none", "processes", "dask", "ray"),
        default="none",
    ),
    option("--workers", "with --parallel; 0 for one a core, or all of the cluster", **_NUMBER),
    option("--scheduler", "address of the dask or ray cluster; local workers without", default=""),
    option("--shard", "images that a worker takes at a time", type=int, default=100),
)
"""Where the work of a command is done, and in what pieces."""


def parallel_of(options: argparse.Namespace) -> Parallel | None:
    """Return where the options of ``PARALLEL`` have the work done; None for this process."""
    from detection.io.shards import Parallel

    parallel = Parallel(
        kind=options.parallel,
        workers=options.workers,
        scheduler=options.scheduler,
        images=options.shard,
    )
    return None if options.parallel == "none" else parallel


class Restart(TypedDict):
    """What the flags of ``RESTART`` say, as a training takes it."""

    resume: bool
    override: bool
    overwrite: bool


def report_images(out: Path, summary: Summary) -> int:
    """Print which images could not be read and what became of the others; return the exit code.

    Args:
        out: where the results are.
        summary: of the images.
    """
    for reason in summary.failed.values():
        print(f"error: {reason}", file=sys.stderr)
    print(f"{out}: {replace(summary, failed={}).format()}")
    return 1 if summary.failed else 0


def restart(options: argparse.Namespace) -> Restart:
    """Return what the flags of ``RESTART`` say."""
    return Restart(resume=options.resume, override=options.override, overwrite=options.overwrite)


def defaults(options: argparse.Namespace) -> Config:
    """Start from the defaults."""
    return Config()


def of_run(options: argparse.Namespace) -> Config:
    """Start from the configuration of the run folder in ``options``."""
    from detection.runs.folder import read_run_config

    return read_run_config(options.run)
