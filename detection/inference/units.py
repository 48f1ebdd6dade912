"""What fires a unit of pool5: the regions of a data set that answer most, as in RC §3.1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detection import boxes as box_algebra
from detection.data.image_prefetch import read_ahead
from detection.detector import Detector
from detection.errors import ConfigError, DataError
from detection.features.memory import extract_within_memory
from detection.features.units import Bin, unit_layout
from detection.io.progress import track
from detection.postprocess import multiclass_nms
from detection.proposals.store import ProposalStore
from detection.structures import Dataset, Record

_NMS_IOU = 0.3
_SAME_OBJECT = 0.4
"""A region is of the object that it overlaps by at least this much."""
_PER_IMAGE = 20
"""Regions of an image that suppression starts from, the strongest of each unit."""
_UNITS_A_CLASS = 2
"""Of the most selective units, at most so many of one class are chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A region that fires a unit.

    Attributes:
        record: its image.
        box: image pixels.
        value: of the unit, as a fraction of its largest anywhere.
        class_name: of the object that it overlaps; empty for background.
    """

    record: Record
    box: tuple[float, float, float, float]
    value: float
    class_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRegions:
    """A unit with its strongest regions, best first.

    Attributes:
        channel: of pool5, counted over all maps.
        where: its bin.
        regions: after suppression in each image.
    """

    channel: int
    where: Bin
    regions: tuple[Region, ...]

    @property
    def main_class(self) -> tuple[str, int]:
        """The class that most of the regions show, and of how many; empty and 0 for none."""
        counts = Counter(one.class_name for one in self.regions if one.class_name)
        return counts.most_common(1)[0] if counts else ("", 0)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class _Strongest:
    """The strongest regions of some units, best first; empty places have the value -inf.

    Attributes:
        values: unit x place.
        images: place of the image among the records.
        boxes: image pixels.
    """

    values: Float[Tensor, "u k"]
    images: Int[Tensor, "u k"]
    boxes: Float[Tensor, "u k 4"]

    def with_image(self, other: _Strongest, count: int) -> _Strongest:
        """Return the ``count`` strongest of both."""
        values = torch.cat((self.values, other.values), dim=1)
        order = values.argsort(dim=1, descending=True, stable=True)[:, :count]
        images = torch.cat((self.images, other.images), dim=1).gather(1, order)
        boxes = torch.cat((self.boxes, other.boxes), dim=1)
        boxes = boxes.gather(1, order[:, :, None].expand(-1, -1, 4))
        return _Strongest(values=values.gather(1, order), images=images, boxes=boxes)


def explore_units(
    detector: Detector,
    dataset: Dataset,
    store: ProposalStore,
    *,
    where: Bin | None = None,
    channels: Sequence[int] = (),
    num_units: int = 8,
    top: int = 16,
) -> tuple[UnitRegions, ...]:
    """Return the regions that fire some units of pool5 most, of all proposals of a data set.

    Without ``channels`` they are the most selective ones: those whose regions show one class most
    often. A region is of the object that it overlaps most.

    Args:
        detector: trained, of either method.
        dataset: its images are looked at.
        store: their proposals.
        where: which bin of the pyramid; None takes the middle of the coarsest grid.
        channels: which units; none chooses.
        num_units: how many it chooses.
        top: regions of each.

    Raises:
        ConfigError: for a channel or a bin that pool5 does not have.
        DataError: if an image cannot be read, or none has proposals.
    """
    layout = unit_layout(detector.extractor)
    where = where or layout.coarsest
    places = layout.units(where)
    wrong = [channel for channel in channels if not 0 <= channel < len(places)]
    if wrong:
        message = f"--channels: expected numbers from 0 to {len(places) - 1}, got {wrong[0]}"
        raise ConfigError(message)
    chosen = torch.tensor(channels or range(len(places)), dtype=torch.int64)
    found = _strongest(detector, dataset, store, places[chosen], top)
    units = [
        _unit(dataset, found, row, channel, where) for row, channel in enumerate(chosen.tolist())
    ]
    return tuple(units if channels else most_selective(units, num_units))


def most_selective(units: Sequence[UnitRegions], count: int) -> list[UnitRegions]:
    """Return the units whose regions show one class most often, two of a class at most.

    Of equally selective ones that with the greater mean value comes first.
    """

    def rank(unit: UnitRegions) -> tuple[float, float]:
        number = max(len(unit.regions), 1)
        return -unit.main_class[1] / number, -sum(one.value for one in unit.regions) / number

    taken: list[UnitRegions] = []
    classes: Counter[str] = Counter()
    for unit in sorted(units, key=rank):
        name = unit.main_class[0]
        if len(taken) < count and name and classes[name] < _UNITS_A_CLASS:
            taken.append(unit)
            classes[name] += 1
    return taken


def _strongest(
    detector: Detector, dataset: Dataset, store: ProposalStore, places: Int[Tensor, " u"], top: int
) -> _Strongest:
    best = _Strongest(
        values=torch.zeros(len(places), 0),
        images=torch.zeros(len(places), 0, dtype=torch.int64),
        boxes=torch.zeros(len(places), 0, 4),
    )
    for number, boxes, values in track(
        _activations(detector, dataset, store, places), len(dataset.records), "explore"
    ):
        if len(boxes):
            best = best.with_image(_of_image(number, boxes, values), top)
    if best.values.shape[1] == 0:
        message = f"{dataset.name}: expected images with proposals, got none"
        raise DataError(message)
    return best


def _activations(
    detector: Detector, dataset: Dataset, store: ProposalStore, places: Int[Tensor, " u"]
) -> Iterator[tuple[int, Float[Tensor, "r 4"], Float[Tensor, "r u"]]]:
    """Yield each image's number, boxes and values of the units, on the CPU."""
    images = read_ahead(dataset.records, max_pixels=detector.config.data.max_pixels)
    for number, (record, image) in enumerate(zip(dataset.records, images, strict=True)):
        proposals = store.load(record)
        boxes = torch.zeros(0, 4) if proposals is None else proposals.boxes
        device = detector.device
        with torch.inference_mode():
            pooled = extract_within_memory(detector.extractor, image.to(device), boxes.to(device))
            picked = pooled.values[:, places.to(device)][pooled.rows.to(device)]
        yield number, boxes, picked.float().cpu()


