import pytest

from detection.errors import ConfigError, require, shown


def test_a_value_in_a_message_is_cut_short():
    assert shown([0.1, "a"]) == "[0.1, 'a']"
    assert len(shown(["x" * 1000] * 1000)) <= 200
    assert shown(2**63) == str(2**63)
    with pytest.raises(ConfigError, match=r"^a: expected b, got 'xxx") as caught:
        require(False, "a", "b", "x" * 10_000)
    assert len(str(caught.value)) < 300
