"""Commands on data: make it, fetch it, check it, look at it, find boxes in it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from detection.cli.command import (
    PARALLEL,
    Command,
    defaults,
    flag,
    folder,
    option,
    parallel_of,
)
from detection.cli.parser import whole_number
from detection.config import Config, DataConfig

if TYPE_CHECKING:
    from detection.io.shards import Parallel

Split = Literal["train", "test"]

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
        max_objects=options.max_objects,
        overwrite=options.overwrite,
    )
    print(f"{options.out}: {options.train_images} + {options.test_images} images")


def download(options: argparse.Namespace, config: Config) -> None:
    """Fetch a year of PASCAL VOC, check it and unpack it."""
    from detection.data.download import download_voc

    path = download_voc(options.year, options.out, mirrors=options.mirror, archive=options.archive)
    print(f"{path}: complete; use it with --data.root {options.out / 'VOCdevkit'}")


def check(options: argparse.Namespace, config: Config) -> int:
    """Look for everything that is wrong with a data set, and list it.

    The exit code is 1 if something is. What --parallel found is kept in --out.
    """
    from detection.data.check import check_dataset

    report = check_dataset(
        config.data,
        options.splits,
        workers=config.proposals.workers,
        decode=not options.no_decoding,
        parallel=parallel_of(options),
        **({} if options.out is None else {"out": options.out}),
    )
    print(report.format())
    return 0 if report.clean else 1


def convert(options: argparse.Namespace, config: Config) -> None:
    """Write a data set of any readable format as VOC, COCO or YOLO.

    Boxes are equal to the bit where the format can hold them; what is lost is said. With
    --detections these become the labels, to be corrected in an annotation tool: of a run its
    detections/coco.json, of detect its detections.json.
    """
    from detection.data.convert import convert as run

    labels = None
    if options.detections is not None:
        from detection.inference.as_labels import read_labels

        labels = read_labels(options.detections, options.threshold, config.data.class_names)
    made = run(
        config.data,
        options.to,
        options.out,
        splits=options.splits,
        labels=labels,
        link=options.link,
    )
    if made.missing:
        print(f"only one list: {made.missing}")
    print(f"{options.out}: {made.format()}")


def of_folders(options: argparse.Namespace) -> Config:
    """Start from the defaults, with the folders in ``options`` as the data set."""
    folders = tuple(map(str, options.folders))
    return Config(data=DataConfig(root=folders))


def browse(options: argparse.Namespace, config: Config) -> None:
    """Show a data set and its annotations on one HTML page."""
    from detection.data.roots import require_roots

    require_roots(config.data, options.split)
    from detection.data.dataset import read_dataset
    from detection.report.browse import browse as write

    dataset = read_dataset(config.data, options.split)
    write(dataset, options.out, num_images=options.num_images, max_pixels=config.data.max_pixels)
    print(f"{options.out}: written")


def propose(options: argparse.Namespace, config: Config) -> None:
    """Compute the boxes of all images and say how many objects they cover.

    The boxes are stored below proposals.folder, where training and evaluation find them, with a
    list of what was left out, skipped.csv.
    """
    from detection.data.roots import require_roots

    require_roots(config.data, *options.splits)
    from detection.io.shards import Parallel, connected

    parallel = parallel_of(options)
    with connected(parallel or Parallel()):
        _propose(options.splits, config, parallel)


def _propose(splits: Sequence[Split], config: Config, parallel: Parallel | None) -> None:
    from detection.data.dataset import may_skip, read_dataset, unreadable
    from detection.proposals.dataset import propose_dataset
    from detection.proposals.recall import proposal_recall
    from detection.runs.skipped import write_skipped

    class_names: tuple[str, ...] = ()
    for split in splits:
        dataset = read_dataset(config.data, split, class_names=class_names)
        class_names = dataset.class_names
        store = propose_dataset(
            dataset,
            config.proposals,
            Path(config.proposals.folder),
            max_pixels=config.data.max_pixels,
            max_failed=may_skip(dataset, config.data.max_skipped) if split == "train" else 0.0,
            parallel=parallel,
        )
        left_out = (*dataset.skipped, *unreadable(dataset, store.failed))
        write_skipped(store.folder, {dataset.split: left_out})
        searched = [record for record in dataset.records if record.image_id not in store.failed]
        loaded = [(record.truth, store.load(record)) for record in searched]
        pairs = [(truth, boxes) for truth, boxes in loaded if boxes is not None]
        table = proposal_recall([truth for truth, _ in pairs], [boxes for _, boxes in pairs])
        print(f"{dataset.name}: {store.folder}\n{table.format()}")


DATA_COMMANDS = {
    "synthesize": Command(
        run=synthesize,
        options=(
            folder("--out", "folder to write", "data/synthetic"),
            option("--train_images", "how many to train on", type=whole_number, default=300),
            option("--test_images", "how many to test on", type=whole_number, default=100),
            option("--max_objects", "in an image, at most", type=whole_number, default=5),
            option("--seed", "another seed, other images", type=int, default=0),
            flag(
                "--overwrite", "replace a data set drawn with other settings, if nobody changed it"
            ),
        ),
    ),
    "download": Command(
        run=download,
        options=(
            option("--year", "2007 to 2012", type=int, default=2007),
            folder("--out", "below it comes VOCdevkit/VOC<year>", "data"),
            option(
                "--mirror",
                "address of a folder with the archives; may be given several times",
                action="append",
                default=[],
                metavar="URL",
            ),
            option(
                "--archive",
                "an archive that is here already; may be given several times",
                action="append",
                default=[],
                type=Path,
                metavar="FILE",
            ),
        ),
    ),
    "check": Command(
        run=check,
        options=(
            SPLITS,
            flag("--no_decoding", "leave out decoding every image"),
            folder("--out", "where --parallel keeps its shards; without it runs/check"),
            *PARALLEL,
        ),
        base=defaults,
        sections=("data", "proposals"),
    ),
    "convert": Command(
        run=convert,
        options=(
            option("folders", "what data.root may name", nargs="+", type=Path),
            option("--to", "the format", choices=("voc", "coco", "yolo"), required=True),
            option("--out", "a new folder", type=Path, required=True, metavar="FOLDER"),
            SPLITS,
            option("--detections", "use these as labels", type=Path, metavar="FILE"),
            option(
                "--threshold",
                "the lowest score of a detection to keep; without it all of detect's, and of a "
                "run's 0 of SVMs and 0.5 of a softmax",
                type=float,
            ),
            flag("--link", "hard links to the images instead of copies, where possible"),
        ),
        base=of_folders,
        sections=("data",),
    ),
    "browse": Command(
        run=browse,
        options=(
            option("--out", "the page to write", default=Path("runs/browse.html"), metavar="FILE"),
            option("--split", "which list", choices=("train", "test"), default="train"),
            option("--num_images", "how many to draw", type=whole_number, default=24),
        ),
        base=defaults,
        sections=("data",),
    ),
    "propose": Command(
        run=propose,
        options=(SPLITS, *PARALLEL),
        base=defaults,
        sections=("data", "proposals"),
    ),
}
