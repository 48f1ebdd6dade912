"""What a table is made of: trainings, and rows that test them. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Task = Literal["detection", "classification", "images", "folders"]
"""Detectors; classifiers; linear SVMs on whole images that show several classes, or one."""

SVM_TASKS: tuple[Task, ...] = ("images", "folders")
"""Trained and tested in one go."""

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
"""The order of the columns in the papers' tables per class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One run folder: rows that differ at test time only share it, also across tables.

    Attributes:
        name: of the folder.
        preset: what the settings start from.
        options: departures, as they are typed after ``detection train``.
        network: the training whose fine-tuned network this one starts from, frozen; empty for the
            weights that the preset names.
        weights: other ones than the preset's, unless ``--config`` or an option names some.
        task: ``classification`` goes through ``detection pretrain``, SVMs on whole images through
            ``detection classify-eval``.
    """

    name: str
    preset: str
    options: str = ""
    network: str = ""
    weights: str = ""
    task: Task = "detection"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One number of a table.

    Attributes:
        name: as the paper has it.
        training: what is tested.
        others: more trainings, combined with it (SPP §4.4).
        test: departures at test time, as they are typed after ``detection evaluate``.
        view: of a classifier: which test.
        paper: the published number, percent; None where there is none, or none for certain.
        paper_top5: of a classifier: the published top-5 error, percent.
        paper_classes: the published APs in the order of ``VOC_CLASSES``, percent.
        paper_seconds: the published time of an image without its boxes.
    """

    name: str
    training: str
    others: tuple[str, ...] = ()
    test: str = ""
    view: str = ""
    paper: float | None = None
    paper_top5: float | None = None
    paper_classes: tuple[float, ...] = ()
    paper_seconds: float | None = None

    @property
    def trainings(self) -> tuple[str, ...]:
        """Return all of them."""
        return (self.training, *self.others)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        name: on the command line.
        title: what it compares.
        source: which table of which paper.
        rows: in the paper's order.
        task: of all rows; mean AP of detectors and of images, top-1 error of classifiers, accuracy
            over random splits of a folder of class folders.
        timed: time the rows too.
        per_class: show the AP of every class.
        note: what to know when reading it.
        own_trunk: it is about its networks, and none takes their place.
    """

    name: str
    title: str
    source: str
    rows: tuple[Row, ...]
    task: Task = "detection"
    timed: bool = False
    per_class: bool = False
    note: str = ""
    own_trunk: bool = False

    @property
    def measure(self) -> str:
        """Return what the numbers are."""
        names: dict[Task, str] = {
            "detection": "11-point mAP, %",
            "classification": "top-1 error, %",
            "images": "11-point mAP over images, %",
            "folders": "mean accuracy of the classes, %",
        }
        return names[self.task]

    @property
    def spread(self) -> str:
        """Return what is said of how far a number could move."""
        return "std. dev." if self.task == "folders" else "95% interval"
