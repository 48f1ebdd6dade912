"""What a store holds, and what was searched to fill it."""

from __future__ import annotations

from pathlib import Path

import pytest

from detection.config import ProposalConfig
from detection.io.tensors import load_tensors
from detection.proposals import dataset as dataset_module
from detection.proposals import search
from detection.structures import Proposals


def count_searches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the image of each search."""
    searched: list[str] = []
    plain = search.propose_all

    def counting(image: object, config: ProposalConfig) -> Proposals:
        searched.append(image.image_id)
        return plain(image, config)

    monkeypatch.setattr(dataset_module, "propose_all", counting)
    return searched


def files(folder: Path) -> dict[str, object]:
    """Return the contents of a store's files."""
    content = {str(p.relative_to(folder)): load_tensors(p) for p in folder.rglob("*.safetensors")}
    return {
        name: (tensors["boxes"].tolist(), header) for name, (tensors, header) in content.items()
    }
