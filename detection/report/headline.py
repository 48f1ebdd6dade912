"""The report's first card: what the whole comparison comes to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detection.evaluation.bootstrap import bootstrap_difference
from detection.report.gallery import Judged
from detection.report.loading import METHOD_NAMES, Run
from detection.report.page import DASH, percent
from detection.report.parts import Absent, Section


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One number of the card.

    Attributes:
        value: the number, with its unit.
        name: what it counts.
        note: how it was obtained.
    """

    value: str
    name: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """How far two runs' 11-point mAPs lie apart: the first one's minus the second one's.

    Attributes:
        first: the name of a run.
        second: that of another.
        difference: of the mAPs as they were measured.
        low: of the paired 95% interval over images; NaN where it is not known.
        high: its other end.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float

    @property
    def interval(self) -> str:
        """The interval in points; empty where it is not known."""
        if math.isnan(self.low):
            return ""
        return f"[{100 * self.low:+.1f} to {100 * self.high:+.1f}]"

    def verdict(self) -> str:
        """Return which of the two finds more, as a sentence."""
        names = f"{self.first} and {self.second}"
        if math.isnan(self.low):
            return ""
        if self.low <= 0 <= self.high:
            return (
                f"{self.second} neither wins nor loses: the interval contains zero, so these "
                f"images do not tell {names} apart."
            )
        wins = self.difference < 0
        more = abs(100 * self.difference)
        how = "wins: its mAP is higher" if wins else "loses: its mAP is lower"
        return f"{self.second} {how} by {more:.1f} points, and the interval excludes zero."


def headline(
    runs: Sequence[Run], judged: Sequence[Judged], benchmark: Mapping[str, Any] | None
) -> Section | Absent:
    """Return the card: of both methods what one costs and gains, of one run its mAP.

    Args:
        runs: with a configuration or metrics.
        judged: those of them that were scored on the same images.
        benchmark: what ``benchmark.json`` holds; None where speed was not measured.
    """
    pair = _pair(runs)
    scored = [run for run in runs if run.metrics]
    if not scored and benchmark is None:
        return Absent("no run was evaluated", "detection evaluate RUN")
    facts: list[Fact] = []
    if pair or not scored:
        facts += _speed_facts(benchmark)
    gap = _gap(pair or scored[:2], judged)
    if gap:
        facts.append(_gap_fact(gap))
    if not pair and scored:
        facts = [_map_fact(scored[0]), *facts]
    return {
        "facts": facts,
        "verdict": gap.verdict() if gap else "",
        "missing": _missing(pair, gap, benchmark),
    }


def _pair(runs: Sequence[Run]) -> list[Run]:
    """Return the first evaluated run of SPPnet and of R-CNN; nothing unless there are both."""
    first = {run.metrics["method"]: run for run in reversed(runs) if run.metrics}
    return [first[method] for method in METHOD_NAMES if method in first] if len(first) > 1 else []


def _speed_facts(benchmark: Mapping[str, Any] | None) -> list[Fact]:
    ratios = benchmark["ratios"] if benchmark else {}
    facts = []
    if less := ratios.get("conv_flops"):
        note = "operations of the conv layers for an image, SPPnet against R-CNN"
        name = "less convolution" if less >= 1 else "more convolution"
        facts.append(Fact(value=_times(less), name=name, note=note))
    if faster := ratios.get("network_s"):
        note = "the network, from resizing to box regression"
        if whole := ratios.get("with_proposals_s"):
            how = "" if (whole >= 1) == (faster >= 1) else " slower" if whole < 1 else " faster"
            note += f"; {_times(whole)}{how} with decoding and proposals, which both share"
        name = "faster" if faster >= 1 else "slower"
        facts.append(Fact(value=_times(faster), name=name, note=note))
    return facts


def _times(ratio: float) -> str:
    """Return how many times more or less, whichever is above one."""
    ratio = max(ratio, 1 / ratio)
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.1f}x"


def _gap(runs: Sequence[Run], judged: Sequence[Judged]) -> Gap | None:
    """Compare two runs; both are scored on the same drawn images, so what they share cancels."""
    if len(runs) < 2:
        return None
    means = [run.metrics["map"]["voc07"] for run in runs if run.metrics]
    found = {one.name: one for one in judged}
    both = [found[run.name] for run in runs if run.name in found]
    if None in means or len(both) < 2:
        return None
    low, high = bootstrap_difference(both[1].matches, both[0].matches)
    names = [run.name for run in runs]
    return Gap(first=names[0], second=names[1], difference=means[0] - means[1], low=low, high=high)


def _gap_fact(gap: Gap) -> Fact:
    note = f"points of 11-point mAP, {gap.first} minus {gap.second}"
    if gap.interval:
        note += f"; {gap.interval} is the 95% interval, images resampled for both at once"
    return Fact(value=f"{100 * gap.difference:+.1f}", name="mAP difference", note=note)


def _map_fact(run: Run) -> Fact:
    metrics = run.metrics or {}
    note = f"11 points, {run.name} on {metrics.get('dataset', metrics['split'])}"
    interval = metrics["interval"]
    if interval and interval[0] is not None:
        low, high = (percent(value) for value in interval)
        note += f"; 95% interval over images: {low} to {high}"
    value = percent(metrics["map"]["voc07"])
    return Fact(value=value if value == DASH else f"{value}%", name="mAP", note=note)


def _missing(
    pair: Sequence[Run], gap: Gap | None, benchmark: Mapping[str, Any] | None
) -> list[tuple[str, str]]:
    """Return what the card cannot say, and the command that would add it."""
    missing = []
    if pair and benchmark is None:
        missing.append(("How much less convolution and time was not measured.", "benchmark"))
    if pair and gap is None:
        why = "The two mAPs cannot be compared: they are not of the same images and classes."
        missing.append((why, "evaluate"))
    return missing
