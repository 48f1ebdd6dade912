"""Whole commands on one device, in small: each returns numbers that no device may change."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import detection
from detection import Detector, read_image
from detection.backbones.weights import BACKBONES, load_backbone
from detection.classification.model_io import load_classifier
from detection.classification.whole_image import image_features
from detection.cli import main
from detection.config import BackboneConfig, Config, DataConfig, FeatureConfig, SvmConfig
from detection.data.dataset import read_dataset
from detection.ensemble import Ensemble
from detection.export.inputs import graph_inputs
from detection.features.factory import make_extractor
from detection.features.memory import extract_within_memory
from detection.heads import negative_cache
from detection.heads.svm import Svms, fit_linear_svms
from detection.io.device import device_name
from detection.proposals.search import propose
from detection.runs.folder import RunFolder, reopen_run
from detection.serving.service import Upload, load_service
from detection.structures import Detections
from detection.training.distributed import ALONE
from detection.training.pipeline import train_detector, tuned_network
from detection.training.rois import max_by_row
from tests.classification.tiny_classifier import tiny_blueprint, write_class_folders
from tests.faults.small import SETTINGS, write_tree
from tests.training import tiny

Numbers = dict[str, Any]

THREE_SCALES = ("--features.scales", "64,96,128")
RCNN = ("--features.method", "rcnn", "--features.context", "4")
TUNED = (
    *("--features.layer", "fc7", "--finetune.enabled", "true", "--finetune.fc_size", "16"),
    *("--finetune.iterations", "6", "--finetune.checkpoint_every", "3"),
    *("--finetune.batch_size", "16", "--finetune.validation_fraction", "0.2"),
    *("--finetune.validate_every", "3", "--finetune.validation_batches", "2"),
)
SOFTMAX = (*TUNED, "--finetune.scores", "softmax", "--finetune.joint_bbox", "true")
PRETRAIN = (
    *("--backbone.name", "tiny", "--pretrain.sizes", "32,24", "--pretrain.short_side", "36"),
    *("--pretrain.levels", "1,2", "--pretrain.fc_size", "8", "--pretrain.epochs", "2"),
    *("--pretrain.batch_size", "8", "--pretrain.init", "kaiming", "--pretrain.dropout", "0"),
    *("--pretrain.source", "folder", "--pretrain.learning_rate", "0.01"),
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a scenario runs.

    Attributes:
        device: name of it.
        folder: for its runs; another one for each device.
        data: a VOC tree, and folders of classes, shared.
    """

    device: str
    folder: Path
    data: Path

    def on_device(self) -> list[str]:
        return ["--features.device", self.device, "--features.dtype", "float32"]

    def voc(self) -> list[str]:
        boxes = ["--proposals.folder", str(self.data / "boxes")]
        return ["--data.root", str(self.data / "voc"), *boxes]

    def image(self, number: int = 7) -> Path:
        return self.data / "voc" / "JPEGImages" / f"{number:06d}.jpg"

    def detector(self, run: Path) -> Detector | Ensemble:
        return detection.load(run, device=self.device)


def prepare(data: Path) -> None:
    """Write what all scenarios read, and make the network known that they use."""
    BACKBONES["tiny"] = tiny_blueprint
    if not data.exists():
        (data / "voc").mkdir(parents=True)
        write_tree(data / "voc")
        write_class_folders(data / "classes", pictures=4)


def run(*words: object) -> None:
    """Run a command of the package, which must succeed."""
    code = main([str(word) for word in (*words, "--debug")])
    if code:
        message = f"{words}: exit code {code}"
        raise RuntimeError(message)


def train(place: Place, name: str, *options: str) -> Path:
    """Train once and return the run folder."""
    out = place.folder / name
    if not out.exists():
        own = [*SETTINGS, "--backbone.name", "tiny", *place.on_device(), *place.voc()]
        run("train", *own, *options, "--out", out)
    return out


def evaluate(place: Place, name: str, *words: object) -> Numbers:
    """Evaluate runs and return the scores and the detections."""
    out = place.folder / f"{name}-results"
    run("evaluate", *words, "--device", place.device, "--out", out)
    values = json.loads((out / "metrics.json").read_text())
    return {"map": values["map"], **numbers_of_rows(out / "detections" / "coco.json")}


