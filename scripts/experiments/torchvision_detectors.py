"""How good are torchvision's detectors on the same trunk, images and processor time?

Trains Faster R-CNN as torchvision builds it for mobile trunks (the last two maps and a small one
above them, its own anchors), or SSDlite as it builds it (two maps of the trunk and four small ones,
depthwise heads), on the trunk of a configuration, with the optimiser and schedule of this package's
`finetune` section, for a given time of the processor, and scores it by the same rules. With
`--against RUN` the difference of the two mAPs is printed with its paired interval.

    python scripts/experiments/torchvision_detectors.py faster_rcnn \
      configs/subset_sppnet_lite0.yaml runs/faster_rcnn --minutes 35 \
      --against runs/subset_sppnet_lite0
"""

from __future__ import annotations

import argparse
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.ops.misc import Conv2dNormActivation

from detection.backbones.backbone import Preprocessing
from detection.backbones.weights import load_backbone
from detection.config import Config
from detection.data.dataset import read_dataset
from detection.data.images import read_image
from detection.evaluation.bootstrap import bootstrap_difference
from detection.evaluation.matching import match_detections
from detection.evaluation.results import format_table, metrics, read_coco_json, write_results
from detection.features.depthwise import with_fast_depthwise
from detection.io.files import write_json_atomic
from detection.runs.config_io import apply, read_config_file
from detection.structures import Dataset, Detections, Record

Network = FasterRCNN | SSD
MAPS = {"stage5": "0", "head": "1"}
FROZEN = ("stem", "stage1", "stage2")
EXTRAS = (512, 256, 256, 128)
"""Channels of the maps that SSDlite adds."""
NORM = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
TIMED = slice(3, 10)
"""Steps whose median time tells how many fit: the first ones also compile and fill caches."""


def build_faster_rcnn(config: Config, num_classes: int) -> FasterRCNN:
    """Return Faster R-CNN with a pretrained trunk and everything else random."""
    trunk, preprocessing = _open_trunk(config)
    test = config.postprocess
    sizes = ((32, 64, 128, 256, 512),) * (len(MAPS) + 1)
    return FasterRCNN(
        BackboneWithFPN(trunk, dict(MAPS), [_channels(trunk, name) for name in MAPS], 256),
        num_classes + 1,
        min_size=list(config.finetune.scales),
        max_size=config.features.max_long_side,
        image_mean=list(preprocessing.mean),
        image_std=list(preprocessing.std),
        rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
        box_batch_size_per_image=config.finetune.batch_size // config.finetune.images_per_batch,
        box_score_thresh=test.score_threshold,
        box_nms_thresh=test.nms_iou,
    )


def build_ssdlite(config: Config, num_classes: int) -> SSD:
    """Return SSDlite with a pretrained trunk and everything else random, for square inputs."""
    trunk, preprocessing = _open_trunk(config)
    test, side = config.postprocess, config.features.scales[0]
    maps = [_channels(trunk, name) for name in MAPS]
    anchors = DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.2, max_ratio=0.95)
    per_cell = anchors.num_anchors_per_location()
    return SSD(
        SsdliteTrunk(trunk, maps[-1]),
        anchors,
        (side, side),
        num_classes + 1,
        list(preprocessing.mean),
        list(preprocessing.std),
        SSDLiteHead([*maps, *EXTRAS], per_cell, num_classes + 1, NORM),
        score_thresh=test.score_threshold,
        nms_thresh=test.nms_iou,
    )


class SsdliteTrunk(nn.Module):
    """The two maps of a trunk and the four small ones that SSDlite puts above them."""

    def __init__(self, trunk: nn.Module, channels: int) -> None:
        super().__init__()
        self.body = IntermediateLayerGetter(trunk, dict(MAPS))
        widths = (channels, *EXTRAS)
        self.extra = nn.ModuleList(map(_smaller_map, widths, widths[1:]))

    def forward(self, inputs: Tensor) -> OrderedDict[str, Tensor]:
        """Compute the six maps, the largest first."""
        maps = list(self.body(inputs).values())
        for block in self.extra:
            maps.append(block(maps[-1]))
        return OrderedDict((str(i), values) for i, values in enumerate(maps))


def _smaller_map(inputs: int, outputs: int) -> nn.Sequential:
    """Return SSDlite's layers between two maps: 1x1, depthwise of stride 2, 1x1."""
    layer = partial(Conv2dNormActivation, norm_layer=NORM, activation_layer=nn.ReLU6)
    half = outputs // 2
    return nn.Sequential(
        layer(inputs, half, 1),
        layer(half, half, 3, stride=2, groups=half),
        layer(half, outputs, 1),
    )


def _open_trunk(config: Config) -> tuple[nn.Module, Preprocessing]:
    """Return the pretrained trunk, its lower stages frozen, and what its inputs are."""
    backbone = load_backbone(replace(config.backbone, output_stride=32), to_train=True)
    trunk = with_fast_depthwise(backbone.trunk)
    for name, stage in trunk.named_children():
        stage.requires_grad_(name not in FROZEN)
    return trunk, backbone.preprocessing


def _channels(trunk: nn.Module, last: str) -> int:
    """Return the channels of the map behind a stage."""
    values = torch.zeros(1, 3, 64, 64)
    for name, stage in trunk.named_children():
        values = stage(values)
        if name == last:
            break
    return int(values.shape[1])


