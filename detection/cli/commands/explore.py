"""The command that shows what fires the units of a network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from detection.cli.command import Command, of_run, option
from detection.cli.parser import whole_number
from detection.config import Config

if TYPE_CHECKING:
    from detection.features.units import Bin


def explore(options: argparse.Namespace, config: Config) -> None:
    """Show what fires units of pool5 on one HTML page: their strongest regions of a data set.

    As in the R-CNN paper's Figure 3: of all proposals of the images those are shown that answer
    most, after suppression in each image. Without --channels the units are the most selective ones,
    whose regions show one class most often.
    """
    from detection.data.roots import require_roots
    from detection.runs.folder import model_file

    model_file(options.run)
    require_roots(config.data, options.split)
    from detection.inference.explore import show_units

    show_units(
        options.run,
        config,
        options.out,
        split=options.split,
        where=_bin(options.bin),
        channels=tuple(options.channels or ()),
        num_units=options.num_units,
        top=options.top,
    )
    print(f"{options.out}: written")


def _bin(text: list[int] | None) -> Bin | None:
    from detection.features.units import Bin

    return None if text is None else Bin(level=text[0], row=text[1], column=text[2])


EXPLORE_COMMANDS = {
    "explore": Command(
        run=explore,
        options=(
            option("layer", "which layer", choices=("pool5",)),
            option("run", "the folder of a trained detector", type=Path),
            option("--out", "the page to write", default=Path("runs/explore.html"), metavar="FILE"),
            option("--split", "which list", choices=("train", "test"), default="test"),
            option(
                "--channels", "units to show; without it the most selective", nargs="+", type=int
            ),
            option("--num_units", "how many of these", type=whole_number, default=8),
            option("--top", "regions of each", type=whole_number, default=16),
            option(
                "--bin",
                "side of a grid of the pyramid, row and column, from 0; without it the middle of "
                "the coarsest grid",
                nargs=3,
                type=int,
                metavar=("SIDE", "ROW", "COLUMN"),
            ),
        ),
        base=of_run,
        sections=("data", "proposals"),
    ),
}
