"""Goals that were missed, beside the most that this machine allows, measured in the same run.

One thread, processor time, so that other work on the machine does not count; cold reads by the wall
clock. The floor of a step is the time of what no implementation can do without: the products of the
same shapes, the memory that is read or written, the bytes that come from the disk. ``most`` is the
ratio that a step at its floor would reach. The lines of whole networks come from stored results.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from cold_reads import drop_from_cache
from comparison import Candidate, compare
from fc import NAMES, REACH
from marks import replace_between
from pooling_cases import LEVELS, MAPS, make_windows
from run_all import HERE
from spp_pooling import pool_in_a_loop
from torch import Tensor

from detection.backbones.weights import load_backbone
from detection.benchmark.instrument import untrained_detector
from detection.benchmark.speed import spread
from detection.config import BackboneConfig, Config, FeatureConfig, ProposalConfig
from detection.data.folder import list_images
from detection.data.images import read_image
from detection.features.pyramid import pyramid_pool
from detection.heads.fast_fc import Kind, prepare_fast, whole_products
from detection.heads.fc import FcHead
from detection.heads.int8_fc import round_weights
from detection.heads.scorer import SvmScorer
from detection.io.device import has_bfloat16_unit
from detection.io.files import write_json_atomic
from detection.io.tensors import load_tensors, save_tensors
from detection.proposals.search import propose
from detection.runs.environment import describe_environment

RANDOM = torch.Generator().manual_seed(0)
DISTINCT = 0.866
"""Distinct windows a box (`duplicate_windows.py`)."""
HEAD = "| goal missed | goal | reached | most here | what the floor is |"
Run = Callable[[], Any]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A goal: how many times faster than the reference, and how many times is possible.

    Attributes:
        name: of the step.
        goal: the ratio that was aimed at.
        ratio: the ratio reached.
        most: the ratio of the floor.
        why: what the floor is.
    """

    name: str
    goal: float
    ratio: float
    most: float
    why: str


def bar(
    name: str,
    goal: float,
    against: Run,
    ours: Run,
    floors: dict[str, Run],
    repeats: int,
    clock: Callable[[], float] = time.thread_time,
) -> Bar:
    """Time a step, its reference and its floors in turn; the fastest floor counts."""
    ways = {"ours": ours, **floors}
    candidates = [Candidate(name=key, run=run) for key, run in ways.items()]
    lines = compare(
        name, Candidate(name="against", run=against), candidates, lambda *_: 0.0, repeats, clock
    )
    own, *rest = lines
    best = max(rest, key=lambda line: line.ratio)
    return Bar(name=name, goal=goal, ratio=own.ratio, most=best.ratio, why=best.ours)


def product(rows: int, inputs: int, outputs: int, kind: str) -> Run:
    """Return the product of one layer and nothing else: no rounding, bias or ReLU."""
    x, weight = (torch.randn(n, inputs, generator=RANDOM) for n in (rows, outputs))
    if kind == "int8":
        (weights,) = round_weights(weight, None, limit=127, relu=False)
        return partial(whole_products(weights.values), (127 + 40 * x).clamp(0, 255).byte())
    if kind == "packed":
        call, packed = torch.ops.mkldnn._linear_pointwise, weight.to_mkldnn()
        return lambda: call(x, packed, None, "none", [], "")
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[kind]
    return partial(torch.mm, x.to(dtype), weight.to(dtype).T)


def products(rows: int, shapes: Sequence[tuple[int, int]], kind: str) -> Run:
    """Return the products of several layers, one after the other."""
    runs = [product(rows, inputs, outputs, kind) for inputs, outputs in shapes]

    def run() -> None:
        for one in runs:
            one()

    return run


def fc_bars(rows: int, dim: int, size: int, repeats: int) -> Iterator[Bar]:
    """Yield the forms of fc6 and fc7."""
    head = FcHead(dim, size=size, bias=0.0, generator=RANDOM).eval()
    x = torch.randn(rows, dim, generator=RANDOM).relu()

    def plain() -> Tensor:
        with torch.inference_mode():
            return head(x)

    ranks = (1024, 256)
    full = [(dim, size), (size, size)]
    thin = [
        pair for (a, b), rank in zip(full, ranks, strict=True) for pair in ((a, rank), (rank, b))
    ]
    forms: dict[Kind, tuple[str, ...]] = {
        "fp32": ("float32", "packed"),
        "bf16": ("float32", "packed", "bfloat16"),
        "int8": ("int8",),
        "svd": ("float32", "packed", "bfloat16"),
        "svd_int8": ("int8",),
    }
    for kind, precisions in forms.items():
        shapes = thin if kind.startswith("svd") else full
        floors = {f"the products alone, {p}": products(rows, shapes, p) for p in precisions}
        ours = partial(prepare_fast(head, kind, ranks=ranks), x)
        unit = has_bfloat16_unit() or "bfloat16" not in NAMES[kind]
        name = f"fc6 and fc7, {NAMES[kind]}{'' if unit else ', here in float32'}"
        yield bar(name, REACH[kind], plain, ours, floors, repeats)


