from __future__ import annotations

from pathlib import Path

import pytest

from detection.cli.main import main
from detection.runs import presets

ROOT = Path(__file__).parents[3]


def test_configs_lists_every_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    files = {p.relative_to(ROOT / "configs") for p in (ROOT / "configs").rglob("*.yaml")}
    hidden = {"own_sppnet_lite0", "own_sppnet_lite0_quick"}
    names = {path.with_suffix("").as_posix() for path in files} - hidden | {"own", "own_quick"}
    assert names <= set(lines)
    assert all(preset.summary for preset in presets.list_presets())


def test_configs_with_a_name_prints_the_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["configs", "synthetic_rcnn"]) == 0
    expected = (ROOT / "configs/synthetic_rcnn.yaml").read_text(encoding="utf-8")
    assert capsys.readouterr().out == expected
