"""Boxes that fall on the same conv5 cells, pooled and classified once, against once a box.

Real images, their own proposals, ZF-5 at 688: pooling, fc6, fc7 and 20 SVMs.
``max_difference`` is that of the scores: a larger matrix product may round differently.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from comparison import Candidate, compare, image_parser, show
from torch import Tensor

from detection.backbones.weights import load_backbone
from detection.benchmark.instrument import untrained_detector
from detection.benchmark.speed import spread
from detection.config import BackboneConfig, Config, FeatureConfig, ProposalConfig
from detection.data.folder import list_images
from detection.data.images import read_image
from detection.proposals.search import propose


def main() -> None:
    """Measure and print."""
    parser = image_parser(__doc__.split("\n", maxsplit=1)[0], num_images=5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--mode", default="paper_fast", help="proposals.mode")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = Config(features=FeatureConfig(dtype="auto"), backbone=BackboneConfig(name="zf5"))
    detector = untrained_detector(load_backbone(config.backbone), config, 20)
    extractor = detector.extractor
    images = [
        read_image(path, path.stem)
        for path in spread(list_images([options.images]), options.num_images)
    ]
    mode = ProposalConfig(mode=options.mode)
    boxes = [propose(image, mode).boxes for image in images]
    with torch.no_grad():
        maps = [extractor.encode_image(image) for image in images]

    def scores(values: Tensor) -> Tensor:
        return detector.scorer.score(detector.fc(values))

    def once() -> list[Tensor]:
        pooled = (extractor.pool(m, b) for m, b in zip(maps, boxes, strict=True))
        return [p.map(scores).expand() for p in pooled]

    def each() -> list[Tensor]:
        scored = []
        for its_maps, its_boxes in zip(maps, boxes, strict=True):
            windows, rows = extractor.project(its_maps, its_boxes)
            scored.append(scores(extractor.pool_windows(its_maps, windows[rows])))
        return scored

    def difference(a: list[Tensor], b: list[Tensor]) -> float:
        return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True))

    with torch.no_grad():
        results = compare(
            "duplicate windows",
            Candidate(name="each box by itself", run=each),
            [Candidate(name="each distinct window once", run=once, reach=1.15)],
            difference,
            options.repeats,
        )
        distinct = [
            len(extractor.project(m, b)[0]) / len(b) for m, b in zip(maps, boxes, strict=True)
        ]
    share = sum(distinct) / len(distinct)
    show([replace(r, ours=f"{r.ours} ({share:.0%} of the boxes)") for r in results], options.json)


if __name__ == "__main__":
    main()
