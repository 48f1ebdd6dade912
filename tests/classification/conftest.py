"""The tiny network by its name, and folders of classes."""

import pytest

from tests.classification.tiny_classifier import use_tiny_network, write_class_folders


@pytest.fixture
def tiny_network(monkeypatch) -> None:
    use_tiny_network(monkeypatch)


@pytest.fixture
def root(tmp_path):
    return write_class_folders(tmp_path / "pictures")
