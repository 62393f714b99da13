"""Failures of a job's data, and whose fault each is."""

from __future__ import annotations

from p2pnode.core.wire.states import Fault


class DataFailed(Exception):
    """An input can't be had or a result can't be published; the message says which and why."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


class Retryable(DataFailed):
    """The other side was not reached, broke off, or is too busy: worth another try."""

    def __init__(self, message: str) -> None:
        super().__init__(Fault.NETWORK, message)


def of_disk(what: str, error: OSError) -> DataFailed:
    """An error of this node's own disk."""
    return DataFailed(Fault.PEER, f"{what}: {error.strerror or error}")
