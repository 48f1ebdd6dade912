"""Modules that are imported at the first use of one of their names.

For what is slow to import and often not needed: a command that checks files never waits for torch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class LazyModule(ModuleType):
    """Stands for a module that is not imported yet."""

    def __getattr__(self, name: str) -> Any:
        """Import the module, and return its value of this name."""
        return getattr(import_module(self.__name__), name)


def lazy(name: str) -> Any:
    """Return a module, or what stands for it where nothing has imported it yet."""
    return sys.modules.get(name) or LazyModule(name)
