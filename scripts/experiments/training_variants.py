"""What changes to the training of an end-to-end preset bring: mAP with each, over several seeds.

Trains and evaluates a configuration as it is and with one change at a time, with the same seeds,
and prints a Markdown table: each seed's mAP, the difference to the base of the same seed, and the
mean difference with its interval over the test images. Changes that no option switches are put
into the package's modules (`training_patches.py`), in a process of their own. What is finished is
not repeated, and the table is written after each run; options of `detection train` may follow.

    python scripts/experiments/training_variants.py subset_sppnet_lite0 runs/variants --seeds 2 \
      --data.train_split rest --data.test_split fold --finetune.epochs 5
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pasted_objects import LIST, paste_objects
from training_patches import context_beside, giou_boxes, hard_examples, other_colours

from detection.config import Config
from detection.data.dataset import read_dataset
from detection.evaluation.bootstrap import resampled_maps
from detection.evaluation.matching import match_detections
from detection.io.files import write_json_atomic, write_text_atomic
from detection.report.loading import Run, load_dataset, load_run
from detection.reproduce.clock import clock, clock_file, read_clock
from detection.runs.config_io import apply, merge, read_config_file, read_repeated
from detection.runs.presets import find_config

RESAMPLINGS = 1000
BASE = "base"
HEAD = (
    "| training | mAP, 11-point, of each seed | mean | against the base, each seed | mean, with "
    "95% over images | CPU-minutes of a training |\n|---|---|---|---|---|---|"
)


def options_of(words: Sequence[str]) -> dict[str, list[str]]:
    """Return the texts that each option was given: ``--finetune.epochs 5``."""
    given: dict[str, list[str]] = {}
    for word, text in zip(words[::2], words[1::2], strict=True):
        given.setdefault(word, []).append(text)
    return given


def joined(words: Sequence[str], own: Sequence[str]) -> list[str]:
    """Return all options; of those in both, the second ones."""
    given = options_of(words) | options_of(own)
    return [word for name, texts in given.items() for text in texts for word in (name, text)]


def settings_of(config: str, words: Sequence[str]) -> Config:
    """Return a configuration with options."""
    departures: dict[str, dict[str, Any]] = {}
    for name, texts in options_of(words).items():
        section, key = name.removeprefix("--").split(".")
        departures.setdefault(section, {})[key] = read_repeated(section, key, texts)
    return apply(Config(), merge(read_config_file(find_config(Path(config))), departures))


def with_pasted_images(config: str, out: Path, words: Sequence[str]) -> tuple[str, ...]:
    """Write the images with pasted objects; return options for an epoch half as long of both."""
    settings = settings_of(config, words)
    data, folder = settings.data, out / LIST
    if not (folder / "ImageSets" / "Main" / f"{LIST}.txt").is_file():
        paste_objects(read_dataset(data, "train"), folder)
    return (
        *("--data.root", *data.roots, "--data.root", str(folder)),
        *("--data.train_split", str(data.train_split), "--data.train_split", LIST),
        *("--data.test_split", str(data.test_split), "--data.test_split", ""),
        *("--finetune.epochs", str(settings.finetune.epochs / 2)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A change to the training.

    Attributes:
        change: what it is.
        words: options for it.
        put: puts it into the package's modules, in training and at test.
        make: makes what it needs and returns more options, of configuration, folder of all runs
            and options.
    """

    change: str
    words: tuple[str, ...] = ()
    put: Callable[[], None] | None = None
    make: Callable[[str, Path, Sequence[str]], tuple[str, ...]] | None = None


VARIANTS = {
    BASE: Variant(change="as the configuration has it"),
    "balanced": Variant(
        change="images of rare classes drawn more often (repeat factors, all classes)",
        words=("--finetune.rare_classes", "1"),
    ),
    "hard": Variant(change="online hard example mining", put=hard_examples),
    "giou": Variant(change="boxes by the generalised IoU", put=giou_boxes),
    "context": Variant(
        change="each box pooled with its surroundings too, 1.5 times as large", put=context_beside
    ),
    "scales": Variant(
        change="training at 320, 400, 480, 560 or 640 pixels",
        words=("--finetune.scales", "320,400,480,560,640"),
    ),
    "colours": Variant(change="other colours every other time", put=other_colours),
    "pasted": Variant(
        change="half of the images with pasted objects, their boxes searched too",
        make=with_pasted_images,
    ),
    "lite1": Variant(
        change="EfficientNet-Lite1",
        words=("--backbone.name", "efficientnet_lite1", "--features.map_scales", "1.0,0.35"),
    ),
    "lite2": Variant(
        change="EfficientNet-Lite2",
        words=("--backbone.name", "efficientnet_lite2", "--features.map_scales", "1.0,0.37"),
    ),
    "undropped": Variant(change="no dropout", words=("--finetune.dropout", "0")),
}


def run(name: str, words: Sequence[str]) -> None:
    """Run a command of the package with a change in place."""
    line = [sys.executable, __file__, "--under", name, *words]
    subprocess.run(line, check=True)


