"""Commands that go on while a test does its part, and pages that are held back."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .nodes import WAIT_S, Node, environment
from .web_site import Page


@contextmanager
def following(node: Node, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command that goes on while the block does its part."""
    process = subprocess.Popen(
        [sys.executable, "-m", "p2pnode", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(node.data_dir),
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class HeldPages(dict[str, Page]):
    """Pages that are given to nobody until `held` is set."""

    def __init__(self, pages: dict[str, Page], held: threading.Event) -> None:
        super().__init__(pages)
        self._held = held

    def get(self, key: str, default: Any = None) -> Any:
        self._held.wait(WAIT_S)
        return super().get(key, default)