def pooling_bars(rois: int, repeats: int) -> Iterator[Bar]:
    """Yield pooling of both maps, against the loop; the floor writes the result's memory."""
    for channels, rows, columns in MAPS:
        values = torch.randn(rows, columns, channels, generator=RANDOM).relu().permute(2, 0, 1)
        windows = make_windows(rois, rows, columns, RANDOM)
        out = torch.empty(rois, channels * sum(n * n for n in LEVELS))
        plain = values.contiguous()
        yield bar(
            f"pooling, {channels}x{rows}x{columns}, against a loop",
            70,
            partial(pool_in_a_loop, plain, windows),
            partial(pyramid_pool, values, windows),
            {"writing the memory of the result": partial(out.fill_, 1.0)},
            repeats,
        )


def cold_bar(rois: int, repeats: int) -> Bar:
    """Return cold reads: the floor reads the map's bytes and pools, without hash and checks."""
    values = torch.randn(256, 38, 50, generator=RANDOM).relu().bfloat16()
    windows = make_windows(2000, 38, 50, RANDOM)
    chosen = torch.randperm(2000, generator=RANDOM)[:rois]
    with tempfile.TemporaryDirectory(dir=".") as folder:
        file, pooled = Path(folder) / "map.safetensors", Path(folder) / "pooled.bin"
        save_tensors(file, {"map": values}, {})
        rows = pyramid_pool(values, windows).bfloat16()
        pooled.write_bytes(rows.view(torch.int16).numpy().tobytes())
        length = 2 * rows.shape[1]

        def read_rows() -> list[bytes]:
            with pooled.open("rb") as stream:
                return [(stream.seek(int(row) * length), stream.read(length))[1] for row in chosen]

        def read_map() -> Tensor:
            return pyramid_pool(load_tensors(file)[0]["map"], windows[chosen]).bfloat16()

        def bytes_alone() -> Tensor:
            file.read_bytes()
            return pyramid_pool(values, windows[chosen]).bfloat16()

        ways = {
            "against": (read_rows, pooled),
            "ours": (read_map, file),
            "floor": (bytes_alone, file),
        }
        candidates = [
            Candidate(name=key, run=run, before=partial(drop_from_cache, path))
            for key, (run, path) in ways.items()
        ]
        own, floor = compare("cold", candidates[0], candidates[1:], lambda *_: 0.0, repeats)
    why = "the map's bytes from the disk, and pooling; no hash, no check"
    name = f"{rois} RoIs of an image, cold"
    return Bar(name=name, goal=15, ratio=own.ratio, most=floor.ratio, why=why)


def duplicates_bar(folder: Path, count: int, repeats: int) -> Bar:
    """Return what leaving out duplicate windows saves: at most their share of the boxes."""
    name = "duplicate windows"
    config = Config(features=FeatureConfig(dtype="auto"), backbone=BackboneConfig(name="zf5"))
    detector = untrained_detector(load_backbone(config.backbone), config, 20)
    extractor, mode = detector.extractor, ProposalConfig(mode="paper_fast")
    paths = spread(list_images([folder]), count)
    images = [read_image(path, path.stem) for path in paths]
    boxes = [propose(image, mode).boxes for image in images]
    with torch.no_grad():
        maps = [extractor.encode_image(image) for image in images]
        pairs = list(zip(maps, boxes, strict=True))
        found = [extractor.project(m, b) for m, b in pairs]

        def scores(values: Tensor) -> Tensor:
            return detector.scorer.score(detector.fc(values))

        def once() -> None:
            for m, (windows, _) in zip(maps, found, strict=True):
                scores(extractor.pool_windows(m, windows))

        def each() -> None:
            for m, (windows, rows) in zip(maps, found, strict=True):
                scores(extractor.pool_windows(m, windows[rows]))

        ways = Candidate(name="each", run=each), [Candidate(name="once", run=once)]
        (own,) = compare(name, *ways, lambda *_: 0.0, repeats, time.thread_time)
    most = sum(len(b) for b in boxes) / sum(len(windows) for windows, _ in found)
    why = f"as many vectors as distinct windows: {1 / most:.0%} of the boxes"
    return Bar(name=name, goal=1.15, ratio=own.ratio, most=most, why=why)


