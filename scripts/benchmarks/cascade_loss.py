"""The mAP of each form of `whole_image_forms.py`, on the test images of a detector with a cascade.

``cascade_loss.py runs/mine --out docs/results/cascade_map.json`` writes what the speed page shows:
of each form its mAP, and how far that is from the exact one, with the paired 95% interval over
images. The pooled features of an image are computed once and classified in every form, so that
nothing else differs. Options of the detector may follow: ``--data.test_split fold``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from fc_loss import detect_all

from detection.config import CascadeConfig, Config
from detection.detector import Detector
from detection.evaluation.bootstrap import bootstrap_difference
from detection.evaluation.matching import ClassMatches, match_detections
from detection.evaluation.voc_ap import score_matches
from detection.heads.layer import FcLayer
from detection.io.files import write_json_atomic
from detection.model_io import load_detector
from detection.runs.config_io import apply, read_option


def in_every_form(detector: Detector, keep: int, recall: float) -> dict[str, Detector]:
    """Return the detector exact, with a number of boxes kept and with a recall, also in 8 bits.

    Without a cascade it is exact alone.
    """
    if not isinstance(detector.fc, FcLayer):
        message = "run: expected a detector with fc layers, got another"
        raise SystemExit(message)
    cascades = {"exact": CascadeConfig()}
    if detector.cascade is not None:
        cascades["cascade"] = CascadeConfig(enabled=True, keep=keep)
        cascades[f"recall {recall:g}"] = CascadeConfig(enabled=True, recall=recall)
    fcs = {"": detector.fc, ", fc int8": detector.fc.prepared("int8")}
    return {
        f"{name}{form}": replace(detector, fc=fc, config=replace(detector.config, cascade=cascade))
        for name, cascade in cascades.items()
        for form, fc in fcs.items()
    }


def measure(detectors: dict[str, Detector], config: Config) -> dict[str, dict[str, float]]:
    """Return the mAP of each form, and its difference from that of the first with an interval."""
    dataset, detections = detect_all(detectors, config)
    truths = [record.truth for record in dataset.records]
    names, iou = dataset.class_names, config.evaluation.iou
    matches: dict[str, list[ClassMatches]] = {
        form: list(match_detections(truths, its, len(names), iou=iou))
        for form, its in detections.items()
    }
    first = next(iter(matches.values()))
    maps = {
        form: float(score_matches(its, names, iou=iou, rule="voc07").map)
        for form, its in matches.items()
    }
    losses = {}
    for form, its in matches.items():
        low, high = bootstrap_difference(first, its)
        difference = maps[form] - next(iter(maps.values()))
        losses[form] = {"map": maps[form], "difference": difference, "low": low, "high": high}
    return losses


def with_options(detector: Detector, words: Sequence[str]) -> Detector:
    """Return the detector with options of its configuration, as ``--data.test_split fold``."""
    options: dict[str, dict[str, object]] = {}
    for word, text in zip(words[::2], words[1::2], strict=True):
        section, _, name = word.removeprefix("--").partition(".")
        options.setdefault(section, {})[name] = read_option(section, name, text)
    return detector.with_config(apply(detector.config, options))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("run", type=Path, help="the run folder of a trained detector")
    parser.add_argument("--keep", type=int, default=300, help="cascade.keep")
    parser.add_argument("--recall", type=float, default=0.95, help="cascade.recall")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="a JSON file: form -> mAP and difference")
    options, words = parser.parse_known_args()
    torch.set_num_threads(options.threads)
    detector = with_options(load_detector(options.run), words)
    losses = measure(in_every_form(detector, options.keep, options.recall), detector.config)
    for form, its in losses.items():
        mean, *rest = (100 * its[key] for key in ("map", "difference", "low", "high"))
        print(f"{form}: {mean:.2f}" + ", {:+.2f} ({:+.2f} to {:+.2f})".format(*rest))
    if options.out is not None:
        write_json_atomic(options.out, losses)


if __name__ == "__main__":
    main()
