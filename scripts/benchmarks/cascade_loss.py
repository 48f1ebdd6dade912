"""The mAP of each form of `whole_image_forms.py`, on the test images of a detector with a cascade.

``cascade_loss.py runs/mine --out docs/results/cascade_map.json`` writes what the speed page shows.
The pooled features of an image are computed once and classified in every form, so that nothing else
differs.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from fc_loss import measure

from detection.config import CascadeConfig
from detection.detector import Detector
from detection.heads.layer import FcLayer
from detection.io.files import write_json_atomic
from detection.model_io import load_detector


def in_every_form(detector: Detector, keep: int, recall: float) -> dict[str, Detector]:
    """Return the detector exact, with a number of boxes kept and with a recall, also in 8 bits."""
    if not isinstance(detector.fc, FcLayer) or detector.cascade is None:
        message = "run: expected a detector with fc layers and a cascade, got another"
        raise SystemExit(message)
    cascades = {
        "exact": CascadeConfig(),
        "cascade": CascadeConfig(enabled=True, keep=keep),
        f"recall {recall:g}": CascadeConfig(enabled=True, recall=recall),
    }
    fcs = {"": detector.fc, ", fc int8": detector.fc.prepared("int8")}
    return {
        f"{name}{form}": replace(detector, fc=fc, config=replace(detector.config, cascade=cascade))
        for name, cascade in cascades.items()
        for form, fc in fcs.items()
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("run", type=Path, help="the run folder of a trained detector")
    parser.add_argument("--keep", type=int, default=300, help="cascade.keep")
    parser.add_argument("--recall", type=float, default=0.95, help="cascade.recall")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="a JSON file: form -> mAP")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    detector = load_detector(options.run)
    values = measure(in_every_form(detector, options.keep, options.recall), detector.config)
    for name, value in values.items():
        print(f"{name}: {value:.2f}")
    if options.out is not None:
        write_json_atomic(options.out, {name: value / 100 for name, value in values.items()})


if __name__ == "__main__":
    main()
