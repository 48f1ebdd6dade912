"""Whole images in three forms of SPPnet against R-CNN, proposals included, in one run.

The forms: exact, to the bit what the method says; with a cascade that lets ``--keep`` boxes through
to fc6; with the cascade and fc6 and fc7 in 8 bits. R-CNN has the same boxes, network, precision and
form of fc6 and fc7; it can have no cascade, as its conv layers see every box before one could.
SPPnet is timed twice: selective search first, on every thread, and selective search beside
the conv layers, which changes no bit. The forms take turns, before and after R-CNN on each image;
heads are random. The rate of a square product of 4,096 is measured beside, in each precision: the
operations at that rate bound what any implementation can do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, cast

import cv2
import torch
from comparison import Comparison, image_parser, show
from fc import SIDE, best_rate
from whole_image import with_many_boxes

from detection import boundary
from detection.backbones.weights import load_backbone
from detection.benchmark.clock import StageClock
from detection.benchmark.flops import count_flops
from detection.benchmark.instrument import instrument, untrained_detector
from detection.benchmark.speed import configs_of_methods, summarise
from detection.benchmark.unbroken import quartiles
from detection.config import BackboneConfig, CascadeConfig, Config, FeatureConfig, ProposalConfig
from detection.data.folder import list_images
from detection.data.images import read_image
from detection.detector import Detector
from detection.features.memory import extract_within_memory
from detection.heads.fast_fc import Kind
from detection.heads.layer import FcLayer, fc_kind
from detection.io.files import write_json_atomic
from detection.proposals.search import propose
from detection.runs.environment import describe_environment
from detection.structures import Image, Proposals

FORMS = ("exact", "cascade", "cascade, fc int8")
STEPS = {
    "conv": ("conv_s", "conv_s"),
    "network": ("network_s", "network_s"),
    "image": ("with_proposals_s", "with_proposals_s"),
    "image, proposals beside conv": ("beside_s", "with_proposals_s"),
}
"""What is compared -> its sum of SPPnet's stages, and of R-CNN's."""
GOAL = 102.0
"""The paper's ratio, there of the network alone (He et al., Table 10)."""

