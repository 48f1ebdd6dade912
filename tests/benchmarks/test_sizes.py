"""What a larger training set costs: the table by hand, on the page, and a training of each kind."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from detection.config import DataConfig, ProposalConfig
from detection.data.dataset import read_dataset
from detection.proposals.store import ProposalStore
from tests.benchmarks.running import run_script
from tests.faults.small import write_tree

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/experiments/sizes.py"
STORED = ROOT / "scripts/benchmarks/results/sizes.json"


run = functools.partial(run_script, SCRIPT)


def size(factor: float, memory: float, disk: int) -> dict[str, Any]:
    stages = ("proposals", "data", "features", "mining", "SVMs", "box regression", "checkpoints")
    seconds = dict.fromkeys((*stages, "calibration", "fine-tuning"), 10 * factor)
    return {
        "seconds": seconds | {"SVMs": 10 * factor**2},
        "peaks": dict.fromkeys(("mining", "box regression", "fine-tuning"), memory),
        "files": dict.fromkeys(("proposals", "checkpoints", "box regression"), disk),
        "retrainings": 3,
    }


def test_growth_and_projection_by_hand(tmp_path: Path) -> None:
    """16,551 is 16,551 / 8,000 times 8,000: what doubles with the images grows by as much."""
    stored = tmp_path / "sizes.json"
    sizes = {"4000": size(1, 1.0, 2**30), "8000": size(2, 1.5, 2**31)}
    stored.write_text(json.dumps({"sizes": sizes}))
    lines = run("--show", "--out", stored).splitlines()
    times = 16551 / 8000
    assert lines[0] == "|  | 4,000 | 8,000 | last doubling: times | 16,551, projected |"
    assert f"| proposals, s | 10.0 | 20.0 | 2.00 | {20 * times:.1f} |" in lines
    assert f"| SVMs, s | 10.0 | 40.0 | 4.00 | {40 * times**2:,.0f} |" in lines
    memory = 1.5 + 0.5 / 4000 * (16551 - 8000)
    assert f"| memory at most: mining, GiB | 1.00 | 1.50 |  | {memory:.2f} |" in lines
    hours = (8 * 20 * times + 40 * times**2) / 3600
    assert f"| **all, h** | 0.03 | 0.06 | {200 / 90:.2f} | {hours:.2f} |" in lines


def test_few_images_are_no_forecast_of_many(tmp_path: Path) -> None:
    stored = tmp_path / "sizes.json"
    sizes = {"2000": size(1, 1.0, 2**30), "4000": size(2, 1.5, 2**31)}
    stored.write_text(json.dumps({"sizes": sizes}))
    lines = run("--show", "--out", stored).splitlines()
    assert lines[0] == "|  | 2,000 | 4,000 | last doubling: times |"
    assert {line.count("|") for line in lines} == {5}


def test_the_page_shows_what_was_measured() -> None:
    page = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    shown = page.split("<!-- sizes: begin -->\n")[1].split("\n<!-- sizes: end -->")[0]
    there = STORED.exists()
    expected = run("--show", "--out", STORED).rstrip("\n") if there else "Not measured yet."
    assert shown == expected


def source(folder: Path) -> list[str]:
    tree = write_tree(folder / "VOC2012")
    names = [f"{number:06d}" for number in range(1, 5)]
    tree.split("train", "".join(f"{name}\n" for name in names))
    return names


REPEAT = """
import sys
sys.path.insert(0, {scripts!r})
from pathlib import Path
from sizes import propose_repeated, repeat_images
voc, folder = map(Path, sys.argv[1:])
repeat_images(voc, folder / "VOCdevkit", [{count}, 3 * {count}])
print(propose_repeated(folder / "VOCdevkit", [{count}, 3 * {count}]))
"""


def test_images_are_listed_again_with_the_boxes_of_the_first(tmp_path: Path) -> None:
    names = source(tmp_path)
    code = REPEAT.format(scripts=str(SCRIPT.parent), count=len(names))
    run(tmp_path, tmp_path / "new", code=code)
    data = DataConfig(root=str(tmp_path / "new/VOCdevkit"), train_split=f"train_{3 * len(names)}")
    dataset = read_dataset(data, "train")
    assert [record.image_id for record in dataset.records] == [
        f"{name}_{turn}" for turn in range(3) for name in names
    ]
    store = ProposalStore(tmp_path / "new/proposals", ProposalConfig(max_boxes=0))
    for record in dataset.records:
        first = next(r for r in dataset.records if r.image_id == f"{record.image_id[:-2]}_0")
        own, its = store.load(record), store.load(first)
        assert own is not None
        assert its is not None
        assert own.boxes.equal(its.boxes)
        assert record.truth.boxes.equal(first.truth.boxes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["svms", "finetune"])
def test_a_training_leaves_its_stages(kind: str, tmp_path: Path) -> None:
    source(tmp_path)
    script = SCRIPT.with_name("sizes_stages.py")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    line = [
        sys.executable,
        str(script),
        kind,
        str(tmp_path),
        "train",
        "none",
        str(tmp_path / "out"),
    ]
    start = time.monotonic()
    subprocess.run(line, capture_output=True, check=True, env=environment)
    passed = time.monotonic() - start
    stages = json.loads((tmp_path / "out/stages.json").read_text())
    assert 0 < sum(stages["seconds"].values()) < passed
    wanted = {
        "svms": {"data", "features", "mining", "SVMs", "box regression", "checkpoints"},
        "finetune": {"fine-tuning"},
    }[kind]
    assert wanted <= set(stages["seconds"])
    assert all(stages["seconds"][name] > 0 for name in wanted)
    assert all(0.1 < peak < 4 for peak in stages["peaks"].values())
    if kind == "svms":
        assert set(stages["peaks"]) == {"mining", "box regression"}
        assert stages["files"]["checkpoints"] > 0
        assert stages["retrainings"] >= 1
