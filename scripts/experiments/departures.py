"""What the remaining differences from the authors' code change: mAP with and without each.

Trains and evaluates a configuration as it is, then once for each difference with the authors' rule
in its place, and prints a Markdown table with the difference paired over the test images. Rules
that no option switches are put into the package's modules by this script, in a process of its own.
What is finished is not repeated; options of `detection train` may follow. `--only` chooses rows.

    python scripts/experiments/departures.py subset_sppnet_squeezenet runs/departures \
      --proposals.max_boxes 300 --features.levels 1,2,4
    python scripts/experiments/departures.py subset_rcnn_squeezenet runs/departures_rcnn \
      --only mean --proposals.max_boxes 150
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from detection.config import DataConfig, SvmConfig
from detection.data.dataset import read_dataset
from detection.data.images import read_image
from detection.features import scale, sppnet
from detection.features.rcnn import RcnnExtractor
from detection.features.sppnet import SppExtractor
from detection.features.trunk import ConvTrunk
from detection.heads import hard_negatives, negative_cache
from detection.heads.hard_negatives import HardNegativeMiner
from detection.heads.svm import Svms, fit_linear_svms
from detection.inference import dataset
from detection.io.files import write_json_atomic
from detection.report.loading import load_runs
from detection.report.paired import paired_differences
from detection.runs.folder import read_run_config
from detection.structures import Detections, FeatureMap, GroundTruth, Image, RoIFeatures, Size
from detection.training import bbox_targets, examples, row_store, svm_training
from detection.training.examples import TrainingExample, TrainingImages
from detection.training.rois import LabelledRoIs, label_rois, usable
from detection.training.svm_training import Sample, SvmTraining

KEPT_AN_IMAGE = 40
"""Detections of each class of a whole set, on average an image (rcnn_test.m)."""

MEAN_SIDE = 256
"""Side of the mean image (R-CNN's ilsvrc_2012_mean.mat)."""

MEAN_FILE = "MEAN_IMAGE"
"""The environment variable that names the file of the mean image."""

HEAD = (
    "| with the authors' rule | mAP, 11-point | 95% interval over images | against this package's, "
    "paired |\n|---|---|---|---|"
)


class OtherTorch:
    """torch under another name for one of its types.

    Args:
        name: of the type.
        other: what is returned for it.
    """

    def __init__(self, name: str, other: torch.dtype) -> None:
        self._name, self._other = name, other

    def __getattr__(self, name: str) -> Any:
        """Return the other type under the name, and everything else as it is."""
        return self._other if name == self._name else getattr(torch, name)


def background_difficult() -> None:
    """Let a difficult object that is not trained on be background."""

    def label(
        proposals: Tensor, truth: GroundTruth, num_classes: int, *, difficult: bool = True
    ) -> LabelledRoIs:
        return label_rois(proposals, usable(truth, difficult=difficult), num_classes)

    examples.label_rois = label  # type: ignore[attr-defined]


def full_precision_boxes() -> None:
    """Let the box regressors learn from features in float32."""
    wide = OtherTorch("float16", torch.float32)
    bbox_targets.torch = row_store.torch = wide  # type: ignore[attr-defined]


def full_precision_rows() -> None:
    """Let the SVMs learn from rows in float32."""
    wide = OtherTorch("bfloat16", torch.float32)
    hard_negatives.torch = negative_cache.torch = wide  # type: ignore[attr-defined]
    svm_training.torch = wide  # type: ignore[attr-defined]


def released_solver() -> None:
    """Let liblinear stop at 0.1, on rows in float32."""
    import sklearn.svm

    full_precision_rows()
    solver = sklearn.svm.LinearSVC

    def coarse(**options: Any) -> Any:
        return solver(**{**options, "tol": 0.1})

    sklearn.svm.LinearSVC = coarse


def rounded_pixels() -> None:
    """Round resized pixels to 8 bits, and the longer side up."""

    def size_of(size: Size, short_side: int, longest: int = 0, *, min_size: int = 1) -> Size:
        height, width = scale.resized_size(size, short_side, longest, min_size=min_size)
        if longest or min(height, width) != short_side:
            return height, width  # a cap, which the release has not
        up = -(-max(size) * short_side // min(size))
        return (short_side, up) if height <= width else (up, short_side)

    def resize(self: SppExtractor, image: Image) -> list[Tensor]:
        pixels = self.network.upload(image)[None]
        least = self.backbone.min_size
        longest = self.config.max_long_side
        sizes = [size_of(image.size, s, longest, min_size=least) for s in self.config.scales]
        resized = [
            functional.interpolate(pixels, size, mode="bilinear", align_corners=False)
            for size in sizes
        ]
        inputs = [self.network.normalise(whole.round()) for whole in resized]
        return [one.contiguous(memory_format=torch.channels_last)[0] for one in inputs]

    sppnet.SppExtractor.resize = resize  # type: ignore[method-assign]


def first_of_window() -> None:
    """Let a window count by the IoU of its first box; the objects come first."""

    def rows(self: SvmTraining, example: TrainingExample) -> Sample:
        features, rois = example.pool5.map(self._fc), example.rois
        order = (~rois.is_object).int().argsort(stable=True).to(features.rows.device)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device)
        first = torch.full((len(features.values),), len(order), device=order.device)
        first = order[first.scatter_reduce_(0, features.rows, place, "amin")]
        values = self._normaliser.scale(features.values)
        return example.record.image_id, values, rois.max_iou.to(order.device)[first]

    svm_training.SvmTraining._rows = rows  # type: ignore[method-assign]


def objects_in_norm() -> None:
    """Draw the sample of the mean norm from the proposals and the objects."""

    def sample(
        self: TrainingImages, num_images: int, num_boxes: int, seed: int
    ) -> Iterator[RoIFeatures]:
        random = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.records), generator=random)[:num_images].tolist()
        records = [self.records[i] for i in sorted(order)]
        boxes = []
        for record in records:
            every = self.rois(record).boxes
            boxes.append(every[torch.randperm(len(every), generator=random)[:num_boxes]])
        yield from self.source.pool5(records, boxes)

    examples.TrainingImages.sample = sample  # type: ignore[method-assign]


