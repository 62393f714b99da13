"""Several steps at once, of which the first that fails ends the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import trio

from .failures import DataFailed


async def all_of(steps: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Runs all; raises the `DataFailed` of the first that fails, alone."""
    first: list[DataFailed] = []

    async def run(step: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
        try:
            await step()
        except DataFailed as exc:
            first.append(exc)
            scope.cancel()

    async with trio.open_nursery() as nursery:
        for step in steps:
            nursery.start_soon(run, step, nursery.cancel_scope)
    if first:
        raise first[0]
