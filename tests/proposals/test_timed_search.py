"""A search within its time finds what any search finds; one beyond it is ended and named."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from detection.config import ProposalConfig
from detection.errors import DataError, ImageError
from detection.proposals import timed_search
from detection.proposals.search import propose
from detection.proposals.timed_search import TimedSearch
from detection.structures import Image
from tests.faults import at_end


def image(name: str = "a") -> Image:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    return Image(image_id=name, pixels=torch.from_numpy(pixels))


def test_boxes_are_those_of_any_search() -> None:
    config = ProposalConfig(min_side=6, time_limit=120)
    search = TimedSearch(config)
    try:
        found = search.propose(image())
    finally:
        search.close()
    assert len(found.boxes) > 0
    assert torch.equal(found.boxes, propose(image(), config).boxes)
    without = TimedSearch(ProposalConfig(min_side=6)).propose(image())
    assert torch.equal(without.boxes, found.boxes)


def test_a_search_beyond_its_time_is_ended_named_and_the_next_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    search = TimedSearch(ProposalConfig(time_limit=2, min_side=6))
    monkeypatch.setattr(timed_search, "_find", at_end.find)
    try:
        search.start()
        start = time.monotonic()
        with pytest.raises(ImageError, match=r"endless: expected its boxes within 2 s.*time_lim"):
            search.propose(image("endless"))
        assert time.monotonic() - start < 20
        assert len(search.propose(image("good")).boxes) == 0
    finally:
        search.close()


def test_a_search_that_is_killed_is_the_machines_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    search = TimedSearch(ProposalConfig(time_limit=60, min_side=6))
    monkeypatch.setattr(timed_search, "_find", at_end.find)
    try:
        with pytest.raises(DataError, match="killed: not enough memory") as caught:
            search.propose(image("killed"))
        assert not isinstance(caught.value, ImageError)
        assert len(search.propose(image("good")).boxes) == 0
    finally:
        search.close()
