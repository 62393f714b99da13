"""A module that is imported when it is first used: what a node may never need takes megabytes."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Lazily:
    """Stands for the module of this name. Its submodules are those that it imports itself."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        """Raises AttributeError, and ImportError at the first use."""
        return getattr(import_module(self._name), name)
