"""Network and image without a clock around each stage, which lets a GPU run ahead of the host.

A stage clock waits for the GPU before and after every stage. That is how a stage gets its own
seconds, and why their sum is more than the network takes: the GPU idles while the host orders the
next stage. Here it is waited for at both ends only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from detection.detector import Detector
from detection.ensemble import score
from detection.io.device import seconds_on
from detection.structures import Image, Proposals


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class TimedImage:
    """An image with its boxes, and what both cost.

    Attributes:
        image: decoded.
        proposals: its boxes.
        seconds: of decoding and of the proposals, which both methods share.
    """

    image: Image
    proposals: Proposals
    seconds: dict[str, float]

    def few_boxes(self) -> Proposals:
        """Return the first few boxes, for a warm-up run."""
        return replace(self.proposals, boxes=self.proposals.boxes[:64])


def time_unbroken(
    detectors: Mapping[str, Detector], images: Sequence[TimedImage], repeats: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Return for each method median and quartiles of ``network_s`` and ``without_proposals_s``.

    The network reaches from the pixels on the host to the scores of every box; the image goes on to
    the detections on the host. Box regression, which only what is left of the boxes gets, counts to
    the image. The methods take turns, each image once more than it is timed: the first time
    chooses algorithms and allocates memory.

    Args:
        detectors: by method, without clocks.
        images: with their boxes.
        repeats: how often each is timed.
    """
    sums: dict[str, dict[str, list[float]]] = {
        name: {"network_s": [], "without_proposals_s": []} for name in detectors
    }
    for one in images:
        for name, detector in detectors.items():
            detector.detect(one.image, one.proposals)
            for _ in range(repeats):
                for key, run in _runs(detector, one).items():
                    sums[name][key].append(seconds_on(detector.device, run))
    return {
        name: {key: quartiles(values) for key, values in its_sums.items()}
        for name, its_sums in sums.items()
    }


def _runs(detector: Detector, one: TimedImage) -> dict[str, Callable[[], object]]:
    image, proposals = one.image, one.proposals

    def network() -> object:
        with torch.no_grad():
            boxes = proposals.boxes.to(detector.device)
            return score(detector, image.to(detector.device), boxes, detector.config)

    return {
        "network_s": network,
        "without_proposals_s": lambda: detector.detect(image, proposals),
    }


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the two quartiles."""
    low, middle, high = (
        torch.tensor(values).double().quantile(torch.tensor([0.25, 0.5, 0.75]).double()).tolist()
    )
    return {"median": middle, "q1": low, "q3": high}
