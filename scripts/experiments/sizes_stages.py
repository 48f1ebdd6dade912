"""One training with the processor time of its stages, its memory and its files; see `sizes.py`.

``sizes_stages.py svms|finetune VOCDEVKIT LIST WEIGHTS OUT`` trains and writes OUT/stages.json.
"""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import detection.data.image_prefetch as prefetch
from detection.config import Config
from detection.features.sppnet import SppExtractor
from detection.heads.hard_negatives import HardNegativeMiner
from detection.io.files import write_json_atomic
from detection.io.peak_memory import start_peak_memory
from detection.runs.config_io import config_from_dict
from detection.training import pipeline
from detection.training.bbox_targets import BBoxExamples
from detection.training.mining_checkpoint import MiningCheckpoints
from detection.training.row_store import RowStore

SVMS = {
    "features": {
        "layer": "pool5",
        "scales": [128],
        "levels": [1, 2, 3],
        "power": 0.5,
        "dtype": "float32",
        "memory_gib": 0.5,
    },
    "proposals": {"max_boxes": 100, "workers": 1},
    "svm": {
        "c": 0.01,
        "random_negatives": 10,
        "max_hard": 10,
        "hard_score": -0.8,
        "easy_score": -1.1,
        "retrain_after": 3000,
        "tolerance": 0.01,
        "cache_gib": 0.5,
    },
    "bbox": {"memory_gib": 0.25},
}
"""SVMs on pool5 and box regression: 128 pixels, 100 boxes, vectors of 7,168 numbers."""

FINETUNE = {
    **SVMS,
    "features": {**SVMS["features"], "layer": "fc6"},
    "bbox": {"enabled": False},
    "calibration": {"enabled": False},
    "finetune": {
        "enabled": True,
        "epochs": 1,
        "images_per_batch": 4,
        "fc_size": 1024,
        "joint_bbox": True,
        "scores": "softmax",
        "map_dtype": "bfloat16",
        "validation_fraction": 0.0,
    },
}
"""An epoch of one fc layer, a softmax and box regression on frozen conv layers."""


class Meter:
    """The processor seconds of named parts of a thread; a part inside another is not counted twice.

    Attributes:
        seconds: of each part.
        peaks: GiB that the process held at most before box regression, and in it.
        files: bytes on the disk at most: of checkpoints, and of box regression.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.peaks: dict[str, float] = {}
        self.files: dict[str, int] = defaultdict(int)
        self._names: list[str] = ["mining"]
        self._since = time.thread_time()

    def _charge(self) -> None:
        now = time.thread_time()
        self.seconds[self._names[-1]] += now - self._since
        self._since = now

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens inside as this part."""
        self._charge()
        self._names.append(name)
        try:
            yield
        finally:
            self._charge()
            self._names.pop()

    def count(self, owner: Any, method: str, name: str) -> None:
        """Make each call of a method, or of a module's function, a part."""
        inner = getattr(owner, method)

        @wraps(inner)
        def call(*words: Any, **named: Any) -> Any:
            with self.part(name):
                return inner(*words, **named)

        setattr(owner, method, call)

    def count_reader(self) -> None:
        """Add the seconds of the thread that reads images to the features."""
        inner = prefetch.read_image

        @wraps(inner)
        def read(*words: Any, **named: Any) -> Any:
            start = time.thread_time()
            image = inner(*words, **named)
            self.seconds["features"] += time.thread_time() - start
            return image

        prefetch.read_image = read

    def watch_regression(self) -> None:
        """Note the memory before and in the fit of the box regressors, and its files."""
        inner, begin = BBoxExamples.fit, start_peak_memory()

        def fit(examples: BBoxExamples) -> Any:
            self.peaks["mining"] = begin() or 0.0
            store = examples._store
            if isinstance(store, RowStore):
                its = [os.fstat(file.fileno()) for file in store._files if file is not None]
                self.files["box regression"] = sum(one.st_size for one in its)
            peak = start_peak_memory()
            result = inner(examples)
            self.peaks["box regression"] = peak() or 0.0
            return result

        BBoxExamples.fit = fit  # type: ignore[method-assign]

    def watch_checkpoints(self) -> None:
        """Note the size of the checkpoints while both the old one and the new one are there."""
        inner = MiningCheckpoints._commit

        def commit(checkpoints: MiningCheckpoints, manifest: dict[str, Any]) -> None:
            size = size_of(checkpoints.folder)
            self.files["checkpoints"] = max(self.files["checkpoints"], size)
            inner(checkpoints, manifest)

        MiningCheckpoints._commit = commit  # type: ignore[method-assign]


def size_of(folder: Path) -> int:
    """Return the bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def train_svms(config: Config, out: Path) -> dict[str, Any]:
    """Train SVMs and box regressors; return what the stages took."""
    meter = Meter()
    meter.count_reader()
    meter.watch_regression()
    meter.watch_checkpoints()
    for owner, method, name in (
        (pipeline, "read_dataset", "data"),
        (pipeline, "_proposed", "data"),
        (pipeline, "describe_data", "data"),
        (SppExtractor, "encode_image", "features"),
        (SppExtractor, "pool", "features"),
        (HardNegativeMiner, "retrain", "SVMs"),
        (MiningCheckpoints, "save", "checkpoints"),
        (BBoxExamples, "fit", "box regression"),
        (pipeline, "calibrate", "calibration"),
    ):
        meter.count(owner, method, name)
    retrainings: list[float] = []
    pipeline.train(
        config,
        out,
        callbacks=[lambda event: retrainings.append(event.metrics.get("retrainings", 0.0))],
    )
    with meter.part("the end"):
        pass
    return {
        "seconds": dict(meter.seconds),
        "peaks": meter.peaks,
        "files": dict(meter.files),
        "retrainings": max(retrainings),
    }


def train_epoch(config: Config, out: Path) -> dict[str, Any]:
    """Fine-tune for an epoch; return what its steps took, and the rest."""
    marks: list[float] = []
    peak = start_peak_memory()
    pipeline.train(
        config,
        out,
        callbacks=[
            lambda event: (
                marks.append(time.process_time())
                if event.stage in {"proposals", "fine-tuning"}
                else None
            )
        ],
    )
    return {
        "seconds": {"fine-tuning": marks[-1] - marks[0]},
        "peaks": {"fine-tuning": peak() or 0.0},
        "steps": len(marks) - 1,
    }


def main(kind: str, voc: Path, split: str, weights: str, *, out: Path) -> None:
    """Train and write."""
    preset = SVMS if kind == "svms" else FINETUNE
    values = {
        **preset,
        "data": {"root": str(voc), "train_split": split, "test_split": split},
        "proposals": {**preset["proposals"], "folder": str(voc.parent / "proposals")},
        "backbone": {"name": "squeezenet", "weights": weights, "preprocessing": "caffe"},
    }
    result = (train_svms if kind == "svms" else train_epoch)(config_from_dict(values), out)
    write_json_atomic(out / "stages.json", result)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:5], out=Path(sys.argv[5]))
