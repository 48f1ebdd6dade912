"""The detectors that `detectors.py` times: this package's, and torchvision's in their fastest form.

Weights of torchvision's trunks are random, except for EfficientNet-Lite0. Its last layers are sure
of the background: nothing is found, and nothing is left to suppress, which is the least time that
a trained one could take. Its proposals are the anchors themselves, by a random score, so that as
many as configured reach the box head, less those that suppression at 0.7 removes.
"""

from __future__ import annotations

import copy
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.ssd import SSD
from whole_image_forms import counted

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "experiments"))

from torchvision_detectors import build_faster_rcnn, build_ssdlite  # noqa: E402

from detection.backbones.weights import initialise  # noqa: E402
from detection.config import CascadeConfig, Config, ProposalConfig  # noqa: E402
from detection.data.folder import list_images  # noqa: E402
from detection.data.images import read_image  # noqa: E402
from detection.detector import Detector  # noqa: E402
from detection.ensemble import Ensemble, combine  # noqa: E402
from detection.inference.images import detect  # noqa: E402
from detection.model_io import load_detector  # noqa: E402
from detection.runs.config_io import apply, read_config_file  # noqa: E402
from detection.structures import Image, Proposals  # noqa: E402

CONFIGS = HERE.parents[1] / "configs"
NUM_CLASSES = 20
FEW = 300
RECALL = 0.95
SHIPPED = {
    "fasterrcnn_mobilenet_v3_large_fpn": "800",
    "fasterrcnn_mobilenet_v3_large_320_fpn": "320",
    "ssdlite320_mobilenet_v3_large": "320 x 320",
}
"""torchvision's models as they come -> the shorter side of their inputs, or both."""
SURE = 50.0
"""The logit of the background, where those of all classes are 0."""
BATCHES = (1, 4)
TRIALS = 3

Network = FasterRCNN | SSD


@dataclass(frozen=True, eq=False, kw_only=True)
class Way:
    """One detector.

    Attributes:
        name: of it.
        side: of its inputs, as text.
        form: how it runs, where it was chosen.
        detect: of pixels, with boxes or without.
        proposals: how boxes are searched; None where the network finds them.
        folder: how a folder of images is worked off -> its seconds an image.
        boxes: how many the fc layers of the head see; 0 without such layers.
    """

    name: str
    side: str
    form: str = ""
    detect: Callable[[Image, Proposals | None], Any]
    proposals: ProposalConfig | None = None
    folder: dict[str, Callable[[Path], float]]
    boxes: Callable[[Image, Proposals | None], int]


def sppnet_ways(run: Path, cascade_run: Path | None) -> Iterator[Way]:
    """Yield SPPnet with all boxes, with few, with a cascade, and over six views of the image.

    Args:
        run: of a trained detector.
        cascade_run: of one that has a cascade; None leaves that way out.
    """
    exact = in_float32(load_detector(run, device="cpu"))
    config = replace(exact.config, cascade=CascadeConfig())
    few = replace(config, proposals=replace(config.proposals, max_boxes=FEW))
    views = apply(Config(), read_config_file(CONFIGS / "subset_sppnet_lite0_multiscale.yaml"))
    detectors = {
        "SPPnet, all boxes": combine([exact], config),
        f"SPPnet, {FEW} boxes": combine([exact], few),
    }
    if cascade_run is not None:
        cascade = CascadeConfig(enabled=True, recall=RECALL)
        fitted = in_float32(load_detector(cascade_run, device="cpu"))
        detectors["SPPnet, cascade"] = combine([fitted], replace(config, cascade=cascade))
    averaged = replace(config, postprocess=views.postprocess)
    detectors["SPPnet, 6 views"] = combine([exact], averaged)
    for name, detector in detectors.items():
        sides = detector.config.postprocess.scales or detector.config.features.scales
        yield Way(
            name=name,
            side=", ".join(map(str, sides)),
            detect=detector.detect,
            proposals=detector.config.proposals,
            folder={"detection detect": partial(detect_folder, detector)},
            boxes=partial(rows_of_fc, detector),
        )


def in_float32(detector: Detector) -> Detector:
    """Return the detector with conv and fc layers in float32, as torchvision's run."""
    if detector.extractor.dtype == torch.float32:
        return detector
    features = replace(detector.config.features, dtype="float32")
    return detector.with_config(replace(detector.config, features=features)).to("cpu")


def detect_folder(detector: Detector | Ensemble, folder: Path) -> float:
    """Return the seconds an image of ``detection detect``; nothing is drawn."""
    with tempfile.TemporaryDirectory() as out:
        summary = detect(detector, [folder], Path(out), draw=False)
    return summary.seconds / summary.images


def rows_of_fc(
    detector: Detector | Ensemble, image: Image, proposals: Proposals | None = None
) -> int:
    """Return how many vectors the fc layers see: of each view one for each distinct window."""
    rows: list[int] = []
    if isinstance(detector, Ensemble):
        members = tuple(replace(one, fc=counted(one.fc, rows)) for one in detector.members)
        replace(detector, members=members).detect(image, proposals)
    else:
        replace(detector, fc=counted(detector.fc, rows)).detect(image, proposals)
    return sum(rows)


