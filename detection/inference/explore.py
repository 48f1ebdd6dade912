"""``detection explore``: a page of what fires the units of a trained detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from detection.backbones.geometry import field_side
from detection.config import Config
from detection.data.dataset import read_dataset
from detection.data.kept_lists import with_kept_lists
from detection.detector import Detector
from detection.features.units import Bin, fields, unit_layout
from detection.inference.units import UnitRegions, explore_units
from detection.model_io import load_detector
from detection.proposals.dataset import propose_dataset
from detection.report.units import ShownRegion, ShownUnit, write_units
from detection.words import counted


def show_units(
    run_folder: Path,
    config: Config,
    output: Path,
    *,
    split: Literal["train", "test"] = "test",
    where: Bin | None = None,
    channels: Sequence[int] = (),
    num_units: int = 8,
    top: int = 16,
) -> None:
    """Write a page of the regions that fire units of pool5, as `explore_units` finds them.

    Args:
        run_folder: of a trained detector.
        config: the run's own, with departures in ``data`` and ``proposals``.
        output: the HTML file.
        split: whose images.
        where: which bin of the pyramid; None takes the middle of the coarsest grid.
        channels: which units; none takes the most selective ones.
        num_units: how many of these.
        top: regions of each.

    Raises:
        DetectionError: naming what a user can mend.
    """
    detector = load_detector(run_folder, device=config.features.device).with_config(config)
    data = with_kept_lists(config.data, run_folder)
    dataset = read_dataset(data, split, class_names=detector.class_names)
    store = propose_dataset(
        dataset,
        config.proposals,
        Path(config.proposals.folder),
        max_pixels=data.max_pixels,
        max_failed=0.0,
    )
    units = explore_units(
        detector, dataset, store, where=where, channels=channels, num_units=num_units, top=top
    )
    bins = where or unit_layout(detector.extractor).coarsest
    most = config.proposals.max_boxes
    boxes = f"their first {counted(most, 'proposal', spec=',')}" if most else "all their proposals"
    write_units(
        [_shown(unit, detector) for unit in units],
        output,
        title=f"What fires pool5 of {config.backbone.name}",
        facts=f"{config.features.method}, {dataset.name}: "
        f"{counted(len(dataset.records), 'image', spec=',')} and {boxes}; the bin in "
        f"row {bins.row}, column {bins.column} of {bins.level} x {bins.level}.",
        max_pixels=data.max_pixels,
    )


def _shown(unit: UnitRegions, detector: Detector) -> ShownUnit:
    """Return what of a unit is drawn."""
    name, count = unit.main_class
    extractor = detector.extractor
    cell = field_side(extractor.backbone.trunk)
    regions = []
    for one in unit.regions:
        size = one.record.truth.size
        x1, y1, x2, y2 = fields(extractor, size, torch.tensor([one.box]), unit.where, cell)[
            0
        ].tolist()
        regions.append(
            ShownRegion(
                path=one.record.path,
                image_id=one.record.image_id,
                box=one.box,
                field=(x1, y1, x2, y2),
                value=one.value,
                text=one.class_name or "background",
            )
        )
    what = f"{count} of {len(regions)} regions show {name}" if name else "no region shows an object"
    return ShownUnit(name=f"Channel {unit.channel}", text=f"{what}.", regions=tuple(regions))