def growth_bar(dim: int, repeats: int) -> Bar:
    """Return how the SVMs grow from 2,000 rows to 8,000; 1 is in proportion."""
    x = torch.randn(8000, dim, generator=RANDOM).relu()
    config = Config(features=FeatureConfig(layer="fc7"), backbone=BackboneConfig(name="alexnet"))
    scorer = untrained_detector(load_backbone(config.backbone), config, 20).scorer
    if not isinstance(scorer, SvmScorer):
        message = "expected SVMs"
        raise TypeError(message)
    parts = x.split(2000)

    def four_times() -> None:
        for part in parts:
            scorer.score(part)

    floors = {"reading the rows once": x.sum}
    return bar(
        "growth of the SVMs, 8,000 boxes",
        0.95,
        four_times,
        lambda: scorer.score(x),
        floors,
        repeats,
    )


def network_bar(backbone: str, goal: float, inputs: int) -> Bar:
    """Return a whole network from stored results: SPPnet's operations at the best rate seen.

    R-CNN's time is the one that was measured: its convolutions on crops are slower than those on a
    map, so that the ratio of the operations alone would be no bound.

    Args:
        backbone: of both methods.
        goal: the ratio that was aimed at.
        inputs: of SPPnet's fc6.
    """
    stored = json.loads((HERE / f"results/stages/{backbone}_1scale_cpu.json").read_text())
    forms = json.loads((HERE / "results/fc_2t.json").read_text())["lines"]
    seconds = min(line["ours_s"] for line in forms if line["ours"].startswith(("bfloat16", "bf16")))
    rate = 2.0 * 2000 * (12800 * 4096 + 4096 * 4096) / seconds
    fc = 2.0 * 2000 * DISTINCT * (inputs * 4096 + 4096 * 4096)
    floor = (stored["flops"]["sppnet"]["conv"] + fc) / rate
    return Bar(
        name=f"network, {backbone}, bfloat16 (Zen 4, 2 threads)",
        goal=goal,
        ratio=stored["ratios"]["network_s"],
        most=stored["methods"]["rcnn"]["network_s"]["median"] / floor,
        why=f"SPPnet's operations at {rate / 1e9:.0f} G a second, each distinct window once",
    )


def row(line: Bar) -> str:
    """Return one line of the table."""
    cells = [
        line.name,
        f"{line.goal:g}{'' if line.ratio < line.goal else ': reached'}",
        f"**{line.ratio:.3g}**",
        f"{line.most:.3g}",
        line.why,
    ]
    return f"| {' | '.join(cells)} |"


def table(lines: Sequence[Bar]) -> str:
    """Return all as Markdown."""
    return "\n".join([HEAD, "|---" * 5 + "|", *map(row, lines)])


def measure(options: argparse.Namespace) -> list[Bar]:
    """Return all of them."""
    torch.set_num_threads(1)
    return [
        *fc_bars(options.rois, options.feature_dim, options.size, options.repeats),
        *pooling_bars(options.rois, options.repeats),
        cold_bar(64, 3 * options.repeats),
        duplicates_bar(options.images, options.num_images, options.repeats),
        growth_bar(4096, 3 * options.repeats),
        network_bar("alexnet", 13, 256 * 50),
        network_bar("vgg16", 80, 512 * 50),
    ]


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("images", type=Path, nargs="?", help="a folder of images")
    parser.add_argument("--show", action="store_true", help="measure nothing: show what is stored")
    parser.add_argument("--rois", type=int, default=2000)
    parser.add_argument("--feature-dim", type=int, default=12800)
    parser.add_argument("--size", type=int, default=4096, help="of fc6 and fc7")
    parser.add_argument("--num-images", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results/bars.json")
    parser.add_argument("--page", type=Path, help="a Markdown file with the marks of bars")
    options = parser.parse_args()
    if options.show:
        stored = json.loads(options.out.read_text(encoding="utf-8"))
        lines = [Bar(**line) for line in stored["lines"]]
    else:
        lines = measure(options)
        described = describe_environment()
        environment = {key: described[key] for key in ("processor", "instructions", "packages")}
        result = {"environment": environment, "lines": [asdict(line) for line in lines]}
        write_json_atomic(options.out, result)
    print(table(lines))
    if options.page is not None:
        replace_between(options.page, "bars", table(lines))


if __name__ == "__main__":
    main()
