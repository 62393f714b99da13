"""A step tried again, with growing waits, as long as only the other side is to blame."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import trio

from .failures import Retryable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tries:
    """How often, and how long to wait in between: the first wait, and what each next one is of the last."""

    count: int
    wait_s: float
    factor: float

    async def __call__(self, step: Callable[[], Awaitable[T]], told: Callable[[str], None]) -> T:
        """Return what the step gives; raises `Retryable` when all tries fail. `told` hears of failures."""
        wait_s = self.wait_s
        for _ in range(self.count - 1):
            try:
                return await step()
            except Retryable as exc:
                told(f"{exc}; trying again in {wait_s:g} s")
            await trio.sleep(wait_s)
            wait_s *= self.factor
        try:
            return await step()
        except Retryable as exc:
            raise Retryable(f"{exc} ({self.count} tries)") from exc


# For an input: another peer may have a better line.
FETCH_TRIES = Tries(count=5, wait_s=0.5, factor=2)
# For a result, which is here and nowhere else: a service that is restarted is back within 21 s.
PUBLISH_TRIES = Tries(count=4, wait_s=1, factor=4)
