"""A process that only looks as if torchrun had started it says so in one line."""

from __future__ import annotations

import pytest

from detection.errors import ConfigError
from detection.runs.torchrun import world_size
from detection.training.distributed import start_workers

WHOLE = {
    "WORLD_SIZE": "2",
    "RANK": "0",
    "LOCAL_RANK": "0",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


def pretend(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    for name, value in {**WHOLE, **changes}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_a_variable_that_lacks_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pretend(monkeypatch)
    assert world_size() == 2
    monkeypatch.delenv(name)
    with pytest.raises(ConfigError, match=rf"WORLD_SIZE 2: expected {name} beside it.*torchrun"):
        start_workers("cpu")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORLD_SIZE", "two"),
        ("WORLD_SIZE", "0"),
        ("RANK", "-1"),
        ("RANK", "2"),
        ("MASTER_PORT", "x"),
    ],
)
def test_a_variable_that_is_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    pretend(monkeypatch, **{name: value})
    with pytest.raises(ConfigError, match=rf"^{name}: expected"):
        start_workers("cpu")


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "1"):
        monkeypatch.setenv("WORLD_SIZE", value)
        assert world_size() == 1
        assert start_workers("cpu").is_main
