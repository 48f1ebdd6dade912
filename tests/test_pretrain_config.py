import pytest

from detection.errors import ConfigError
from detection.pretrain_config import ClassifyConfig, PretrainConfig
from tests.classification.tiny_classifier import use_tiny_network


@pytest.fixture(autouse=True)
def _tiny(monkeypatch) -> None:
    use_tiny_network(monkeypatch)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": ()}, "sizes: expected one or more sides"),
        ({"sizes": (300,)}, "short_side: expected at least the largest"),
        ({"head": "no_spp", "sizes": (224, 180)}, "one size with head no_spp"),
        ({"levels": (0,)}, "levels: expected one or more levels"),
        ({"decay_at": (1.5,)}, "decay_at: expected fractions"),
        ({"epochs": 0}, "epochs: expected a positive number"),
        ({"dropout": 1.0}, r"dropout: expected in \[0, 1\)"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        PretrainConfig(**changes)


@pytest.mark.parametrize("name", ["svm_train_images", "svm_test_images", "svm_splits", "svm_c"])
def test_counts_of_splits_are_positive(name):
    with pytest.raises(ConfigError, match=rf"classify\.{name}: expected a positive number, got 0"):
        ClassifyConfig(**{name: 0})
