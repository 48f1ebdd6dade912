"""What the features of a training set take: hours and gigabytes for VOC 2007 trainval.

Measured on some images with their own boxes (ZF-5, 688, bfloat16 maps) and multiplied to the
5,011 images of VOC 2007 trainval. R-CNN is measured on some crops of each and multiplied.
"""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from comparison import Comparison, image_parser, show

from detection.backbones.weights import load_backbone
from detection.benchmark.speed import spread
from detection.config import BackboneConfig, FeatureConfig, ProposalConfig
from detection.data.folder import list_images
from detection.data.images import read_image
from detection.features.factory import make_extractor
from detection.proposals.search import propose

TRAINVAL = 5011
AUTHORS = {"hours": 25.0, "gigabytes": 20.0}
"""Fast R-CNN, Table 4 (hours of SPPnet's whole training); the released code's README (disk)."""


def main() -> None:
    """Measure and print."""
    parser = image_parser(__doc__.split("\n", maxsplit=1)[0], num_images=10)
    parser.add_argument("--crops", type=int, default=128, help="R-CNN: crops timed an image")
    parser.add_argument("--mode", default="paper_fast", help="proposals.mode")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    backbone = load_backbone(BackboneConfig(name="zf5"))
    features = FeatureConfig(dtype="auto")
    spp = make_extractor(backbone, features)
    rcnn = make_extractor(backbone, replace(features, method="rcnn"))
    seconds = {"sppnet, maps": 0.0, "sppnet, maps and pooling": 0.0, "rcnn": 0.0}
    size = dict.fromkeys(seconds, 0.0)
    paths = spread(list_images([options.images]), options.num_images)
    with torch.no_grad():
        for number, path in enumerate([paths[0], *paths]):
            image = read_image(path, path.stem)
            boxes = propose(image, ProposalConfig(mode=options.mode)).boxes
            start = time.perf_counter()
            maps = spp.encode_image(image)
            mapped = time.perf_counter()
            pooled = spp.pool(maps, boxes)
            ended = time.perf_counter()
            rcnn.extract(image, boxes[: options.crops])
            cropped = (time.perf_counter() - ended) * len(boxes) / min(options.crops, len(boxes))
            if number == 0:  # compiles and allocates
                continue
            seconds["sppnet, maps"] += mapped - start
            seconds["sppnet, maps and pooling"] += ended - start
            seconds["rcnn"] += cropped
            size["sppnet, maps"] += sum(m.values.numel() for m in maps) * 2
            size["sppnet, maps and pooling"] += pooled.values.numel() * 2
            size["rcnn"] += len(boxes) * rcnn.feature_dim * 2
    scale = TRAINVAL / len(paths)
    for what, table, factor, unit in (
        ("hours", seconds, scale / 3600, "h"),
        ("gigabytes", size, scale / 1e9, "GB"),
    ):
        totals = {name: its * factor for name, its in table.items()}
        others = {"rcnn": totals.pop("rcnn"), "the authors": AUTHORS[what]}
        lines = [
            Comparison(
                step=f"features of VOC07 trainval, {what}",
                ours=name,
                against=against,
                ours_s=total,
                against_s=its,
                ratio=its / total,
                reach=0.0,
                max_difference=0.0,
            )
            for name, total in totals.items()
            for against, its in others.items()
        ]
        show(lines, options.json, unit)


if __name__ == "__main__":
    main()
