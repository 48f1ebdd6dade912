"""The folders and lists that make up a data set, each with a name of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Literal

from detection.config import DataConfig
from detection.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One list of one folder.

    Attributes:
        config: the ``data`` section with this folder as its only root.
        root: the folder.
        split: the list.
        label: what to call it beside the others, for example ``VOC2007``.
    """

    config: DataConfig
    root: Path
    split: str
    label: str


def sources_of(config: DataConfig, split: Literal["train", "test"]) -> tuple[Source, ...]:
    """Return what a configuration reads to train or to evaluate on, in its order.

    Args:
        config: the ``data`` section.
        split: which of its two lists.
    """
    parts = config.parts(split)
    return tuple(
        Source(config=alone(config, root), root=Path(root), split=name, label=label)
        for (root, name), label in zip(parts, _labels(parts), strict=True)
    )


def require_folder(root: Path) -> None:
    """Raise DataError unless there is such a folder."""
    if not root.is_dir():
        message = f"{root}: expected a folder, got none; correct data.root or fetch the data"
        raise DataError(message)


def require_class_folders(root: Path) -> None:
    """Raise DataError unless there is such a folder, for a folder of images for each class."""
    if not root.is_dir():
        message = f"{root}: expected a folder of class folders, got none; correct the path"
        raise DataError(message)


def require_roots(config: DataConfig, *splits: Literal["train", "test"]) -> None:
    """Check that the folders of some lists are there: what can be said before anything is read.

    Args:
        config: the ``data`` section.
        splits: which of its two lists.

    Raises:
        DataError: naming the first that is not.
    """
    for split in splits:
        for root, _ in config.parts(split):
            if config.format != "coco":  # whose lists may be files anywhere
                require_folder(Path(root))


def alone(config: DataConfig, root: str) -> DataConfig:
    """Return the configuration of one of its roots; a list it lacks has its default name.

    Args:
        config: the ``data`` section.
        root: one of its roots.
    """
    usual = DataConfig()
    train, test = (
        tuple(name for own, name in config.parts(split) if own == root)
        for split in ("train", "test")
    )
    return replace(
        config,
        root=root,
        train_split=train or usual.train_split,
        test_split=test or usual.test_split,
    )


def _labels(parts: tuple[tuple[str, str], ...]) -> list[str]:
    """Return the shortest ends of the paths that differ; with the list where one root has two."""
    roots = [PurePath(root).parts for root, _ in parts]
    labels = [root for root, _ in parts]
    for count in range(1, max(map(len, roots), default=0) + 1):
        labels = ["/".join(root[-count:]).strip("/") or "root" for root in roots]
        if len(set(labels)) == len(set(roots)):
            break
    if len(set(labels)) < len(labels):
        labels = [
            f"{label}/{PurePath(split).stem}"
            for label, (_, split) in zip(labels, parts, strict=True)
        ]
    if len(set(labels)) < len(labels):
        labels = [f"{label}/{number}" for number, label in enumerate(labels, start=1)]
    return labels
