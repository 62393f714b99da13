"""Views that several nodes have of one job, and a program for it, for the tests with real nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from p2pnode.api.shapes import JobJson, ServiceError

from .nodes import WAIT_S, Node, until
from .programs import waiting_module


def add_waiting(node: Node, directory: Path) -> str:
    module = directory / "waiting.wasm"
    module.write_bytes(waiting_module())
    return node.add(module)


def states(node: Node, job: str) -> list[str]:
    return [one["state"] for one in node.job(job)["executions"]]


def copy_of(node: Node, job: str) -> JobJson | None:
    """The job as this node knows it, if it does."""
    try:
        return node.job(job)
    except ServiceError:
        return None


def deputies_of(node: Node, job: str) -> list[str]:
    """The deputies that a job has, by rank, as this node knows it."""
    return [one["peer"] for one in node.job(job)["members"] if one["rank"]]


def is_same(one: Any, other: Any) -> bool:
    """Equal but for fractions of a millisecond, which no deputy is told."""
    if isinstance(one, float):
        return abs(one - other) < 0.002
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)


def until_they_agree(job: str, one: Node, other: Node, timeout_s: float = WAIT_S) -> None:
    """Waits until `job describe --json` says the same on both."""

    def differing() -> dict[str, Any]:
        a, b = one.job(job), other.job(job)
        return {key: (a[key], b[key]) for key in a if not is_same(a[key], b[key])}

    try:
        until("both show the same", lambda: not differing(), timeout_s)
    except AssertionError as error:
        raise AssertionError(f"{error}: {differing()}") from None
