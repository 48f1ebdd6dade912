"""Shapes and types of every function are checked while the tests run, and only then."""

import hypothesis
from jaxtyping import install_import_hook

from tests import typechecker

install_import_hook("detection", f"{typechecker.__name__}.typechecker")

# A busy machine is no failure.
hypothesis.settings.register_profile("detection", deadline=None)
hypothesis.settings.load_profile("detection")