def torchvision_ways(weights: str, images: Sequence[Image], only: str = "") -> Iterator[Way]:
    """Yield torchvision's detectors, each in the form that is the fastest on some images.

    Args:
        weights: of EfficientNet-Lite0, as in the configuration.
        images: to choose by.
        only: a regular expression that their names must contain.
    """
    for name, (side, build) in builders(weights).items():
        if re.search(only, name):
            model = quiet(build().requires_grad_(requires_grad=False).eval())
            yield torchvision_way(name, side, model, images)


def builders(weights: str) -> dict[str, tuple[str, Callable[[], Network]]]:
    """Return each of torchvision's detectors: the side of its inputs, and what builds it."""
    config = apply(Config(), read_config_file(CONFIGS / "subset_sppnet_lite0.yaml"))
    config = replace(config, backbone=replace(config.backbone, weights=weights))
    side = config.features.scales[0]

    def faster_rcnn() -> Network:
        model = build_faster_rcnn(config, NUM_CLASSES)
        model.transform.min_size = (side,)
        return model

    def shipped(name: str) -> Network:
        model: Network = torchvision.models.get_model(
            name, weights=None, weights_backbone=None, num_classes=NUM_CLASSES + 1
        )
        initialise(model.backbone, torch.Generator().manual_seed(0))
        return model

    ssdlite = partial(build_ssdlite, config, NUM_CLASSES)
    return {
        "Faster R-CNN, EfficientNet-Lite0": (str(side), faster_rcnn),
        "SSDlite, EfficientNet-Lite0": (f"{side} x {side}", ssdlite),
        **{name: (its_side, partial(shipped, name)) for name, its_side in SHIPPED.items()},
    }


def torchvision_way(name: str, side: str, model: Network, images: Sequence[Image]) -> Way:
    """Return one of torchvision's detectors in its fastest form."""
    form, chosen = fastest(forms_of(model), images)
    print(f"{name}: {form}", flush=True)
    folder = {f"{size} at a time": partial(loop_folder, chosen, size=size) for size in BATCHES}
    return Way(
        name=name,
        side=side,
        form=form,
        detect=lambda image, _: apply_to(chosen, [as_input(image)]),
        folder=folder,
        boxes=partial(boxes_of_head, chosen),
    )


def quiet(model: Network) -> Network:
    """Make the last layers sure of the background, and the proposals the anchors themselves."""
    if isinstance(model, FasterRCNN):
        nn.init.zeros_(model.rpn.head.bbox_pred.weight)
        layers = [model.roi_heads.box_predictor.cls_score]
    else:
        layers = [block[1] for block in model.head.classification_head.module_list]
    for layer in layers:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        layer.bias.data.view(-1, NUM_CLASSES + 1)[:, 0] = SURE
    return model


def forms_of(model: Network) -> dict[str, Network]:
    """Return the network as it was built, and in forms that may be faster and mean the same."""
    folded = fold(copy.deepcopy(model))
    last = copy.deepcopy(folded).to(memory_format=torch.channels_last)
    name = "batch normalisation folded"
    return {"as built": model, name: folded, f"{name}, channels last": last}


def fold(model: Network) -> Network:
    """Make each batch normalisation part of the conv layer before it, in place."""
    for layers in [module for module in model.modules() if isinstance(module, nn.Sequential)]:
        for index, (layer, norm) in enumerate(pairwise(list(layers))):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                layers[index] = fuse_conv_bn_eval(layer, norm)
                layers[index + 1] = nn.Identity()
    return model


def fastest(forms: dict[str, Network], images: Sequence[Image]) -> tuple[str, Network]:
    """Return the form that takes the least time for the images, and its name."""
    inputs = [[as_input(image)] for image in images]
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for trial in range(TRIALS + 1):
        for name, model in forms.items():
            start = time.perf_counter()
            for one in inputs:
                apply_to(model, one)
            seconds[name] += [time.perf_counter() - start] * (trial > 0)
    name = min(forms, key=lambda form: min(seconds[form]))
    return name, forms[name]


def as_input(image: Image) -> Tensor:
    """Return an image as torchvision takes it."""
    return image.pixels.permute(2, 0, 1).float() / 255


def apply_to(model: Network, inputs: list[Tensor]) -> list[dict[str, Tensor]]:
    """Return what torchvision finds in some images.

    Raises:
        SystemExit: if it is anything: then suppression had work that it should not have.
    """
    with torch.inference_mode():
        found: list[dict[str, Tensor]] = model(inputs)
    if any(len(one["scores"]) for one in found):
        raise SystemExit("expected a network that is sure of the background, got detections")
    return found


def loop_folder(model: Network, folder: Path, *, size: int) -> float:
    """Return the seconds an image of a plain loop; a thread reads the images ahead."""
    start = time.perf_counter()
    paths = list_images([folder])
    with ThreadPoolExecutor(1) as pool:
        read = pool.map(lambda path: as_input(read_image(path, path.stem)), paths)
        for first in range(0, len(paths), size):
            apply_to(model, [next(read) for _ in paths[first : first + size]])
    return (time.perf_counter() - start) / len(paths)


def boxes_of_head(model: Network, image: Image, _: Proposals | None = None) -> int:
    """Return how many proposals reach the fc layers; 0 for SSD, which has none."""
    if not isinstance(model, FasterRCNN):
        return 0
    rows: list[int] = []
    head = model.roi_heads.box_head
    hook = head.register_forward_pre_hook(lambda _module, inputs: rows.append(len(inputs[0])))
    try:
        apply_to(model, [as_input(image)])
    finally:
        hook.remove()
    return sum(rows)
