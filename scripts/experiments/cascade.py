"""Fit a cascade to a detector that is trained already, and write both as another run.

``python scripts/experiments/cascade.py runs/mine runs/mine_cascade --cascade.recall 0.99``; then
``detection evaluate runs/mine_cascade --cascade.recall 0.999`` tries another recall. Nothing is
seen but training images.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from detection.data.dataset import read_dataset
from detection.model_io import load_detector, save_detector
from detection.proposals.dataset import propose_dataset
from detection.runs.config_io import apply, read_option, write_config
from detection.runs.folder import MODEL_NAME, read_run_config
from detection.training.cascade import fit_cascade
from detection.training.pipeline import training_images


def main(run: Path, out: Path, words: list[str]) -> None:
    """Fit and write."""
    options = {"enabled": True}
    for name, text in zip(words[::2], words[1::2], strict=True):
        option = name.removeprefix("--cascade.")
        options[option] = read_option("cascade", option, text)
    config = apply(read_run_config(run), {"cascade": options})
    detector = load_detector(run).with_config(config)
    dataset = read_dataset(config.data, "train", class_names=detector.class_names)
    store = propose_dataset(dataset, config.proposals, Path(config.proposals.folder))
    images = training_images(dataset, store, detector.extractor, config)
    shutil.copytree(run, out)
    (out / "config.yaml").write_text(write_config(config), encoding="utf-8")
    save_detector(out / MODEL_NAME, fit_cascade(detector, images))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
