"""Small helps with trio's scopes and with the exception groups of other people's nurseries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio


def shielded(timeout_s: float) -> trio.CancelScope:
    """A scope that ends after `timeout_s`, and not before because an outer one was cancelled."""
    return trio.CancelScope(deadline=trio.current_time() + timeout_s, shield=True)


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raises what is inside where a group (of groups) holds one exception only."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None
