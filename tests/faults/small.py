"""Data sets and trainings of a few seconds, for faults that only a whole run shows."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from detection.cli.main import main
from detection.runs import skipped
from tests.data.folders import VocTree, annotation_xml, object_xml

WIDTH, HEIGHT = 96, 64
COLOURS = {"blue": (40, 40, 220), "red": (220, 40, 40)}
SETTINGS = (
    *("--backbone.name", "squeezenet", "--features.layer", "pool5", "--features.scales", "96"),
    *("--features.device", "cpu", "--proposals.workers", "1", "--proposals.max_boxes", "40"),
    *("--svm.norm_images", "4", "--svm.norm_boxes", "20", "--evaluation.bootstrap", "20"),
)
FINE_TUNING = (
    *SETTINGS,
    *("--features.layer", "fc7", "--finetune.enabled", "true", "--finetune.fc_size", "16"),
    *("--finetune.iterations", "4", "--finetune.checkpoint_every", "2"),
    *("--finetune.batch_size", "16", "--finetune.validation_fraction", "0"),
)


def scene(seed: int) -> tuple[PIL.Image.Image, str]:
    """Draw a blue and a red rectangle on noise; return the picture and its annotation."""
    random = np.random.default_rng(seed)
    pixels = random.integers(100, 130, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    objects = []
    for column, (name, colour) in enumerate(COLOURS.items()):
        left, top = int(random.integers(48 * column, 48 * column + 12)), int(random.integers(0, 24))
        right, bottom = left + int(random.integers(26, 36)), top + int(random.integers(26, 40))
        pixels[top:bottom, left:right] = colour
        objects.append(object_xml(name, (left + 1, top + 1, right, bottom)))
    return PIL.Image.fromarray(pixels), annotation_xml(*objects, size=(WIDTH, HEIGHT), filename="")


def write_tree(root: Path, train: int = 6, test: int = 3) -> VocTree:
    """Write a VOC folder with the lists ``trainval`` and ``test``."""
    tree = VocTree(root)
    ids = [f"{number:06d}" for number in range(1, train + test + 1)]
    for seed, image_id in enumerate(ids):
        picture, xml = scene(seed)
        picture.save(root / "JPEGImages" / f"{image_id}.jpg", quality=95)
        tree.annotation(image_id, xml)
    tree.split("trainval", "".join(f"{image_id}\n" for image_id in ids[:train]))
    tree.split("test", "".join(f"{image_id}\n" for image_id in ids[train:]))
    return tree


def where(tree: VocTree, boxes: Path) -> tuple[str, ...]:
    """Return the options that name a data set and the folder of its proposals."""
    return ("--data.root", str(tree.root), "--proposals.folder", str(boxes))


def run(*arguments: object) -> int:
    """Run the command; return its exit code."""
    return main(list(map(str, arguments)))


def fail(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must stop with exit code 2; return its one line of error."""
    capsys.readouterr()
    assert run(*arguments) == 2
    return the_error(capsys.readouterr().err.splitlines())


def read_skipped(folder: Path) -> list[dict[str, str]]:
    """What a run left out, one entry a line."""
    return list(csv.DictReader((folder / skipped.NAME).read_text(encoding="utf-8").splitlines()))


def the_error(lines: Sequence[str]) -> str:
    """Return the only error line among warnings."""
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, lines
    assert not any("Traceback" in line for line in lines)
    return errors[0].removeprefix("error: ")
