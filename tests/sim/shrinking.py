"""Makes a scenario that breaks an invariant as small as it can be while one is still broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar


class Shrinkable(Protocol):
    def smaller(self) -> Iterator[object]: ...


S = TypeVar("S", bound=Shrinkable)


def failure_of(run: Callable[[], object]) -> str | None:
    """The broken invariant, or None."""
    try:
        run()
    except AssertionError as exc:
        return str(exc)
    except BaseExceptionGroup as group:
        found = group.subgroup(AssertionError)
        if found is None:
            raise
        first: BaseException = found
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        return str(first)
    return None


def shrunk(scenario: S, run: Callable[[S], object]) -> S:
    """The smallest that is found by leaving out one thing after the other."""
    while True:
        for smaller in scenario.smaller():
            if failure_of(lambda smaller=smaller: run(smaller)) is not None:  # type: ignore[misc]
                scenario = smaller  # type: ignore[assignment]
                break
        else:
            return scenario
