import pytest

from detection.errors import ConfigError
from detection.io.variables import positive_variable


@pytest.mark.parametrize(("text", "value"), [("", 4.0), ("2.5", 2.5), ("1e2", 100.0)])
def test_a_variable_is_its_number_or_the_default(monkeypatch, text, value):
    monkeypatch.setenv("A_LIMIT", text)
    assert positive_variable("A_LIMIT", 4.0, "GiB", 1000) == value


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1000", "much"])
def test_anything_else_is_refused_by_name(monkeypatch, text):
    monkeypatch.setenv("A_LIMIT", text)
    with pytest.raises(ConfigError, match=r"^A_LIMIT: expected a positive number of GiB, got"):
        positive_variable("A_LIMIT", 4.0, "GiB", 1000)
