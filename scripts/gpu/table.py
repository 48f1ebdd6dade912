"""What ``scripts/gpu/run`` measured as a Markdown table, beside the goals and the papers' figures.

Without results the rows and goals alone, under "Not yet run on a GPU". ``--page`` puts it between
the marks ``gpu`` of a page.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "scripts" / "benchmarks"))

Results = Mapping[str, dict[str, Any]]
Row = tuple[str, str, str]
NETWORKS = (("ZF-5", "zf5"), ("VGG16", "vgg16"))
PAPER_RATIO = {"zf5": "; the paper's 102x", "vgg16": ""}
NONE = "not yet run"


def read(folder: Path) -> Results:
    """Return the results by step, those of a real GPU."""
    found = {}
    for path in sorted(folder.glob("gpu_*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        if not result.get("smoke"):
            found[path.stem.removeprefix("gpu_")] = result
    return found


def _tests(results: Results) -> Iterator[Row]:
    parts = [v for v in results.get("tests", {}).values() if isinstance(v, dict) and "passed" in v]
    sums = {key: sum(part[key] for part in parts) for key in ("passed", "gpu_passed", "failed")}
    cut = "" if all(part["complete"] for part in parts) else "; cut off by the time limit"
    text = "{passed} passed, {gpu_passed} of them for GPUs alone, {failed} failed".format(**sums)
    yield "tests", "0 failed", text + cut if parts else NONE


def _subset(results: Results) -> Iterator[Row]:
    for name, method in (("SPPnet", "sppnet"), ("R-CNN, 300 boxes", "rcnn")):
        found = results.get(f"subset_{method}", {})
        quality, seconds = NONE, NONE
        if "map" in found:
            cpu, low, high = (
                100 * v for v in (found["cpu"]["map"]["voc07"], *found["cpu"]["interval"])
            )
            quality = f"{100 * found['map']['voc07']:.1f}; CPU {cpu:.1f}, {low:.1f} to {high:.1f}"
        if "train" in found.get("seconds", {}):
            peak = found["peak_gib"]["train"]
            memory = f", {peak:.1f} GiB" if peak else ""
            seconds = f"{found['seconds']['train']:.0f} s{memory}"
        yield f"{name}, subset, mAP (11-point)", "in the CPU's interval", quality
        yield f"{name}, subset, training after proposals", "below 60 s", seconds
    same = results.get("subset_sppnet", {}).get("agreement")
    text = NONE
    if same:
        text = (
            f"scores {same['max_score_difference']:.1g}, boxes {same['max_box_difference']:.1g} "
            f"pixels; {same['num_apart']} of {same['num_detections']} apart"
        )
    yield "one model, GPU against CPU, float32", "equal up to rounding", text


def _pooling(results: Results) -> Iterator[Row]:
    lines = [line for line in results.get("pooling", {}).get("lines", []) if line["reach"] > 0]
    for name, word, goal in (
        ("`roi_pool` called four times", "roi_pool", "3x faster or more"),
        ("the memory floor", "floor", "3x slower or less"),
    ):
        own = [line for line in lines if word in line["against"]]
        # where both clocks were read, the GPU's: a short kernel waits for the host that calls it
        own = [line for line in own if line["ours"].endswith("GPU time")] or own
        cells = [
            f"{line['step'].removeprefix('SPP pooling ')}: {line['ratio']:.2g}x" for line in own
        ]
        yield f"pooling of 2,000 boxes, {name} over ours", goal, "; ".join(cells) or NONE


def _methods(results: Results) -> Iterator[Row]:
    cases = results.get("methods", {}).get("cases", [])
    for name, backbone in NETWORKS:
        conv, network = [], []
        for case in (case for case in cases if case["backbone"] == backbone):
            found, dtype = case["against_operations"], case["dtype"]
            a, b = found["conv"], found["network"]
            conv.append(f"{dtype}: {a['ratio']:.0f}x of {a['flops']:.0f}x, {a['share']:.2f}")
            network.append(f"{dtype}: {b['ratio']:.1f}x of {b['bound']:.1f}x, {b['share']:.2f}")
        end = PAPER_RATIO[backbone]
        yield f"{name}, conv layers, R-CNN over SPPnet", "0.5 of the bound", "; ".join(conv) or NONE
        yield f"{name}, network{end}", "0.6 of the bound", "; ".join(network) or NONE


def _throughput(results: Results) -> Iterator[Row]:
    found = results.get("throughput", {})
    images, busy = NONE, NONE
    if found:
        peak = f", {found['peak_gib']:.1f} GiB" if found["peak_gib"] else ""
        images = f"{found['images_s']:.0f} images a second, {found['dtype']}{peak}"
    if found.get("busy_share") is not None:
        busy = f"{100 * found['busy_share']:.0f}%"
    yield "SPPnet, ZF-5, 480 pixels, boxes known", "500 images a second", images
    yield "the same, share of the time that the GPU computes", "80%", busy


def table(results: Results) -> str:
    """Return the Markdown."""
    cards = dict.fromkeys(result["card"] for result in results.values())
    head = f"**Measured on {', '.join(cards)}**" if results else "**Not yet run on a GPU**"
    rows = [
        row for part in (_tests, _subset, _pooling, _methods, _throughput) for row in part(results)
    ]
    lines = [
        f"| {' | '.join(row)} |" for row in (("what", "goal", "measured"), ("---",) * 3, *rows)
    ]
    return "\n".join([head, "", *lines])


def main() -> None:
    """Read and print, or write."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("results", type=Path, nargs="?", default=ROOT / "docs" / "results")
    parser.add_argument("--page", type=Path, help="a Markdown file with the two marks")
    options = parser.parse_args()
    text = table(read(options.results))
    if options.page is None:
        print(text)
        return
    from marks import replace_between  # of scripts/benchmarks

    replace_between(options.page, "gpu", text)


if __name__ == "__main__":
    main()
