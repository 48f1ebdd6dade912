"""SPPnet beside torchvision's detectors: the table by hand and on the page, and all of it timed."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from detection.model_io import save_detector
from detection.tiny import tiny_detector
from tests.benchmarks.running import run_script
from tests.data.folders import picture

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/benchmarks/detectors.py"
STORED = ROOT / "scripts/benchmarks/results/detectors.json"


run = functools.partial(run_script, SCRIPT)


def way(name: str, image_s: float, folder: dict[str, float], **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "side": "480",
        "form": "",
        "boxes": 0,
        "image_s": {"median": image_s},
        "folder_s": {how: {"median": seconds} for how, seconds in folder.items()},
        **more,
    }


def test_a_line_by_hand(tmp_path: Path) -> None:
    known = {"boxes": 1095.0, "known_s": {"median": 0.25}}
    ways = [
        way("SPPnet, all boxes", 0.3, {"detection detect": 0.25}, **known),
        way("ssdlite", 0.06, {"1 at a time": 0.08, "4 at a time": 0.05}),
    ]
    environment = {"processor": "Processor"}
    result = {"environment": environment, "threads": 2, "num_images": 12, "ways": ways}
    stored, page = tmp_path / "detectors.json", tmp_path / "page.md"
    stored.write_text(json.dumps(result))
    page.write_text("x\n<!-- detectors: begin -->\nold\n<!-- detectors: end -->\n")
    shown = run("--show", "--out", stored, "--page", page).splitlines()
    accuracy = json.loads((ROOT / "docs/results/subset_sppnet_lite0.json").read_text())["map"]
    points = f"{100 * accuracy['voc07']:.1f}"
    assert shown[0] == "12 images, 2 threads of an Processor, float32, medians."
    assert shown[4:] == [
        f"| SPPnet, all boxes | 480 | 1,095 | 300 | 250 | **1.00** | 4.00 | {points} |",
        "| ssdlite | 480 |  | 60 |  | **5.00** | 20.00 (4 at a time) |  |",
    ]
    assert page.read_text().splitlines()[2:-1] == shown


def test_the_page_shows_what_was_measured() -> None:
    page = (ROOT / "docs/speed.md").read_text(encoding="utf-8")
    shown = page.split("<!-- detectors: begin -->\n")[1].split("\n<!-- detectors: end -->")[0]
    there = STORED.exists()
    expected = run("--show", "--out", STORED).rstrip("\n") if there else "Not measured yet."
    assert shown == expected


FOLD = """
import sys
sys.path.insert(0, {scripts!r})
import torch
from torch import nn
from detector_ways import builders, fold
model = builders("none")["ssdlite320_mobilenet_v3_large"][1]().eval()
image = torch.rand(1, 3, 96, 96)
with torch.no_grad():
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 2)
    before = model.backbone(image)
    after = fold(model).backbone(image)
assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
for name, values in before.items():
    largest = float(values.abs().max())
    torch.testing.assert_close(after[name], values, rtol=1e-3, atol=1e-4 * largest)
"""


@pytest.mark.slow
def test_folding_changes_rounding_alone() -> None:
    run(code=FOLD.format(scripts=str(SCRIPT.parent)))


@pytest.mark.slow
def test_every_detector_is_timed(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    (tmp_path / "images").mkdir()
    picture(120, 90).save(tmp_path / "images/a.png")
    save_detector(tmp_path / "run/model.safetensors", tiny_detector())
    out = tmp_path / "detectors.json"
    sizes = ("--num-images", 1, "--rounds", 1, "--threads", 1, "--weights", "none")
    run(tmp_path / "run", tmp_path / "images", *sizes, "--out", out)
    ways = json.loads(out.read_text())["ways"]
    names = [one["name"] for one in ways]
    assert len(names) == len(set(names)) == 8
    assert all(one["image_s"]["median"] > 0 for one in ways)
    assert all(its["median"] > 0 for one in ways for its in one["folder_s"].values())
    assert [one["name"] for one in ways if "known_s" in one] == names[:3]
    proposals = {one["name"]: one["boxes"] for one in ways}
    assert proposals["Faster R-CNN, EfficientNet-Lite0"] > 100