def example(record: Record, *, mirrored: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Return an image and its objects as torchvision takes them; difficult objects are left out."""
    pixels = read_image(record.path).pixels.permute(2, 0, 1).float() / 255
    kept = ~record.truth.difficult
    boxes, labels = record.truth.boxes[kept], record.truth.labels[kept] + 1
    if mirrored:
        width = pixels.shape[2]
        pixels = pixels.flip(2)
        boxes = torch.stack(
            (width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]), dim=1
        )
    return pixels, {"boxes": boxes, "labels": labels}


def batches(records: Sequence[Record], size: int, seed: int) -> Iterator[list[Any]]:
    """Return batches for ever, each image once an epoch, half of them mirrored."""
    random = torch.Generator().manual_seed(seed)
    queue: list[int] = []
    while True:
        while len(queue) < size:
            queue += torch.randperm(len(records), generator=random).tolist()
        chosen, queue = queue[:size], queue[size:]
        flips = (torch.rand(size, generator=random) < 0.5).tolist()
        yield [example(records[i], mirrored=f) for i, f in zip(chosen, flips, strict=True)]


def train(model: Network, dataset: Dataset, config: Config, seconds: float) -> int:
    """Train for a time of the processor, all threads counted; return the number of steps."""
    start, settings = time.process_time(), config.finetune
    trunk = [p for p in model.backbone.body.parameters() if p.requires_grad]
    held = {id(p) for p in model.backbone.body.parameters()}
    rest = [p for p in model.parameters() if id(p) not in held]
    rates = [settings.learning_rate * settings.conv_multiplier, settings.learning_rate]
    groups = [{"params": p, "lr": r} for p, r in zip((trunk, rest), rates, strict=True)]
    optimiser = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    feed = batches(dataset.records, settings.images_per_batch, settings.seed)
    model.train()
    for module in model.backbone.body.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    times: list[float] = []
    schedule, total, step = None, TIMED.stop, 0
    while step < total:
        began = time.process_time()
        losses = advance(model, next(feed), optimiser, settings.clip_norm)
        times.append(time.process_time() - began)
        step += 1
        if step == TIMED.stop and schedule is None:
            left = seconds - (time.process_time() - start)
            total = step + max(1, int(left / sorted(times[TIMED])[len(times[TIMED]) // 2]))
            schedule = OneCycleLR(optimiser, rates, total_steps=total - step)
        elif schedule is not None and step < total:
            schedule.step()
        if step % 20 == 0:
            spent = time.process_time() - start
            print(f"step {step} of {total}, {spent:.0f} s of the processor, {losses}", flush=True)
    return total


def advance(model: Network, batch: list[Any], optimiser: torch.optim.Optimizer, clip: float) -> str:
    """Take one step; return the losses as text."""
    images, targets = zip(*batch, strict=True)
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(list(images), list(targets))
    total = sum(losses.values())
    optimiser.zero_grad()
    total.backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimiser.step()
    return ", ".join(f"{name} {value.item():.3f}" for name, value in losses.items())


@torch.no_grad()
def detect(model: Network, dataset: Dataset, size: int) -> list[Detections]:
    """Return the detections of every image, resized to one size."""
    model.eval()
    model.transform.min_size = (size,)  # SSDlite's inputs are of a fixed size
    found = []
    for record in dataset.records:
        pixels, _ = example(record, mirrored=False)
        with torch.autocast("cpu", torch.bfloat16):
            result = model([pixels])[0]
        found.append(
            Detections(
                image_id=record.image_id,
                boxes=result["boxes"].float(),
                scores=result["scores"].float(),
                labels=result["labels"] - 1,
            )
        )
    return found


def compare(test: Dataset, found: Sequence[Detections], run: Path) -> str:
    """Return the difference of the mAP to a run's, with its paired 95% interval."""
    truths = [record.truth for record in test.records]
    other = read_coco_json(run / "detections" / "coco.json")
    pairs = [
        match_detections(truths, detections, len(test.class_names))
        for detections in (list(other.values()), found)
    ]
    low, high = bootstrap_difference(*pairs)
    return (
        f"paired 95% interval of the mAP less that of {run}: {100 * low:+.1f} to {100 * high:+.1f}"
    )


BUILDERS = {"faster_rcnn": build_faster_rcnn, "ssdlite": build_ssdlite}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("detector", choices=BUILDERS)
    parser.add_argument("config", type=Path, help="trunk, data, optimiser, NMS")
    parser.add_argument("out", type=Path, help="folder for metrics and detections")
    parser.add_argument("--minutes", type=float, default=35, help="of the processor (default: 35)")
    parser.add_argument("--against", type=Path, help="an evaluated run on the same images")
    parser.add_argument("--root", type=Path, help="VOCdevkit, instead of the configuration's")
    parser.add_argument("--scale", type=int, help="shorter side, instead of the configuration's")
    options = parser.parse_args()
    settings = apply(Config(), read_config_file(options.config))
    if options.scale:
        side = (options.scale,)
        features, training = settings.features, settings.finetune
        settings = replace(settings, features=replace(features, scales=side))
        settings = replace(settings, finetune=replace(training, scales=side))
    if options.root:
        settings = replace(settings, data=replace(settings.data, root=str(options.root)))
    torch.manual_seed(settings.finetune.seed)
    learned, test = (read_dataset(settings.data, split) for split in ("train", "test"))
    network = BUILDERS[options.detector](settings, len(learned.class_names))
    steps = train(network, learned, settings, 60 * options.minutes)
    began = time.process_time()
    detections = detect(network, test, settings.features.scales[0])
    seconds = (time.process_time() - began) / len(test.records)
    values = metrics(
        [record.truth for record in test.records],
        detections,
        learned.class_names,
        method=options.detector,
        split=settings.data.test_split,
    )
    write_results(options.out, values, detections, learned.class_names)
    cost = {"minutes": options.minutes, "steps": steps, "seconds_per_image": seconds}
    cost |= {"threads": torch.get_num_threads()}
    write_json_atomic(options.out / "cost.json", cost)
    print(format_table(values), cost, sep="\n")
    if options.against:
        print(compare(test, detections, options.against))