def train_and_evaluate(config: str, out: Path, name: str, seed: int, words: Sequence[str]) -> Path:
    """Train and evaluate with one seed, unless it was done; return the folder."""
    folder = out / f"{name}_{seed}"
    if (folder / "metrics.json").is_file():
        return folder
    variant = VARIANTS[name]
    made = variant.make(config, out, words) if variant.make else ()
    own = (*variant.words, *made, "--finetune.seed", str(seed))
    run(
        name,
        ["train", "--config", config, *joined(words, own), "--out", str(folder), "--resume"],
    )
    run(name, ["evaluate", str(folder)])
    return folder


def resampled(run: Run) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the mAP of a run on each resampling of the test images, the same for all runs."""
    truths = [record.truth for record in load_dataset(run).records]
    metrics, found = run.metrics or {}, run.detections or {}
    detections = [found[t.image_id] for t in truths if t.image_id in found]
    iou = float(metrics.get("iou", 0.5))
    matches = list(match_detections(truths, detections, len(run.class_names), iou=iou))
    return resampled_maps(matches, resamplings=RESAMPLINGS, seed=0)


@dataclass(slots=True)
class Results:
    """What the finished runs found.

    Attributes:
        maps: variant -> seed -> mAP.
        samples: variant -> seed -> mAP on each resampling of the images.
        minutes: variant -> processor time of each training.
    """

    maps: dict[str, dict[int, float]] = field(default_factory=dict)
    samples: dict[str, dict[int, Any]] = field(default_factory=dict)
    minutes: dict[str, dict[int, float]] = field(default_factory=dict)

    def add(self, name: str, seed: int, folder: Path) -> None:
        """Read a run."""
        one = load_run(folder)
        if one.metrics is None:
            message = f"{folder}: no metrics.json"
            raise SystemExit(message)
        self.maps.setdefault(name, {})[seed] = one.metrics["map"]["voc07"]
        self.samples.setdefault(name, {})[seed] = resampled(one)
        cost = read_clock(clock_file(folder))
        if cost is not None and cost.cpu_seconds is not None:
            self.minutes.setdefault(name, {})[seed] = cost.cpu_seconds / 60

    def row(self, name: str) -> dict[str, Any]:
        """Return what a variant brings, in points, over the seeds that the base has too."""
        maps, base = self.maps[name], self.maps[BASE]
        seeds = [seed for seed in maps if seed in base]
        samples = [self.samples[name][seed] - self.samples[BASE][seed] for seed in seeds]
        gains = [100 * (maps[seed] - base[seed]) for seed in seeds]
        mean = np.mean(samples, axis=0)
        low, high = np.nanquantile(100 * mean, [0.025, 0.975]).tolist()
        return {
            "training": VARIANTS[name].change,
            "map": [100 * value for value in maps.values()],
            "gains": gains,
            "gain": statistics.mean(gains),
            "interval": [low, high],
            "cpu_minutes": list(self.minutes.get(name, {}).values()),
        }

    def write(self, out: Path) -> str:
        """Write the table of all that is finished, and return it."""
        rows = {name: self.row(name) for name in self.maps}
        table = "\n".join((HEAD, *(line(name, row) for name, row in rows.items()))) + "\n"
        write_json_atomic(out / "training_variants.json", {"rows": rows})
        write_text_atomic(out / "training_variants.md", table)
        return table


def line(name: str, row: dict[str, Any]) -> str:
    """Return a line of the table."""
    maps = ", ".join(f"{value:.1f}" for value in row["map"])
    gains = ", ".join(f"{value:+.1f}" for value in row["gains"])
    low, high = row["interval"]
    gain = f"{row['gain']:+.1f} ({low:+.1f} to {high:+.1f})"
    if name == BASE:
        gains = gain = ""
    minutes = f"{statistics.mean(row['cpu_minutes']):.1f}" if row["cpu_minutes"] else ""
    mean = statistics.mean(row["map"])
    return f"| {row['training']} | {maps} | {mean:.1f} | {gains} | {gain} | {minutes} |"


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n", maxsplit=1)[0], allow_abbrev=False
    )
    parser.add_argument("config", help="a preset or a file")
    parser.add_argument("out", type=Path, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=2, help="how many (default: 2)")
    shown = ", ".join(name for name in VARIANTS if name != BASE)
    parser.add_argument("--only", default="", help=f"some, with commas between: {shown}")
    options, rest = parser.parse_known_args(words)
    chosen = options.only.split(",") if options.only else list(VARIANTS)
    names = [name for name in VARIANTS if name == BASE or name in chosen]
    if unknown := set(chosen) - set(VARIANTS):
        parser.error(f"--only: expected some of {shown}, got {', '.join(sorted(unknown))}")
    results, table = Results(), ""
    for seed in range(options.seeds):
        for name in names:
            results.add(
                name, seed, train_and_evaluate(options.config, options.out, name, seed, rest)
            )
            table = results.write(options.out)
    print(table, end="")


def under(name: str, words: list[str]) -> int:
    """Run a command of the package with a change in place, in this process."""
    from detection.cli.main import main as detection

    if put := VARIANTS[name].put:
        put()
    if words[0] != "train":
        return detection(words)
    with clock(clock_file(Path(words[words.index("--out") + 1]))):
        return detection(words)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--under"]:
        sys.exit(under(sys.argv[2], sys.argv[3:]))
    main(sys.argv[1:])