def _of_image(number: int, boxes: Float[Tensor, "r 4"], values: Float[Tensor, "r u"]) -> _Strongest:
    """Return what suppression leaves of an image's regions, for each unit."""
    best = values.T.sort(dim=1, descending=True, stable=True)
    order, found = best.indices[:, :_PER_IMAGE], best.values[:, :_PER_IMAGE]
    units = torch.arange(len(found))[:, None].expand_as(found)
    kept = multiclass_nms(
        boxes[order].flatten(0, 1), found.flatten(), units.flatten(), _NMS_IOU
    )  # each unit is a class of its own
    left = torch.full_like(found, -torch.inf).flatten()
    left[kept] = found.flatten()[kept]
    left = torch.where(left > 0, left, -torch.inf).view_as(found)  # a unit that is silent
    return _Strongest(values=left, images=torch.full_like(order, number), boxes=boxes[order])


def _unit(dataset: Dataset, found: _Strongest, row: int, channel: int, where: Bin) -> UnitRegions:
    regions = []
    largest = float(found.values[row].max())
    for value, image, box in zip(
        found.values[row].tolist(),
        found.images[row].tolist(),
        found.boxes[row].tolist(),
        strict=True,
    ):
        if value > 0:
            record = dataset.records[image]
            name = _class_of(record, box, dataset.class_names)
            corners = (box[0], box[1], box[2], box[3])
            share = value / largest
            regions.append(Region(record=record, box=corners, value=share, class_name=name))
    return UnitRegions(channel=channel, where=where, regions=tuple(regions))


def _class_of(record: Record, box: Sequence[float], class_names: Sequence[str]) -> str:
    """Return the class of the object that a box overlaps most; empty for background."""
    if len(record.truth.labels) == 0:
        return ""
    overlaps = box_algebra.iou(torch.tensor([box]), record.truth.boxes)[0]
    best = int(overlaps.argmax())
    return class_names[int(record.truth.labels[best])] if overlaps[best] >= _SAME_OBJECT else ""