def classes_apart() -> None:
    """Retrain a class when it has its own new negatives, and no other with it."""
    fit_all = HardNegativeMiner.retrain

    def retrain(self: HardNegativeMiner) -> None:
        new = self._new.clone()
        full = new > self.config.retrain_after
        due = full if full.any() else new > 0
        if not self._trained or due.all():
            fit_all(self)
            return

        def fit_due(
            x: Sequence[Tensor],
            targets: Tensor,
            config: SvmConfig,
            initial: Svms,
            class_names: Sequence[str],
        ) -> Svms:
            start = Svms(weight=initial.weight[due], bias=initial.bias[due])
            names = [name for name, one in zip(class_names, due, strict=True) if one]
            own = fit_linear_svms(x, targets[:, due].contiguous(), config, start, names)
            weight, bias = initial.weight.clone(), initial.bias.clone()
            weight[due], bias[due] = own.weight, own.bias
            return Svms(weight=weight, bias=bias)

        hard_negatives.fit_linear_svms = fit_due  # type: ignore[attr-defined]
        fit_all(self)
        hard_negatives.fit_linear_svms = fit_linear_svms  # type: ignore[attr-defined]
        self._new = torch.where(due, 0, new)

    hard_negatives.HardNegativeMiner.retrain = retrain  # type: ignore[method-assign]


def kept_of_the_set() -> None:
    """Score the best detections of each class in the whole set alone."""
    shown = dataset.track

    def track(rows: Iterator[Detections], count: int, name: str) -> list[Detections]:
        found = list(shown(rows, count, name))
        labels = torch.cat([one.labels for one in found])
        scores = torch.cat([one.scores for one in found])
        least = torch.full((int(labels.max()) + 1,), -torch.inf)
        for label in range(len(least)):
            own = scores[labels == label]
            if len(own) > KEPT_AN_IMAGE * count:
                least[label] = own.topk(KEPT_AN_IMAGE * count).values[-1]
        return [one[one.scores >= least[one.labels]] for one in found]

    dataset.track = track  # type: ignore[attr-defined]


def write_mean_image(data: DataConfig, path: Path) -> None:
    """Write what the mean of the training images, RGB, 256 x 256, is beyond its channels' means.

    The channels keep the means that the weights expect: only the place is new.
    """
    total = torch.zeros(1, 3, MEAN_SIDE, MEAN_SIDE)
    records = read_dataset(data, "train").records
    for record in records:
        pixels = read_image(record.path, record.image_id).pixels.permute(2, 0, 1).float()[None]
        total += functional.interpolate(pixels, (MEAN_SIDE,) * 2, mode="bilinear", antialias=True)
    mean = total / len(records)
    save_file({"mean": mean - mean.mean(dim=(2, 3), keepdim=True)}, path)


@functools.cache
def mean_image() -> Tensor:
    """Return what `write_mean_image` wrote, (1, 3, 256, 256)."""
    return load_file(os.environ[MEAN_FILE])["mean"]