def numbers_of_rows(path: Path) -> Numbers:
    """Return COCO's rows in an order that rounding does not change."""
    rows = json.loads(path.read_text())
    rows.sort(key=lambda row: (str(row["image_id"]), row["category_id"], round(row["score"], 2)))
    return {"count": len(rows), "scores": sorted(row["score"] for row in rows)}


def numbers_of(actual: Detections) -> Numbers:
    """Return what a detector found, and that it is on the CPU."""
    devices = {t.device.type for t in (actual.boxes, actual.scores, actual.labels)}
    return {
        "devices": sorted(devices),
        "boxes": actual.boxes.tolist(),
        "scores": actual.scores.tolist(),
        "labels": actual.labels.tolist(),
    }


def sppnet(place: Place) -> Numbers:
    out = train(place, "sppnet")
    return evaluate(place, "sppnet", out) | numbers_of(place.detector(out).detect(place.image()))


def sppnet_three_scales(place: Place) -> Numbers:
    return evaluate(place, "scales", train(place, "scales", *THREE_SCALES))


def rcnn(place: Place) -> Numbers:
    return evaluate(place, "rcnn", train(place, "rcnn", *RCNN))


def random_negatives_in_a_small_cache(place: Place) -> Numbers:
    mined = ("--svm.random_negatives", "4", "--svm.max_hard", "3", "--svm.retrain_after", "8")
    return evaluate(place, "mined", train(place, "mined", *mined))


def liblinear(place: Place) -> Numbers:
    return evaluate(place, "liblinear", train(place, "liblinear", "--svm.solver", "sklearn"))


def tuned_fc_layers(place: Place) -> Numbers:
    return evaluate(place, "tuned", train(place, "tuned", *TUNED))


def tuned_conv_layers_with_softmax(place: Place) -> Numbers:
    options = (*SOFTMAX, *THREE_SCALES, "--finetune.open_layers", "1")
    return evaluate(place, "softmax", train(place, "softmax", *options))


def tuned_end_to_end(place: Place) -> Numbers:
    options = (
        *("--finetune.optimizer", "adamw", "--finetune.schedule", "one_cycle"),
        *("--finetune.epochs", "1", "--finetune.images_per_batch", "2"),
        *("--finetune.scales", "64,96", "--finetune.easy_negatives", "0.5"),
        *("--finetune.clip_norm", "10", "--finetune.open_layers", "2"),
        *("--features.layer", "fc6", "--features.projection", "fast_rcnn"),
        *("--features.maps", "3,1", "--features.map_scales", "1,0.5"),
    )
    return evaluate(place, "end-to-end", train(place, "end-to-end", *SOFTMAX, *options))


def tuned_rcnn(place: Place) -> Numbers:
    return evaluate(place, "tuned-rcnn", train(place, "tuned-rcnn", *RCNN, *TUNED))


def mirrored_and_voting(place: Place) -> Numbers:
    voting = ("--postprocess.first_nms", "false", "--postprocess.vote_iou", "0.5")
    options = ("--postprocess.flip", "true", *voting)
    return evaluate(place, "mirrored", train(place, "sppnet"), *options)


def soft_suppression(place: Place) -> Numbers:
    options = {"score_threshold": 0.0, "first_nms": "false", "soft_sigma": 0.3}
    words = [word for name, value in options.items() for word in (f"--postprocess.{name}", value)]
    return evaluate(place, "soft", train(place, "sppnet"), *map(str, words))


def combination(place: Place) -> Numbers:
    runs = (train(place, "sppnet"), train(place, "rcnn", *RCNN))
    return evaluate(place, "combined", *runs, "--postprocess.flip", "true")


def detect_command(place: Place) -> Numbers:
    out, coco = place.folder / "detect", place.folder / "detect.json"
    words = (train(place, "sppnet"), place.data / "voc" / "JPEGImages", "--threshold", "-5")
    run("detect", *words, "--device", place.device, "--out", out, "--coco", coco)
    return numbers_of_rows(coco) | {"drawings": len(list(out.glob("*.png")))}


