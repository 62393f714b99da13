"""The disk that one execution's inputs may take, shared by all that are fetched at once."""

from __future__ import annotations

from pathlib import Path

from p2pnode.core.values.units import ENTRY_SIZE_BYTES, about_bytes
from p2pnode.core.wire.states import Fault

from .failures import DataFailed


def on_disk(size_bytes: int) -> int:
    """Return the bytes a file takes on disk: a job of many tiny ones must not fill the disk with them."""
    return max(size_bytes, ENTRY_SIZE_BYTES)


class Budget:
    def __init__(self, size_bytes_max: int, of_job: bool) -> None:
        """`of_job`: the limit is the job's own, not what this node can spare."""
        self.size_bytes_max = size_bytes_max
        self._left_bytes = size_bytes_max
        self._fault = Fault.JOB if of_job else Fault.PEER
        self._whose = "the job's disk limit" if of_job else "what this node can spare"

    @property
    def left_bytes(self) -> int:
        return self._left_bytes

    def check(self, size_bytes: int) -> None:
        """Raises `DataFailed` where so many bytes more do not fit."""
        if size_bytes > self._left_bytes:
            raise DataFailed(
                self._fault,
                f"the inputs take more than {about_bytes(self.size_bytes_max)}, which is {self._whose}",
            )

    def take(self, size_bytes: int) -> None:
        """Counts bytes that are written, or, negative, removed again; raises `DataFailed` past the limit."""
        self.check(size_bytes)
        self._left_bytes -= size_bytes

    def make_directory(self, path: Path) -> None:
        """Makes it with those above it that are missing, and counts each. Raises `DataFailed`, `OSError`."""
        if path.is_dir():
            return
        self.make_directory(path.parent)
        self.take(ENTRY_SIZE_BYTES)
        path.mkdir(exist_ok=True)
