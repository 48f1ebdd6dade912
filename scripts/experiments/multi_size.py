"""Does a pyramid pay, does training with two sizes pay, does the full image pay (SPP §3.1)?

Trains three heads on the same trunk, with the same pictures and steps, for some seeds, and tests
each with several views. Finished runs are not repeated.

    python scripts/experiments/multi_size.py configs/classification/synthetic.yaml runs/multi_size
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from detection.cli import main
from detection.config import Config
from detection.io.files import write_json_atomic, write_text_atomic
from detection.runs.config_io import apply, read_config_file

HEADS = {"no-SPP": "no_spp", "SPP single-size": "spp", "SPP multi-size": "spp"}
CROPS, MAPS = ("centre", "ten"), ("full", "ten_maps")
Errors = dict[str, dict[str, list[float]]]
"""Head -> view -> top-1 error of each seed."""


def run(head: str, seed: int, folder: Path, config: Path, extra: Sequence[str]) -> dict[str, float]:
    """Train and test one head with one seed; return the top-1 error of each view."""
    out = folder / f"{head.replace(' ', '_')}_{seed}"
    sizes = apply(Config(), read_config_file(config)).pretrain.sizes
    sides = ",".join(map(str, sizes if "multi" in head else sizes[:1]))
    views = CROPS + (MAPS if "SPP " in head else ())
    settings = {"head": HEADS[head], "sizes": sides, "seed": str(seed)}
    words = [f"--pretrain.{name}={value}" for name, value in settings.items()]
    if not (out / "metrics.json").is_file():
        code = main(
            ["pretrain", "--config", str(config), *words, *extra, "--resume", "--out", str(out)]
        )
        code = code or main(["classify-views", str(out), f"--classify.views={','.join(views)}"])
        if code:
            raise SystemExit(code)
    rows = json.loads((out / "metrics.json").read_text())["views"]
    return {view: row["top1_error"] for view, row in rows.items()}


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return statistics.mean(values), error


def table(errors: Errors) -> str:
    """Return the top-1 errors and their differences per seed as Markdown."""
    views = CROPS + MAPS
    lines = [
        f"| top-1 error, % | {' | '.join(views)} |",
        f"|---|{'---|' * len(views)}",
    ]
    lines += [
        f"| {head} | {' | '.join(show(rows.get(view)) for view in views)} |"
        for head, rows in errors.items()
    ]
    lines += ["", "| what it gains, % | |", "|---|---|"]
    no_spp, single, multi = (errors[head] for head in HEADS)
    gains: list[tuple[str, Callable[[int], float]]] = []
    for view in CROPS:
        gains += [
            (f"pyramid, {view}", lambda i, v=view: no_spp[v][i] - single[v][i]),
            (f"second size, {view}", lambda i, v=view: single[v][i] - multi[v][i]),
            (f"both, {view}", lambda i, v=view: no_spp[v][i] - multi[v][i]),
        ]
    for name, rows in (("single-size", single), ("multi-size", multi)):
        gains += [
            (f"full image, {name}", lambda i, r=rows: r["centre"][i] - r["full"][i]),
            (f"maps for crops, {name}", lambda i, r=rows: r["ten"][i] - r["ten_maps"][i]),
        ]
    seeds = range(len(single["centre"]))
    lines += [f"| {name} | {show([gain(i) for i in seeds])} |" for name, gain in gains]
    return "\n".join(lines) + "\n"


def show(values: Sequence[float] | None) -> str:
    """Return a mean and its standard error in percent."""
    if not values:
        return "-"
    mean, error = mean_and_error(values)
    return f"{100 * mean:.1f} ± {100 * error:.1f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("config", type=Path, help="what to train on; pretrain.sizes: both sizes")
    parser.add_argument("out", type=Path, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3, help="how many (default: 3)")
    options, rest = parser.parse_known_args()
    errors: Errors = {head: {} for head in HEADS}
    for seed in range(options.seeds):
        for head in HEADS:
            for view, value in run(head, seed, options.out, options.config, rest).items():
                errors[head].setdefault(view, []).append(value)
    write_json_atomic(options.out / "multi_size.json", errors)
    write_text_atomic(options.out / "multi_size.md", table(errors))
    print(table(errors), end="")
