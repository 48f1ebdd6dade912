"""One made table for all tests that read it."""

from __future__ import annotations

import pytest

from detection.backbones import weights
from detection.reproduce.run import reproduce
from detection.reproduce.trainings import TRAININGS
from tests.reproduce.small import TABLE, TINY, set_up


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The choices and results of a table that was made once."""
    choices = set_up(tmp_path_factory.mktemp("tables"))
    yield choices, reproduce(TABLE, choices)
    weights.BACKBONES.pop("tiny", None)
    for training in TINY:
        TRAININGS.pop(training.name)
