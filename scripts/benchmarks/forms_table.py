"""What `whole_image_forms.py` measured as Markdown: the ratios, their bounds, and the stages.

``--page`` puts it between the marks of that page that the network has, such as ``zf5_forms``. The
mAP of each form is that of another detector, which can be trained here: see "A cascade before fc6"
on the same page.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from marks import replace_between
from run_all import HERE
from whole_image_forms import FORMS, STEPS

from detection.benchmark.speed import STAGES
from detection.words import counted

Accuracy = dict[str, dict[str, float]]
MAP = Path("docs/results/cascade_map.json")
HEAD = (
    "| form | step | SPPnet | R-CNN | ratio | bound | of its floor: SPPnet | R-CNN | mAP |",
    "|---" * 9 + "|",
)


def points(its: dict[str, float]) -> str:
    """Return a mAP in percent, and how far it is from the exact one."""
    mean, difference = 100 * its["map"], 100 * its["difference"]
    return f"{mean:.1f} ({difference:+.1f})" if difference else f"{mean:.1f}"


def milliseconds(seconds: float) -> str:
    """Return a time; from ten seconds on in seconds."""
    return f"{seconds:.1f} s" if seconds >= 10 else f"{1e3 * seconds:,.{int(seconds < 0.1)}f} ms"


def ratio_rows(result: dict[str, Any], accuracy: Accuracy) -> list[str]:
    """Return a row for each form and step; the conv layers are the same in each form."""
    rows = []
    for form in FORMS:
        ours, theirs = (result["methods"][name][form] for name in ("sppnet", "rcnn"))
        floors = [result["floors"][name][form] for name in ("sppnet", "rcnn")]
        for step, (own, other) in STEPS.items():
            if step == "conv" and form != FORMS[0]:
                continue
            key = "conv_s" if step == "conv" else "network_s"
            low, high = (floor[key] for floor in floors)
            own_s, other_s = ours[own]["median"], theirs[other]["median"]
            cells = [
                "" if step == "conv" else form,
                step,
                milliseconds(own_s),
                milliseconds(other_s),
                f"**{other_s / own_s:.3g}**",
                f"{high / low:.3g}",
                f"{low / own_s:.0%}",
                f"{high / other_s:.0%}",
                "" if step == "conv" else points(accuracy[form]),
            ]
            rows.append(f"| {' | '.join(cells)} |")
    return rows


def stage_rows(result: dict[str, Any]) -> list[str]:
    """Return a row for each stage of SPPnet in each form, and of R-CNN."""
    columns = [result["methods"]["sppnet"][form]["stages"] for form in FORMS]
    columns.append(result["methods"]["rcnn"][FORMS[0]]["stages"])
    rows = []
    for stage in STAGES:
        cells = [milliseconds(c[stage]["median"]) if stage in c else "" for c in columns]
        if any(cells):
            rows.append(f"| {stage} | {' | '.join(cells)} |")
    return rows


def setting(result: dict[str, Any]) -> str:
    """Say what was measured, and on what."""
    rates = [f"{kind} {rate / 1e9:.0f}" for kind, rate in result["rates"].items()]
    kept = result["floors"]["sppnet"]
    rows = ", ".join(f"{kept[form]['fc_rows']:.0f}" for form in FORMS)
    return (
        f"{result['backbone']}, {result['dtype']}, {result['scales'][0]} pixels, "
        f"{result['max_boxes']:,} boxes; {counted(result['num_images'], 'image')}, SPPnet "
        f"{result['repeats']} times each, R-CNN once; {result['threads']} threads of an "
        f"{result['environment']['processor']}. A product of 4,096 x 4,096 did "
        f"{' and '.join(rates)} G operations a second in the same run. "
        f"{result['keep']} boxes kept by the cascade; fc6 saw {rows} distinct windows, R-CNN's "
        f"{result['floors']['rcnn'][FORMS[0]]['fc_rows']:.0f}."
    )


def render(result: dict[str, Any], accuracy: Accuracy) -> str:
    """Return the whole section."""
    stages = ["| stage | " + " | ".join((*FORMS, "R-CNN")) + " |", "|---" * 5 + "|"]
    parts = [
        setting(result),
        "\n".join([*HEAD, *ratio_rows(result, accuracy)]),
        "\n".join([*stages, *stage_rows(result)]),
    ]
    return "\n\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    default = HERE / "results/stages/zf5_forms_cpu.json"
    parser.add_argument("result", type=Path, nargs="?", default=default)
    parser.add_argument("--map", type=Path, default=HERE.parents[1] / MAP)
    parser.add_argument("--page", type=Path, help="a Markdown file with the marks")
    options = parser.parse_args(arguments)
    result, accuracy = (
        json.loads(path.read_text(encoding="utf-8")) for path in (options.result, options.map)
    )
    text = render(result, accuracy)
    print(text)
    if options.page is not None:
        replace_between(options.page, f"{result['backbone']}_forms", text)


if __name__ == "__main__":
    main()
