"""Run scenarios on the CPU and on the fake GPU, and compare.

``python -m tests.devices OUT [NAME ...]``.

``--device cuda`` in front compares with a real GPU instead. One JSON file a scenario goes into
OUT: what went wrong, or an empty text. ``python -m tests.devices --cli train --features.device
fakegpu`` runs the command line of the package on the fake GPU.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Any

import torch

from tests.devices.fake_gpu import NAME, install

RELATIVE, ABSOLUTE = 2e-3, 2e-3
"""Sums in another order: compiled loops on the CPU, torch's products on the device."""


def difference(cpu: Any, other: Any, where: str = "") -> str:
    """Return the first difference between two results, or an empty text."""
    if isinstance(cpu, dict):
        if cpu.keys() != other.keys():
            return f"{where}: {sorted(cpu)} on the CPU, {sorted(other)} there"
        pairs = [(cpu[key], other[key], f"{where}.{key}") for key in cpu]
    elif isinstance(cpu, list | tuple):
        if len(cpu) != len(other):
            return f"{where}: {len(cpu)} values on the CPU, {len(other)} there"
        pairs = [(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(cpu, other, strict=True))]
    elif isinstance(cpu, float) and isinstance(other, float):
        close = abs(cpu - other) <= ABSOLUTE + RELATIVE * abs(cpu)
        return "" if close or cpu == other else f"{where}: {cpu} on the CPU, {other} there"
    else:
        return "" if cpu == other else f"{where}: {cpu} on the CPU, {other} there"
    return next((text for text in (difference(*pair) for pair in pairs) if text), "")


def compare(names: list[str], out: Path, device: str) -> None:
    """Run each scenario on the CPU and on a device."""
    from tests.devices.scenarios import SCENARIOS, Place, prepare

    data = out / "data"
    prepare(data)
    for name in names or list(SCENARIOS):
        try:
            places = [Place(device=d, folder=out / d, data=data) for d in ("cpu", device)]
            wrong = difference(*(SCENARIOS[name](place) for place in places))
        except Exception:  # whatever it is, the test shows it
            wrong = traceback.format_exc()
        (out / f"{name}.json").write_text(json.dumps(wrong))


def main(words: list[str]) -> int:
    """Run what the words say."""
    torch.set_num_threads(1)
    device = NAME
    if words[:1] == ["--device"]:
        _, device, *words = words
    if device == NAME:
        install()
    if words[:1] == ["--cli"]:
        from detection.cli import main as run

        return run(words[1:])
    compare(words[1:], Path(words[0]), device)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
