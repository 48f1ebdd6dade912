"""The section on speed: this run's times beside the papers'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from detection.report import plots
from detection.report.loading import METHOD_NAMES, Run
from detection.report.parts import Absent, Section, svg
from detection.words import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperSpeed:
    """Seconds per image on a GPU of 2014, without proposals.

    Attributes:
        name: network and method.
        conv: of the conv layers.
        fc: of the fc layers and the SVMs.
        total: of both.
        source: table.
    """

    name: str
    conv: float
    fc: float
    total: float
    source: str


PAPER_SPEEDS = (
    PaperSpeed(name="R-CNN, ZF-5", conv=14.37, fc=0.089, total=14.46, source="SPP Table 10"),
    PaperSpeed(name="R-CNN, AlexNet", conv=8.96, fc=0.07, total=9.03, source="SPP Table 9"),
    PaperSpeed(
        name="SPPnet, ZF-5, 5 scales", conv=0.293, fc=0.089, total=0.382, source="SPP Table 9"
    ),
    PaperSpeed(
        name="SPPnet, ZF-5, 1 scale", conv=0.053, fc=0.089, total=0.142, source="SPP Table 9"
    ),
)

PAPER_RATIOS = {"conv_s": 270.0, "network_s": 102.0}
"""R-CNN over 1-scale SPPnet, both with ZF-5 (SPP Table 10)."""

RATIOS = {
    "conv_s": "conv layers alone",
    "network_s": "network: resize to box regression",
    "without_proposals_s": "whole image, proposals given",
    "with_proposals_s": "whole image, proposals included",
    "conv_flops": "operations of the conv layers",
}


def measured(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Return what the first benchmark among the folders holds; None without one."""
    return next((run.benchmark for run in runs if run.benchmark), None)


def speed(runs: Sequence[Run]) -> Section | Absent:
    """Return the stages of both methods as bars and a table, next to the papers' times."""
    benchmark = measured(runs)
    if benchmark is None:
        return Absent("no speed was measured beside these runs", "detection benchmark")
    methods = {
        METHOD_NAMES.get(key, key): _medians(value["stages"])
        for key, value in benchmark["methods"].items()
    }
    stages = plots.stage_order(methods.values())
    fastest = min(methods, key=lambda name: sum(methods[name].values()))
    charts = [plots.stage_times(methods)]
    if len(methods) > 1:
        charts.append(plots.stage_times({fastest: methods[fastest]}, title=f"{fastest} alone"))
    papers = {row.name: {"conv": row.conv, "fc": row.fc} for row in PAPER_SPEEDS}
    ratios = benchmark["ratios"]
    return {
        "charts": [
            svg(figure, "seconds of each stage", f"t{n}") for n, figure in enumerate(charts)
        ],
        "legend": list(zip(stages, plots.stage_colours(stages), strict=True)),
        "methods": list(methods),
        "rows": [(stage, [times.get(stage) for times in methods.values()]) for stage in stages],
        "totals": [sum(times.values()) for times in methods.values()],
        "ratios": [
            (RATIOS[key], ratios[key], PAPER_RATIOS.get(key)) for key in RATIOS if ratios.get(key)
        ],
        "papers": [asdict(row) for row in PAPER_SPEEDS],
        "papers_chart": svg(plots.stage_times(papers), "the papers' seconds", "papers"),
        "setting": _setting(benchmark),
    }


def _medians(stages: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value["median"]) for name, value in stages.items()}


def _setting(benchmark: Mapping[str, Any]) -> str:
    words = [str(benchmark[key]) for key in ("backbone", "dtype", "device") if key in benchmark]
    if "threads" in benchmark:
        words.append(counted(benchmark["threads"], "thread"))
    if "num_images" in benchmark:
        words.append(f"median of {counted(benchmark['num_images'], 'image')}")
    if "median_boxes" in benchmark:
        words.append(f"{counted(benchmark['median_boxes'], 'box', spec=',.0f')} each")
    return ", ".join(words)
