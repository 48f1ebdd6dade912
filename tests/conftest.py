"""Shapes and types of every function are checked while the tests run, and only then."""

from jaxtyping import install_import_hook

from tests import typechecker

install_import_hook("detection", f"{typechecker.__name__}.typechecker")