def mean_of_each_place() -> None:
    """Subtract a mean image: R-CNN the middle of it from each crop, SPPnet all of it, resized."""
    resize, warp = SppExtractor.resize, RcnnExtractor.warp

    def normalised(network: ConvTrunk, pattern: Tensor) -> Tensor:
        return network.normalise(pattern) - network.normalise(torch.zeros_like(pattern))

    def without_mean(self: SppExtractor, image: Image) -> list[Tensor]:
        pattern = normalised(self.network, mean_image())
        return [
            one - functional.interpolate(pattern, one.shape[1:], mode="bilinear")[0]
            for one in resize(self, image)
        ]

    def crops_without_mean(
        self: RcnnExtractor, maps: Sequence[FeatureMap], boxes: Tensor
    ) -> Tensor:
        first = (MEAN_SIDE - self.crop_size) // 2
        middle = slice(first, first + self.crop_size)
        pattern = normalised(self.network, mean_image()[:, :, middle, middle])
        ones = [replace(one, values=torch.ones_like(one.values)) for one in maps]
        return warp(self, maps, boxes) - warp(self, ones, boxes) * pattern  # no mean beyond borders

    SppExtractor.resize = without_mean  # type: ignore[method-assign]
    RcnnExtractor.warp = crops_without_mean  # type: ignore[method-assign]


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """A difference from the authors' code.

    Attributes:
        rule: what the authors do.
        words: options that do as they do.
        put: puts their rule into the package's modules.
        trains: False where it changes testing alone.
    """

    rule: str
    words: tuple[str, ...] = ()
    put: Callable[[], None] | None = None
    trains: bool = True


DEPARTURES = {
    "set": Departure(
        rule="the best 40 detections an image on average, of each class of the set",
        put=kept_of_the_set,
        trains=False,
    ),
    "pixels": Departure(
        rule="resized pixels rounded to 8 bits, the longer side rounded up", put=rounded_pixels
    ),
    "difficult": Departure(
        rule="difficult objects that are not trained on are background", put=background_difficult
    ),
    "mean": Departure(
        rule="a mean image subtracted (of the training images)", put=mean_of_each_place
    ),
    "overlap": Departure(
        rule="a negative that overlaps another by more than 70% dropped",
        words=("--svm.negative_overlap", "0.7"),
    ),
    "windows": Departure(
        rule="a window that boxes share counts by the IoU of its first box", put=first_of_window
    ),
    "norm": Departure(rule="the objects in the sample of the mean norm", put=objects_in_norm),
    "classes": Departure(rule="each class retrained by itself", put=classes_apart),
    "boxes": Departure(
        rule="box regression learns from features in float32", put=full_precision_boxes
    ),
    "rows": Departure(rule="SVM rows in float32", put=full_precision_rows),
    "solver": Departure(
        rule="liblinear, hinge loss, tolerance 0.1, rows in float32",
        words=("--svm.solver", "sklearn", "--svm.loss", "hinge"),
        put=released_solver,
    ),
}


def run(name: str, words: Sequence[str], out: Path) -> None:
    """Run a command of the package under the rule of a departure."""
    line = [sys.executable, __file__, "--under", name, *words]
    mean = out / "mean.safetensors"
    if name == "mean" and not mean.is_file():
        write_mean_image(read_run_config(out / "base").data, mean)
    subprocess.run(line, check=True, env={**os.environ, MEAN_FILE: str(mean)})


def train_and_evaluate(config: str, out: Path, name: str, words: Sequence[str]) -> Path:
    """Train and evaluate under one rule, unless it was done; return the folder of the result."""
    folder = out / name
    if (folder / "metrics.json").is_file():
        return folder
    departure = DEPARTURES.get(name)
    if departure is not None and not departure.trains:
        run(name, ["evaluate", str(out / "base"), "--out", str(folder)], out)
        return folder
    own = departure.words if departure is not None else ()
    run(name, ["train", "--config", config, *words, *own, "--out", str(folder), "--resume"], out)
    run(name, ["evaluate", str(folder)], out)
    return folder


def row(rule: str, folder: Path, difference: str) -> tuple[str, dict[str, Any]]:
    """Return a line of the table, and what it says."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    low, high = (100 * edge for edge in metrics["interval"])
    value = 100 * metrics["map"]["voc07"]
    line = f"| {rule} | {value:.1f} | {low:.1f} to {high:.1f} | {difference} |"
    return line, {"rule": rule, "map": value, "interval": [low, high], "paired": difference}


def main(config: str, out: Path, words: Sequence[str], names: Sequence[str]) -> None:
    """Measure and print."""
    folders = [train_and_evaluate(config, out, name, words) for name in ("base", *names)]
    differences = [one.format() for one in paired_differences(load_runs(folders))]
    rules = ["none: as the configuration has it", *(DEPARTURES[name].rule for name in names)]
    rows = [row(*cells) for cells in zip(rules, folders, ["", *differences], strict=True)]
    print("\n".join((HEAD, *(line for line, _ in rows))))
    write_json_atomic(out / "departures.json", {"rows": [cells for _, cells in rows]})


if __name__ == "__main__":
    if sys.argv[1] == "--under":
        from detection.cli.main import main as detection

        chosen = DEPARTURES.get(sys.argv[2])
        if chosen is not None and chosen.put is not None:
            chosen.put()
        sys.exit(detection(sys.argv[3:]))
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("config", help="a preset or a file")
    parser.add_argument("out", type=Path, help="folder of the runs")
    parser.add_argument("--only", nargs="+", choices=list(DEPARTURES), default=list(DEPARTURES))
    options, rest = parser.parse_known_args()
    main(options.config, options.out, rest, options.only)
