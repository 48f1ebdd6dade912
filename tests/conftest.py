"""Shapes and types of every function are checked while the tests run, and only then."""

import os
import signal

import hypothesis
import pytest
from jaxtyping import install_import_hook

from tests import typechecker

install_import_hook("detection", f"{typechecker.__name__}.typechecker")

# A busy machine is no failure. Every run of the suite tries the same examples, so that what it
# finds can be found again; HYPOTHESIS_PROFILE=explore tries others.
hypothesis.settings.register_profile("detection", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "detection"))


@pytest.fixture
def interruptible():
    """SIGINT does what it does in a terminal, here and in commands that a test starts.

    A job in the background of a script is started with SIGINT ignored, and hands that on.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
