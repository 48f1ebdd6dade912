"""What a larger training set costs: time, memory and disk of each stage of a training.

Images are listed again under other names, as links, until there are enough; the boxes
of a repeated image are those that were found the first time. Each size is trained in a process of
its own, by the cheap settings of `sizes_stages.py`; what is finished is not repeated.

    python scripts/experiments/sizes.py data/voc2012-subset/VOCdevkit \
      data/weights/squeezenet1_0_imagenet_caffe.safetensors runs/sizes --page docs/scale.md
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "benchmarks"))

from marks import replace_between  # noqa: E402

from detection.config import DataConfig, ProposalConfig  # noqa: E402
from detection.data.dataset import read_dataset  # noqa: E402
from detection.io.files import sha256_of_file, write_json_atomic  # noqa: E402
from detection.proposals.dataset import propose_dataset  # noqa: E402
from detection.runs.environment import describe_environment  # noqa: E402

STORED = HERE.parent / "benchmarks/results/sizes.json"
GOAL = 16551
"""The training images of VOC07+12."""
FARTHEST = 4
"""Projected is what is at most so many times the largest number of images that was measured."""
STAGES = {
    "proposals": "proposals",
    "data": "reading lists and boxes",
    "features": "features: reading, conv layers, pooling",
    "mining": "mining, and what no other line counts",
    "SVMs": "SVMs",
    "box regression": "box regression",
    "checkpoints": "checkpoints",
    "calibration": "calibration, its trainings of the SVMs included",
    "fine-tuning": "fine-tuning, an epoch",
}

Sizes = dict[str, dict[str, Any]]


def repeat_images(voc: Path, folder: Path, counts: Sequence[int]) -> None:
    """Make a VOCdevkit that lists the training images of another again and again, as links.

    Args:
        voc: with a list ``train``.
        folder: of the new one; a list ``train_N`` for each number of images.
        counts: how many images, each list the beginning of the next.
    """
    source, target = voc / "VOC2012", folder / "VOC2012"
    names = (source / "ImageSets/Main/train.txt").read_text().split()
    places = {"JPEGImages": ".jpg", "Annotations": ".xml"}
    for place in (*places, "ImageSets/Main"):
        (target / place).mkdir(parents=True, exist_ok=True)
    turns = -(-max(counts) // len(names))
    lines = [f"{name}_{turn}" for turn in range(turns) for name in names]
    for line in lines:
        for place, suffix in places.items():
            link = target / place / f"{line}{suffix}"
            if not link.is_symlink():
                original = source / place / f"{line.rpartition('_')[0]}{suffix}"
                link.symlink_to(original.resolve())
    for count in counts:
        text = "".join(f"{line}\n" for line in lines[:count])
        (target / f"ImageSets/Main/train_{count}.txt").write_text(text)


def processor_time() -> float:
    """Return the processor seconds of this process and its children that ended."""
    its = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in its)


def propose_repeated(folder: Path, counts: Sequence[int]) -> dict[str, float]:
    """Search the boxes of the first images, and store them again for their repeats.

    Returns:
        Processor seconds and bytes an image.
    """
    config = ProposalConfig(workers=1, max_boxes=0)
    data = DataConfig(root=str(folder), train_split=f"train_{max(counts)}")
    dataset = read_dataset(data, "train")
    once = tuple(record for record in dataset.records if record.image_id.endswith("_0"))
    first = replace(dataset, records=once)
    place = folder.parent / "proposals"
    start = processor_time()
    store = propose_dataset(first, config, place)
    seconds = (processor_time() - start) / len(first.records)
    found = {}
    for record in dataset.records:
        name = record.image_id.rpartition("_")[0]
        if name not in found:
            found[name] = (store.load(record), sha256_of_file(record.path))
        elif not store.path(record.image_id).exists():
            boxes, content = found[name]
            if boxes is not None:
                again = replace(boxes, image_id=record.image_id)
                store.write(record, again, content)
    size = sum(path.stat().st_size for path in store.folder.iterdir()) / len(dataset.records)
    return {"seconds": seconds, "bytes": size}


def train(kind: str, voc: Path, count: int, weights: Path, out: Path) -> dict[str, Any]:
    """Train with so many images in a process of its own; return its stages."""
    stages = out / "stages.json"
    if not stages.is_file():
        script = str(HERE / "sizes_stages.py")
        words = [kind, str(voc), f"train_{count}", str(weights.resolve()), str(out)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, script, *words], check=True, env=environment)
    result: dict[str, Any] = json.loads(stages.read_text(encoding="utf-8"))
    return result


def measure(voc: Path, weights: Path, folder: Path, counts: Sequence[int]) -> Sizes:
    """Return what each number of images took."""
    own = folder / "VOCdevkit"
    repeat_images(voc, own, counts)
    kept = folder / "proposals.json"
    if not kept.is_file():
        write_json_atomic(kept, propose_repeated(own, counts))
    boxes = json.loads(kept.read_text(encoding="utf-8"))
    sizes: Sizes = {}
    for count in counts:
        svms, epoch = (
            train(kind, own, count, weights, folder / f"{kind}_{count}")
            for kind in ("svms", "finetune")
        )
        seconds = {"proposals": boxes["seconds"] * count, **svms["seconds"], **epoch["seconds"]}
        sizes[str(count)] = {
            "seconds": seconds,
            "peaks": {**svms["peaks"], **epoch["peaks"]},
            "files": {"proposals": boxes["bytes"] * count, **svms["files"]},
            "retrainings": svms["retrainings"],
        }
    return sizes


def project(counts: Sequence[int], values: Sequence[float]) -> tuple[float, float]:
    """Return what the last doubling multiplied a time by, and the time of the goal at that growth.

    Args:
        counts: the last two numbers of images are used.
        values: their times.
    """
    if not values[-2] or not values[-1]:
        return math.nan, math.nan
    power = math.log(values[-1] / values[-2]) / math.log(counts[-1] / counts[-2])
    return 2**power, values[-1] * (GOAL / counts[-1]) ** power


def extend(counts: Sequence[int], values: Sequence[float]) -> float:
    """Return the memory of the goal: a straight line through the last two."""
    slope = (values[-1] - values[-2]) / (counts[-1] - counts[-2])
    return values[-1] + slope * (GOAL - counts[-1])


def amount(value: float) -> str:
    """Return a number with two or three digits."""
    return (
        "" if math.isnan(value) else f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
    )


def is_near(sizes: Sizes) -> bool:
    """Return whether enough images were measured to say what the goal takes."""
    return max(map(int, sizes)) * FARTHEST >= GOAL


def rows(sizes: Sizes) -> list[str]:
    """Return the lines of the table."""
    counts, near = [int(count) for count in sizes], is_near(sizes)
    lines = []

    def line(name: str, values: Sequence[float], growth: str, goal: float) -> None:
        cells = [name, *map(amount, values), growth, *([amount(goal)] if near else [])]
        lines.append(f"| {' | '.join(cells)} |")

    totals, goals = [0.0] * len(counts), []
    for key, name in STAGES.items():
        values = [its["seconds"].get(key, 0.0) for its in sizes.values()]
        totals = [total + value for total, value in zip(totals, values, strict=True)]
        growth, goal = project(counts, values)
        goals.append(goal)
        line(f"{name}, s", values, amount(growth), goal)
    hours = [total / 3600 for total in totals]
    line("**all, h**", hours, amount(project(counts, hours)[0]), sum(goals) / 3600)
    for key in ("mining", "box regression", "fine-tuning"):
        values = [its["peaks"][key] for its in sizes.values()]
        line(f"memory at most: {key}, GiB", values, "", extend(counts, values))
    for key in ("proposals", "checkpoints", "box regression"):
        values = [its["files"].get(key, 0) / 2**30 for its in sizes.values()]
        line(f"on the disk: {key}, GiB", values, "", extend(counts, values))
    return lines


def table(sizes: Sizes) -> str:
    """Return the table as Markdown."""
    counts = [f"{int(count):,}" for count in sizes]
    head = ["", *counts, "last doubling: times"]
    head += [f"{GOAL:,}, projected"] if is_near(sizes) else []
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *rows(sizes)])


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("voc", type=Path, nargs="?", help="a VOCdevkit with a list train")
    parser.add_argument("weights", type=Path, nargs="?", help="of SqueezeNet")
    parser.add_argument("folder", type=Path, nargs="?", help="for links, boxes and runs")
    parser.add_argument("--show", action="store_true", help="measure nothing: show what is stored")
    parser.add_argument("--images", type=int, nargs="+", default=[616, 1232, 2464, 4928])
    parser.add_argument("--out", type=Path, default=STORED, help="the JSON file")
    parser.add_argument("--page", type=Path, help="a Markdown file with the marks of sizes")
    options = parser.parse_args()
    if options.show:
        sizes = json.loads(options.out.read_text(encoding="utf-8"))["sizes"]
    else:
        sizes = measure(options.voc, options.weights, options.folder, options.images)
        described = describe_environment()
        environment = {key: described[key] for key in ("processor", "instructions", "packages")}
        write_json_atomic(options.out, {"environment": environment, "sizes": sizes})
    print(table(sizes))
    if options.page is not None:
        replace_between(options.page, "sizes", table(sizes))


if __name__ == "__main__":
    main()
