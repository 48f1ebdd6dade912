"""How long others may be silent is set by the environment."""

import pytest

from detection.errors import ConfigError
from detection.io import patience


def test_the_environment_sets_how_long_others_may_be_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(patience.VARIABLE, raising=False)
    assert patience.silent_seconds() == patience.DEFAULT
    assert patience.silent_seconds(50.0) == 50.0
    monkeypatch.setenv(patience.VARIABLE, "7.5")
    assert patience.silent_seconds() == patience.silent_seconds(50.0) == 7.5


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_a_patience_that_is_no_time_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(patience.VARIABLE, text)
    with pytest.raises(ConfigError, match=r"DETECTION_SILENT_SECONDS: expected a positive number"):
        patience.silent_seconds()