def serve(place: Place) -> Numbers:
    runs = [train(place, "sppnet"), train(place, "rcnn", *RCNN)]
    with reopen_run(runs[0]) as opened:
        service = load_service(runs, opened.config, device=place.device)
    answer = service.answer(Upload(name="a.jpg", data=place.image().read_bytes()))
    return {
        model.name: [(actual.score, actual.box) for actual in model.detections]
        for model in answer.models
    }


def benchmark(place: Place) -> Numbers:
    out = place.folder / "benchmark"
    options = ("--features.layer", "fc7", "--features.context", "4", "--features.scales", "96")
    words = ("--backbone.name", "tiny", *place.on_device(), *options, "--out", out)
    images = place.data / "voc" / "JPEGImages"
    run("benchmark", *words, "--images", images, "--num_images", "2", "--proposals.max_boxes", "20")
    result = json.loads((out / "benchmark.json").read_text())
    stages = {name: sorted(values["stages"]) for name, values in result["methods"].items()}
    return {
        "stages": stages,
        "flops": result["flops"],
        "device": result["device"] == device_name(torch.device(place.device)),
        "unbroken": times_without_clocks(result) == (place.device != "cpu"),
    }


def times_without_clocks(result: Numbers) -> bool:
    """Return whether a benchmark has them; they must be right where it has."""
    actual = result.get("unbroken", {})
    for method in actual.values():
        seconds = {key: method[key]["median"] for key in ("network_s", "without_proposals_s")}
        if min(seconds.values()) <= 0:
            message = f"expected times above 0, got {seconds}"
            raise ValueError(message)
    return bool(actual) and actual.keys() == result["methods"].keys()


def export_and_report(place: Place) -> Numbers:
    out = train(place, "sppnet")
    evaluate(place, "sppnet", out)
    run("export", out, "--format", "torch-export", "--out", place.folder / "graph.pt2")
    results = (place.folder / "sppnet-results", place.folder / "rcnn-results")
    run("report", *(path for path in results if path.exists()), "--out", place.folder / "r.html")
    detector, image = place.detector(out), read_image(place.image())
    boxes = propose(image, detector.config.proposals).boxes
    arrays = graph_inputs(detector, image, boxes)
    return {name: array.tolist() for name, array in arrays.items()}


def classifier(place: Place) -> Numbers:
    out, root = place.folder / "classifier", ("--pretrain.root", place.data / "classes")
    run("pretrain", *PRETRAIN, *root, "--features.device", place.device, "--out", out)
    views = ("--classify.views", "centre,ten,full,ten_maps,all_maps,all_maps_full")
    scales = ("--classify.scales", "36,44")
    run("classify-views", out, *views, *scales, "--out", place.folder / "views")
    metrics = json.loads((place.folder / "views" / "metrics.json").read_text())
    weights = load_classifier(out).model.state_dict()
    return {"views": metrics["views"], "weights": {n: w.tolist() for n, w in weights.items()}}


def classified_images(place: Place) -> Numbers:
    features = FeatureConfig(layer="pool5", scales=(64,), device=place.device, dtype="float32")
    data = DataConfig(root=str(place.data / "voc"), train_split="trainval")
    config = Config(data=data, backbone=BackboneConfig(name="tiny"), features=features)
    extractor = make_extractor(load_backbone(config.backbone, to_train=True), config.features)
    values = image_features(read_dataset(config.data, "train"), extractor, config)
    return {"values": values.tolist(), "device": values.device.type}


def moved_detector(place: Place) -> Numbers:
    """Move a detector that was trained on the device to the CPU and back; none of them changes."""
    there = place.detector(
        train(place, "softmax", *SOFTMAX, *THREE_SCALES, "--finetune.open_layers", "1")
    )
    here = there.to("cpu")
    back = here.to(place.device)
    devices = [detector.device.type for detector in (there, here, back)]
    expected = [place.device, "cpu", place.device]
    actual = [numbers_of(detector.detect(place.image())) for detector in (there, here, back)]
    return {"devices": devices == expected, "found": actual}


def moved_svms(place: Place) -> Numbers:
    """Move SVMs and box regressors with their detector."""
    there = place.detector(train(place, "sppnet"))
    here = there.to("cpu")
    found = [numbers_of(detector.detect(place.image())) for detector in (there, here)]
    return {"found": found, "back": numbers_of(here.to(place.device).detect(place.image()))}