Row = dict[str, float]
Rows = dict[str, dict[str, list[Row]]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Methods:
    """Both methods in every form.

    Attributes:
        timed: method -> form -> detector, all with the clock.
        plain: method -> detector without it.
        clock: around the stages.
        rows: method -> form -> how many vectors fc6 saw, image by image.
    """

    timed: dict[str, dict[str, Detector]]
    plain: dict[str, Detector]
    clock: StageClock
    rows: dict[str, dict[str, list[int]]]

    @contextmanager
    def time(self) -> Iterator[Row]:
        """Yield a dictionary that has the seconds of each stage at the end, and of ``all``."""
        seconds: Row = {}
        self.clock.reset()
        start = time.perf_counter()
        yield seconds
        seconds["all"] = time.perf_counter() - start
        seconds.update(self.clock.reset())


def make_methods(config: Config) -> Methods:
    """Return both methods in every form; the forms of a method share their weights."""
    backbone = load_backbone(config.backbone)
    plain = {
        name: untrained_detector(backbone, its_config, 20)
        for name, its_config in configs_of_methods(config).items()
    }
    methods = Methods(timed={}, plain=plain, clock=StageClock(torch.device("cpu")), rows={})
    for name, one in plain.items():
        exact = one.with_config(replace(one.config, cascade=replace(config.cascade, enabled=False)))
        small = replace(one, fc=cast(FcLayer, one.fc).prepared("int8"))
        methods.rows[name] = {form: [] for form in FORMS}
        methods.timed[name] = {
            form: instrument(
                replace(detector, fc=counted(detector.fc, methods.rows[name][form])), methods.clock
            )
            for form, detector in zip(FORMS, (exact, one, small), strict=True)
        }
    return methods


def counted(
    function: Callable[[torch.Tensor], torch.Tensor], rows: list[int]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function, which notes how many rows it is called with."""

    def call(x: torch.Tensor) -> torch.Tensor:
        rows.append(len(x))
        return function(x)

    return call


def staged(seconds: Row, shared: Row) -> Row:
    """Return a row for `summarise`: all stages, and as ``suppression`` what no other counts."""
    own = {stage: s for stage, s in seconds.items() if stage != "all"}
    return {**shared, **own, "suppression": seconds["all"] - sum(own.values())}


def time_sppnet(methods: Methods, image: Image, config: ProposalConfig, decode_s: float) -> Rows:
    """Return a row of each form of one image: boxes first, and boxes beside the conv layers.

    Raises:
        SystemExit: if the two do not agree to the bit.
    """
    rows = {}
    for form, detector in methods.timed["sppnet"].items():
        start = time.perf_counter()
        proposals = propose(image, config, threads=torch.get_num_threads())
        search_s = time.perf_counter() - start
        with methods.time() as seconds:
            after = detector.detect(image, proposals)
        row = staged(seconds, {"decode": decode_s, "proposals": search_s})
        with methods.time() as seconds:
            beside = detector.detect(image)
        if not (
            torch.equal(beside.boxes, after.boxes) and torch.equal(beside.scores, after.scores)
        ):
            message = f"{form}: expected the same detections beside the conv layers, got others"
            raise SystemExit(message)
        rows[form] = [{**row, "beside": decode_s + seconds["all"]}]
    return {"sppnet": rows}


def time_rcnn(methods: Methods, image: Image, proposals: Proposals, shared: Row) -> Rows:
    """Return a row of each form of one image: the features once, what follows in each form."""
    rows = {}
    detectors = methods.timed["rcnn"]
    with methods.time() as features, torch.no_grad():
        extractor = detectors[FORMS[0]].extractor
        pool5 = extract_within_memory(extractor, image, proposals.boxes)
    for form, detector in detectors.items():
        with methods.time() as seconds, torch.no_grad():
            detector.detect_pooled(pool5, proposals.boxes, image.size, image.image_id)
        both = {**features, **seconds, "all": features["all"] + seconds["all"]}
        rows[form] = [staged(both, shared)]
    return {"rcnn": rows}


def add(rows: Rows, more: Rows) -> None:
    """Append rows to those of their method and form."""
    for name, forms in more.items():
        for form, its in forms.items():
            rows.setdefault(name, {}).setdefault(form, []).extend(its)


def time_image(methods: Methods, path: Path, config: Config, repeats: int) -> Rows:
    """Return the rows of one image; half of SPPnet's come before R-CNN's, the others after."""
    start = time.perf_counter()
    image = read_image(path, path.stem)
    decode_s = time.perf_counter() - start
    proposals = propose(image, config.proposals)
    time_sppnet(methods, image, config.proposals, decode_s)  # takes memory, and is not counted
    rows: Rows = {}
    for turn in range(repeats):
        if turn == repeats // 2:
            searches = [row["proposals"] for its in rows["sppnet"].values() for row in its]
            shared = {"decode": decode_s, "proposals": median(searches)}
            add(rows, time_rcnn(methods, image, proposals, shared))
        add(rows, time_sppnet(methods, image, config.proposals, decode_s))
    return rows


def floor(
    methods: Methods, name: str, form: str, conv: float, rates: dict[Kind, float]
) -> dict[str, float]:
    """Return the operations of a method, and their seconds at the rates of a product.

    Args:
        methods: after their images.
        name: of the method.
        form: of it.
        conv: operations of the conv layers.
        rates: operations a second of each precision.
    """
    plain = methods.plain[name]
    main = fc_kind(plain.config.features, plain.extractor.dtype)
    kind: Kind = "int8" if form.endswith("int8") else main
    rows = float(median(methods.rows[name][form]))
    head = cast(FcLayer, plain.fc).head
    fc = 2.0 * rows * sum(layer.weight.numel() for layer in head.layers)
    conv_s = conv / rates[main]
    return {
        "fc_rows": rows,
        "conv_flops": conv,
        "fc_flops": fc,
        "conv_s": conv_s,
        "network_s": conv_s + fc / rates[kind],
    }


def summary(rows: list[Row]) -> dict[str, Any]:
    """Return `summarise` of the rows, and the image with boxes beside the conv layers."""
    stages = [{key: value for key, value in row.items() if key != "beside"} for row in rows]
    beside = [row["beside"] for row in rows if "beside" in row]
    return summarise(stages) | ({"beside_s": quartiles(beside)} if beside else {})


def measure(config: Config, paths: list[Path], repeats: int, side: int) -> dict[str, Any]:
    """Return everything that the table shows; ``side`` is that of the square product."""
    methods = make_methods(config)
    main = fc_kind(config.features, methods.plain["sppnet"].extractor.dtype)
    rates: dict[Kind, float] = {}
    rows: Rows = {}
    conv: dict[str, list[float]] = {name: [] for name in methods.plain}
    for path in paths:
        for kind in (main, cast(Kind, "int8")):
            rates[kind] = max(rates.get(kind, 0.0), best_rate(kind, 2, side))
        add(rows, time_image(methods, path, config, repeats))
        image = read_image(path, path.stem)
        proposals = propose(image, config.proposals)
        for name, plain in methods.plain.items():
            conv[name].append(count_flops(plain, image, proposals)["conv"])
    return {
        "rates": rates,
        "methods": {
            name: {form: summary(its) for form, its in forms.items()}
            for name, forms in rows.items()
        },
        "floors": {
            name: {form: floor(methods, name, form, median(conv[name]), rates) for form in forms}
            for name, forms in methods.timed.items()
        },
    }


def compare(result: dict[str, Any]) -> list[Comparison]:
    """Return a line for each form and step."""
    lines = []
    for form in FORMS:
        ours, theirs = (result["methods"][name][form] for name in ("sppnet", "rcnn"))
        kept = "" if form == "exact" else f", {result['keep']} boxes kept"
        for step, (own, other) in STEPS.items():
            ours_s, against_s = ours[own]["median"], theirs[other]["median"]
            lines.append(
                Comparison(
                    step=f"{step}, {result['backbone']}, {result['dtype']}, "
                    f"{result['max_boxes']} boxes, {form}{kept}",
                    ours="SPPnet",
                    against="R-CNN",
                    ours_s=ours_s,
                    against_s=against_s,
                    ratio=against_s / ours_s,
                    reach=GOAL if form == FORMS[-1] and step.endswith("beside conv") else 0.0,
                    max_difference=0.0,
                )
            )
    return lines


def main() -> None:
    """Measure and print."""
    parser = image_parser(__doc__.split("\n", maxsplit=1)[0], num_images=3)
    parser.add_argument("--backbone", default="zf5")
    parser.add_argument("--keep", type=int, default=300, help="boxes that reach fc6")
    parser.add_argument("--max-boxes", type=int, default=2000, help="proposals.max_boxes")
    parser.add_argument("--repeats", type=int, default=5, help="of SPPnet on each image")
    parser.add_argument("--side", type=int, default=SIDE, help="of the square product")
    parser.add_argument("--out", type=Path, help="a folder for the stages")
    options = parser.parse_args()
    boundary.LEAST_THREADS = 1  # whatever pays: both ways are timed
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    config = Config(
        backbone=BackboneConfig(name=options.backbone),
        features=FeatureConfig(dtype="auto", device="cpu", scales=(688,), layer="fc7"),
        proposals=ProposalConfig(mode="paper_fast", max_boxes=options.max_boxes),
        cascade=CascadeConfig(enabled=True, keep=options.keep),
    )
    paths = with_many_boxes(list_images([options.images]), options.num_images, config.proposals)
    result = {
        "backbone": options.backbone,
        "dtype": config.features.dtype,
        "threads": options.threads,
        "scales": list(config.features.scales),
        "max_boxes": options.max_boxes,
        "keep": options.keep,
        "num_images": len(paths),
        "repeats": options.repeats,
        **measure(config, paths, options.repeats, options.side),
        "environment": describe_environment(),
    }
    result["dtype"] = {"fp32": "float32", "bf16": "bfloat16"}[next(iter(result["rates"]))]
    if options.out:
        write_json_atomic(options.out / f"{options.backbone}_forms_cpu.json", result)
    show(compare(result), options.json)


if __name__ == "__main__":
    main()
