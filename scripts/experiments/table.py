"""The scores of trained runs as a Markdown table, a row a run, in the order given.

For example: ``table.py "SPPnet, pool5=runs/subset_sppnet" "R-CNN=runs/subset_rcnn"``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

HEAD = "| detector | mAP, 11-point | 95% interval | area | COCO |\n|---|---|---|---|---|"


def row(name: str, folder: Path) -> str:
    """Return one line of the table."""
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    rules = ("voc07", "voc10", "coco")
    first, *rest = (f"{100 * metrics['map'][rule]:.1f}" for rule in rules)
    low, high = (100 * edge for edge in metrics["interval"])
    return f"| {name} | {first} | {low:.1f} to {high:.1f} | {' | '.join(rest)} |"


def main() -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("runs", nargs="+", metavar="NAME=FOLDER")
    print(HEAD)
    for word in parser.parse_args().runs:
        name, _, folder = word.rpartition("=")
        print(row(name, Path(folder)))


if __name__ == "__main__":
    main()