def trained_in_memory(place: Place) -> Numbers:
    """Apply what was trained without a model file in between."""
    settings = tiny.config(enabled=False, fc_size=0)
    features = replace(settings.features, device=place.device)
    postprocess = replace(settings.postprocess, score_threshold=-10.0)
    config = replace(settings, features=features, postprocess=postprocess)
    folder = place.folder / "tiny"
    folder.mkdir(parents=True)
    records = tiny.records(folder)
    images = tiny.training_images(config, records)
    run_folder = RunFolder(path=folder, config=config)
    network = tuned_network(images, config, run_folder, resume=False, workers=ALONE)
    detector = train_detector(network, config)
    detections = detector.detect(records[0].path, tiny.proposals(records[0]))
    boxes = detections.boxes.sort(dim=0).values  # those of equal scores come in any order
    return {"scores": detections.scores.tolist(), "boxes": boxes.tolist()}


def memory_that_runs_out(place: Place) -> Numbers:
    """Pool fewer boxes at a time, with the same vectors."""
    detector, image = place.detector(train(place, "sppnet")), read_image(place.image())
    boxes = propose(image, detector.config.proposals).boxes
    extractor = detector.extractor
    pool, sizes = extractor.pool, []

    def short_of_memory(maps: Any, some: torch.Tensor, scale: Any = None) -> Any:
        sizes.append(len(some))
        if len(some) > 8:
            message = "out of memory"
            raise torch.OutOfMemoryError(message)
        return pool(maps, some, scale)

    extractor.pool = short_of_memory
    values = extract_within_memory(extractor, image, boxes).expand()
    return {"values": values.tolist(), "largest": sizes[0], "smallest": sizes[-1] <= 8}


def rows_in_host_memory(place: Place) -> Numbers:
    """Train SVMs on rows that the device's memory does not hold."""
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(60, 12, generator=random)
    labels = (rows[:, :3] + 0.3 * torch.randn(60, 3, generator=random)).sign().to(torch.int8)
    device = torch.device(place.device)
    blocks = [rows[:30].to(torch.bfloat16), rows[30:].to(device, torch.bfloat16)]
    fitted = fit_linear_svms(blocks, labels.to(device), SvmConfig())
    cache = negative_cache.NegativeCache(12, 3, device, storage=torch.device("cpu"))
    negative = labels.to(device) < 0
    cache.add(0, rows.to(device), negative)
    cache.add(0, rows.to(device), negative)
    cache.drop(fitted, -0.5)
    cache.limit(Svms.zero(3, 12), 3 * 2 * 12)
    where = {block.device.type for block in cache.blocks}
    scores = cache.scores(fitted)
    return {
        "weight": fitted.weight.tolist(),
        "kept": len(cache),
        "where": where == {"cpu"},
        "scores": scores.tolist(),
        "device": scores.device.type == device.type,
    }


def proposals_of_an_image_there(place: Place) -> Numbers:
    """Search the boxes of an image whose pixels are on the device already."""
    detector = place.detector(train(place, "sppnet"))
    return numbers_of(detector.detect(read_image(place.image()).to(torch.device(place.device))))


def overlaps_of_shared_rows(place: Place) -> Numbers:
    """Compare boxes on the CPU with the rows of features that are on the device."""
    overlaps = torch.tensor([[0.1, 0.9], [0.7, 0.2], [0.3, 0.4]])
    rows = torch.tensor([0, 0, 1], device=place.device)
    greatest = max_by_row(overlaps, rows, 2)
    return {"values": greatest.tolist(), "device": greatest.device.type == place.device}


SCENARIOS: dict[str, Callable[[Place], Numbers]] = {
    function.__name__: function
    for function in (
        sppnet,
        sppnet_three_scales,
        rcnn,
        random_negatives_in_a_small_cache,
        liblinear,
        tuned_fc_layers,
        tuned_conv_layers_with_softmax,
        tuned_end_to_end,
        tuned_rcnn,
        mirrored_and_voting,
        soft_suppression,
        combination,
        detect_command,
        serve,
        benchmark,
        export_and_report,
        classifier,
        classified_images,
        moved_detector,
        moved_svms,
        trained_in_memory,
        memory_that_runs_out,
        rows_in_host_memory,
        proposals_of_an_image_there,
        overlaps_of_shared_rows,
    )
}
