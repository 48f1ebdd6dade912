"""The results as Markdown: a table of the steps, one of whole images, and what is not measured.

``--readme`` puts them between the two marks in that file, ``--mark`` between marks of another name.
Goals are for two threads; ``--goals`` leaves out what has none, ``--measured`` what was not
measured. The loss in mAP that ``fc_loss.py`` measured stands beside the speed of its form of fc6
and fc7. ``forms_table.py`` shows the forms of SPPnet.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from marks import replace_between
from run_all import HERE, STEPS

Line = dict[str, Any]
IMAGES = ("whole_image", "context", "throughput", "gpu_whole_image")
GPU = [name for name in STEPS if name.startswith("gpu_")]
ELSEWHERE = ("fc_loss", *(name for name in STEPS if name.endswith("_forms")))
UNITS = (("MiB", "MiB"), ("peak memory", "GiB"), ("hours", "h"), ("gigabytes", "GB"), ("busy", "%"))
HEAD = "| step | ours | | against | | ratio | goal | difference |"


def read(folder: Path) -> dict[str, list[Line]]:
    """Return the lines of each measured step, in the order of the steps."""
    measured = {}
    for name in STEPS:
        path = folder / f"{name}.json"
        if path.exists():
            result = json.loads(path.read_text(encoding="utf-8"))
            one = {"reach": 0.0} if "--threads 1 " in f"{result['command']} " else {}
            measured[name] = [line | one | _named(line, bool(one)) for line in result["lines"]]
    return measured


def _named(line: Line, one: bool) -> Line:
    return {"ours": f"{line['ours']}, 1 thread"} if one else {}


def with_losses(measured: dict[str, list[Line]]) -> dict[str, list[Line]]:
    """Put the loss in mAP beside each form of fc6 and fc7, where both were measured."""
    losses = {line["ours"]: line["max_difference"] for line in measured.get("fc_loss", [])}

    def named(line: Line) -> Line:
        loss = losses.get(line["ours"].removesuffix(", 1 thread"))
        return line if loss is None else line | {"ours": f"{line['ours']} (mAP {-loss:+.2f})"}

    return {
        name: [named(line) for line in lines] if name.startswith("fc_") else lines
        for name, lines in measured.items()
    }


def amount(value: float, step: str) -> str:
    """Return a number with three digits and its unit; seconds below ten become milliseconds."""
    unit = next((unit for word, unit in UNITS if word in step), "s")
    if unit == "s" and value < 10:
        value, unit = 1e3 * value, "ms"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}"


def row(line: Line) -> str:
    """Return one line of a table."""
    goal, ratio, step = line["reach"], line["ratio"], line["step"]
    missed = goal > 0 and ratio < goal
    cells = [
        step,
        line["ours"],
        amount(line["ours_s"], step),
        line["against"],
        amount(line["against_s"], step),
        f"**{ratio:.3g}**",
        f"{goal:g}{': missed' if missed else ''}" if goal else "",
        f"{line['max_difference']:.2g}",
    ]
    return f"| {' | '.join(cells)} |"


def tables(measured: dict[str, list[Line]], *, goals: bool, all_steps: bool = True) -> str:
    """Return everything as Markdown, and the steps that were not measured."""
    measured = {
        name: lines for name, lines in with_losses(measured).items() if name not in ELSEWHERE
    }
    parts = []
    for title, wanted in (("Steps", False), ("Whole images", True)):
        rows = [
            row(line)
            for name, lines in measured.items()
            if name.startswith(IMAGES) == wanted
            for line in lines
            if line["reach"] > 0 or not goals
        ]
        if rows:
            parts.append("\n".join([f"**{title}**", "", HEAD, "|---" * 8 + "|", *rows]))
    missing = [name for name in STEPS if name not in measured and name not in ELSEWHERE]
    if all(name in missing for name in GPU):
        missing = [name for name in missing if name not in GPU]
        missing.append("everything on a GPU, for which `scripts/gpu/run` is ready")
    if missing and all_steps:
        parts.append(f"Not measured: {', '.join(missing)}.")
    return "\n\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("results", type=Path, nargs="?", default=HERE / "results")
    parser.add_argument("--goals", action="store_true", help="only the lines that have a goal")
    parser.add_argument("--readme", type=Path, help="a Markdown file with the two marks")
    parser.add_argument("--mark", default="speed", help="the name in the marks")
    parser.add_argument("--measured", action="store_true", help="do not list what was not measured")
    options = parser.parse_args(arguments)
    text = tables(read(options.results), goals=options.goals, all_steps=not options.measured)
    if options.readme is None:
        print(text)
        return
    replace_between(options.readme, options.mark, text)


if __name__ == "__main__":
    main()
