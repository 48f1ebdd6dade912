"""Shapes and types of every function are checked while the tests run, and only then."""

import signal

import hypothesis
import pytest
from jaxtyping import install_import_hook

from tests import typechecker

install_import_hook("detection", f"{typechecker.__name__}.typechecker")

# A busy machine is no failure.
hypothesis.settings.register_profile("detection", deadline=None)
hypothesis.settings.load_profile("detection")


@pytest.fixture
def interruptible():
    """SIGINT does what it does in a terminal, here and in commands that a test starts.

    A job in the background of a script is started with SIGINT ignored, and hands that on.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
