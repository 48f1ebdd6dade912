"""Does a pyramid pay, does training with two sizes pay, does the full image pay (SPP §3.1)?

Trains three heads on the same trunk, with the same pictures and steps, for some seeds, and tests
each with several views. Finished runs are not repeated.

    python scripts/experiments/multi_size.py configs/classification/synthetic.yaml runs/multi_size
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from detection.classification.evaluate import classify_views
from detection.classification.pooled_cache import PooledCache
from detection.classification.pretrain import pretrain
from detection.classification.training import make_cache
from detection.config import Config
from detection.io.files import write_json_atomic, write_text_atomic
from detection.runs.config_io import apply, merge, read_config_file, read_option

HEADS = {"no-SPP": "no_spp", "SPP single-size": "spp", "SPP multi-size": "spp"}
CROPS, MAPS = ("centre", "ten"), ("full", "ten_maps")
Errors = dict[str, dict[str, list[float]]]
"""Head -> view -> top-1 error of each seed."""


def run(
    head: str, seed: int, folder: Path, config: Config, cache: PooledCache | None
) -> dict[str, float]:
    """Train and test one head with one seed; return the top-1 error of each view."""
    out = folder / f"{head.replace(' ', '_')}_{seed}"
    sizes = config.pretrain.sizes
    settings = replace(
        config.pretrain,
        head=HEADS[head],
        sizes=sizes if "multi" in head else sizes[:1],
        seed=seed,
    )
    views = CROPS + (MAPS if "SPP " in head else ())
    config = replace(config, pretrain=settings, classify=replace(config.classify, views=views))
    if not (out / "metrics.json").is_file():
        pretrain(config, out, resume=(out / "config.yaml").is_file(), cache=cache)
        classify_views(out, config)
    rows = json.loads((out / "metrics.json").read_text())["views"]
    return {view: row["top1_error"] for view, row in rows.items()}


def settings_of(path: Path, words: Sequence[str]) -> Config:
    """Return the configuration in a file with departures such as ``--pretrain.epochs 6``."""
    departures: dict[str, dict[str, Any]] = {}
    for word, text in zip(words[::2], words[1::2], strict=True):
        section, name = word.removeprefix("--").split(".")
        departures.setdefault(section, {})[name] = read_option(section, name, text)
    return apply(Config(), merge(read_config_file(path), departures))


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
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = settings_of(options.config, rest)
    errors: Errors = {head: {} for head in HEADS}
    cache = None
    for head in HEADS:
        if "multi" not in head:  # both trainings with a pyramid read the same vectors
            cache = make_cache(config.pretrain)
        for seed in range(options.seeds):
            for view, value in run(head, seed, options.out, config, cache).items():
                errors[head].setdefault(view, []).append(value)
    write_json_atomic(options.out / "multi_size.json", errors)
    write_text_atomic(options.out / "multi_size.md", table(errors))
    print(table(errors), end="")
