"""The verbs: read the options, import what is needed, call one function.

Every import that costs time happens inside a verb, so that ``--help`` is instant.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from detection.cli.parser import Parser, whole_number
from detection.config import Config

SECTIONS = tuple(field.name for field in fields(Config))


@dataclass(frozen=True, slots=True)
class Option:
    """An option or a positional argument: what ``add_argument`` takes."""

    name: str
    settings: dict[str, Any]

    @property
    def usage(self) -> str:
        """How a positional argument stands in the usage; nothing for an option."""
        name = "" if self.name.startswith("-") else self.name.upper()
        return f"{name}..." if name and "nargs" in self.settings else name

    def add_to(self, parser: Parser) -> None:
        """Add it to a parser, its default shown."""
        settings = dict(self.settings)
        default = settings.get("default")
        if default is not None:
            shown = ", ".join(default) if isinstance(default, tuple) else default
            settings["help"] += f" (default: {shown})"
        parser.add_argument(self.name, **settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """A command.

    Attributes:
        run: called with the options and the configuration; its docstring is the help. It gives the
            exit code, None for 0.
        options: besides the configuration's.
        sections: of the configuration that the command uses.
        base: where the configuration starts from; None for a verb without one.
    """

    run: Callable[[argparse.Namespace, Config], int | None]
    options: tuple[Option, ...]
    sections: tuple[str, ...] = SECTIONS
    base: Callable[[argparse.Namespace], Config] | None = None

    @property
    def description(self) -> str:
        """What the command does."""
        return " ".join((self.run.__doc__ or "").split())

    @property
    def summary(self) -> str:
        """The first line of that."""
        return (self.run.__doc__ or "").split("\n", maxsplit=1)[0]


def option(name: str, help: str, **settings: Any) -> Option:  # noqa: A002
    """Describe an option; a name without dashes is a positional argument."""
    if isinstance(settings.get("default"), Path):
        settings.setdefault("type", Path)
    return Option(name, {"help": help, **settings})


SPLITS = option(
    "--splits", "which lists", nargs="+", choices=("train", "test"), default=("train", "test")
)


def synthesize(options: argparse.Namespace, config: Config) -> None:
    """Draw a data set with annotations, in the layout of PASCAL VOC."""
    from detection.data.synthetic import synthesize as write

    write(
        options.out,
        train_images=options.train_images,
        test_images=options.test_images,
        seed=options.seed,
    )
    print(f"{options.out}: {options.train_images} + {options.test_images} images")


def propose(options: argparse.Namespace, config: Config) -> None:
    """Compute the boxes of all images and say how many objects they cover.

    The boxes are stored below proposals.folder, where training and evaluation find them.
    """
    from detection.data.dataset import read_dataset
    from detection.proposals.recall import proposal_recall
    from detection.proposals.store import propose_dataset

    class_names: tuple[str, ...] = ()
    for split in options.splits:
        dataset = read_dataset(config.data, split, class_names=class_names)
        class_names = dataset.class_names
        store = propose_dataset(
            dataset,
            config.proposals,
            Path(config.proposals.folder),
            max_pixels=config.data.max_pixels,
        )
        loaded = [(record.truth, store.load(record)) for record in dataset.records]
        pairs = [(truth, boxes) for truth, boxes in loaded if boxes is not None]
        table = proposal_recall([truth for truth, _ in pairs], [boxes for _, boxes in pairs])
        print(f"{dataset.name}: {store.folder}\n{table.format()}")


def train(options: argparse.Namespace, config: Config) -> None:
    """Train a detector, SPPnet or R-CNN, into a run folder of its own."""
    from detection.training.pipeline import train as run

    run(
        config,
        options.out,
        resume=options.resume,
        override=options.override,
        overwrite=options.overwrite,
    )
    print(f"{options.out}: trained; next: detection evaluate {options.out}")


def evaluate(options: argparse.Namespace, config: Config) -> None:
    """Score a trained detector on the test images of a data set.

    Settings start from those of the run; the result is metrics.json and the detections.
    """
    from detection.testing.evaluate import evaluate as run

    run(options.run, config, options.out)


def check(options: argparse.Namespace, config: Config) -> int:
    """Look for everything that is wrong with a data set, and list it.

    The exit code is 1 if something is.
    """
    from detection.data.check import check_dataset

    report = check_dataset(
        config.data,
        options.splits,
        workers=config.proposals.workers,
        decode=not options.no_decoding,
    )
    print(report.format())
    return 0 if report.clean else 1


def benchmark(options: argparse.Namespace, config: Config) -> None:
    """Time R-CNN and SPPnet, stage by stage, on the same images and boxes."""
    from detection.benchmark.speed import Plan, format_benchmark
    from detection.benchmark.speed import benchmark as run

    plan = Plan(num_images=options.num_images, repeats=options.repeats)
    print(format_benchmark(run(config, options.images, options.out, plan)))


def _run_config(options: argparse.Namespace) -> Config:
    """Start from the configuration of a run."""
    from detection.runs.folder import read_run_config

    return read_run_config(options.run)


def _defaults(options: argparse.Namespace) -> Config:
    """Start from the defaults."""
    return Config()


VERBS: dict[str, Verb] = {
    "synthesize": Verb(
        run=synthesize,
        options=(
            option("--out", "folder to write", default=Path("data/synthetic"), metavar="FOLDER"),
            option("--train_images", "how many to train on", type=whole_number, default=300),
            option("--test_images", "how many to test on", type=whole_number, default=100),
            option("--seed", "another seed, other images", type=int, default=0),
        ),
    ),
    "check": Verb(
        run=check,
        options=(
            SPLITS,
            option("--no_decoding", "leave out reading every image", action="store_true"),
        ),
        base=_defaults,
        sections=("data", "proposals"),
    ),
    "propose": Verb(
        run=propose,
        options=(SPLITS,),
        sections=("data", "proposals"),
        base=_defaults,
    ),
    "train": Verb(
        run=train,
        options=(
            option("--out", "the run folder", default=Path("runs/train"), metavar="FOLDER"),
            option("--resume", "continue what was interrupted there", action="store_true"),
            option("--override", "resume with changed settings", action="store_true"),
            option("--overwrite", "remove the run there first", action="store_true"),
        ),
        base=_defaults,
    ),
    "evaluate": Verb(
        run=evaluate,
        options=(
            option("run", "the folder of a trained detector", type=Path),
            option(
                "--out", "where to write, instead of the run folder", type=Path, metavar="FOLDER"
            ),
        ),
        base=_run_config,
        sections=("data", "proposals", "features", "postprocess", "evaluation"),
    ),
    "benchmark": Verb(
        run=benchmark,
        options=(
            option(
                "--images",
                "photographs",
                default=Path("data/synthetic/JPEGImages"),
                metavar="FOLDER",
            ),
            option("--num_images", "how many of them", type=whole_number, default=20),
            option("--repeats", "how often each", type=whole_number, default=1),
            option("--out", "where to write", default=Path("runs/benchmark"), metavar="FOLDER"),
        ),
        base=_defaults,
        sections=("data", "proposals", "backbone", "features", "svm", "bbox", "postprocess"),
    ),
}
