"""A table of a few rows that trains in seconds: tiny images, two conv layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from detection.reproduce.settings import Choices
from detection.reproduce.table import Row, Table, Training
from detection.reproduce.trainings import TRAININGS
from detection.runs.config_io import read_config_file
from tests.crash.commands import prepare

_SPPNET, _NO_BB = "synthetic_sppnet", "--postprocess.regression false"
_FROZEN = "--finetune.enabled false --features.layer"

TINY = (
    Training(name="tiny-pool5", preset=_SPPNET, options=f"{_FROZEN} pool5"),
    Training(name="tiny-ft-fc7", preset=_SPPNET, options="--finetune.enabled true"),
    Training(name="tiny-ft-fc6", preset=_SPPNET, options=f"{_FROZEN} fc6", network="tiny-ft-fc7"),
    Training(name="tiny-again", preset=_SPPNET, options=f"{_FROZEN} fc7", network="tiny-ft-fc7"),
    Training(
        name="tiny-elsewhere", preset=_SPPNET, options="--backbone.weights nowhere.safetensors"
    ),
)

TABLE = Table(
    name="tiny-table",
    title="A table",
    source="Nobody, Table 1",
    timed=True,
    per_class=True,
    note="Of tiny images.",
    rows=(
        Row(name="pool5", training="tiny-pool5", test=_NO_BB, paper=44.2),
        Row(name="ft fc7", training="tiny-ft-fc7", test=_NO_BB, paper=54.2),
        Row(name="ft fc7 bb", training="tiny-ft-fc7", paper=58.5),
        Row(name="ft fc6", training="tiny-ft-fc6"),
        Row(name="ft fc7 again", training="tiny-again"),
        Row(name="both", training="tiny-ft-fc7", others=("tiny-again",)),
        Row(name="elsewhere", training="tiny-elsewhere", paper=1.0),
    ),
)


def set_up(folder: Path, out: str = "out") -> Choices:
    """Write the images, and know the trainings; what `Choices` then hold for all rows."""
    if not (folder / "detector.yaml").exists():
        prepare(folder)
    TRAININGS.update({training.name: training for training in TINY})
    path = folder / "detector.yaml"
    return Choices(
        out=folder / out,
        files=(str(path),),
        from_files=read_config_file(path),
        given={"proposals": {"folder": str(folder / "proposals")}, "evaluation": {"bootstrap": 20}},
    )


def values_of(choices: Choices, table: Table = TABLE) -> dict[str, Any]:
    """Read a table's JSON file without what differs from run to run: costs and folders."""
    text = (choices.out / f"{table.name}.json").read_text(encoding="utf-8")
    values: dict[str, Any] = json.loads(text)
    for row in values["rows"]:
        for name in ("commands", "seconds_an_image", "training_seconds"):
            row.pop(name)
        for name in ("seconds_are_whole", "cpu_seconds", "peak_gib"):
            row.pop(f"training_{name}")
    return values
