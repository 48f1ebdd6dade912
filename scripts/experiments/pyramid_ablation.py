"""What do the bins of the pyramid pay: mAP against time and length of the features.

Trains and evaluates the same configuration with pyramids of 1, 21, 30 and 50 bins, and prints a
Markdown table: the mAP, its difference from the last pyramid paired over the test images, processor
time. What is finished is not repeated; options of `detection train` may follow.

    python scripts/experiments/pyramid_ablation.py subset_sppnet_squeezenet runs/pyramids \
      --proposals.max_boxes 300
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from detection.io.files import write_json_atomic
from detection.report.loading import load_runs
from detection.report.paired import paired_differences
from detection.runs.folder import read_run_config

PYRAMIDS = ("1", "1,2,4", "1,2,3,4", "1,2,3,6")
"""The last is the paper's for detection; 4-2-1 is the one of its Figure 3."""

HEAD = (
    "| levels | bins | mAP, 11-point | 95% interval over images | against 50 bins, paired "
    "| CPU-minutes of training | CPU-seconds an image |\n|---|---|---|---|---|---|---|"
)


def seconds_of(words: Sequence[str]) -> float:
    """Run a command of the package; return the processor time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "detection", *words], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(config: str, folder: Path, levels: str, words: Sequence[str]) -> dict[str, float]:
    """Train and evaluate with one pyramid; return what both took."""
    times = folder / "seconds.json"
    if not times.is_file():
        options = ["--config", config, "--features.levels", levels, *words]
        train = seconds_of(["train", *options, "--out", str(folder), "--overwrite"])
        test = seconds_of(["evaluate", str(folder)])
        write_json_atomic(times, {"train": train, "test": test})
    taken: dict[str, float] = json.loads(times.read_text(encoding="utf-8"))
    return taken


def row(folder: Path, taken: Mapping[str, float], difference: str) -> str:
    """Return a line of the table."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    levels = read_run_config(folder).features.levels
    low, high = (100 * edge for edge in metrics["interval"])
    cells = (
        ", ".join(map(str, levels)),
        sum(level**2 for level in levels),
        f"{100 * metrics['map']['voc07']:.1f}",
        f"{low:.1f} to {high:.1f}",
        difference,
        f"{taken['train'] / 60:.1f}",
        f"{taken['test'] / metrics['num_images']:.2f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def main(config: str, out: Path, words: Sequence[str]) -> None:
    """Measure and print."""
    folders = {levels: out / levels.replace(",", "-") for levels in PYRAMIDS}
    taken = {levels: measure(config, folder, levels, words) for levels, folder in folders.items()}
    runs = load_runs([folders[PYRAMIDS[-1]], *(folders[levels] for levels in PYRAMIDS[:-1])])
    differences = [*(one.format() for one in paired_differences(runs)), ""]
    print(HEAD)
    for levels, difference in zip(PYRAMIDS, differences, strict=True):
        print(row(folders[levels], taken[levels], difference))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
