"""Chance, the wall clock, threads and the order of tasks, made to go by a seed."""

from __future__ import annotations

import os
import random
import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import trio
import trio.testing

from .weather import EPOCH

if TYPE_CHECKING:
    from .shell import ShellSimulation


@contextmanager
def determined(seed: int, found: list[ShellSimulation]) -> Iterator[None]:
    """Has chance, the wall clock, threads and trio's order of tasks go by the seed.

    `found` holds the simulation once there is one.
    """
    rng = random.Random(seed)

    async def inline(fn: Callable[..., Any], *args: Any, **ignored: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return fn(*args)

    def urandom(size: int) -> bytes:
        return rng.randbytes(size)

    run = trio._core._run
    with ExitStack() as stack:
        for target, name, value in (
            (time, "time", lambda: EPOCH + _trio_time() + (found[0].clock_offset_s if found else 0.0)),
            (trio.to_thread, "run_sync", inline),
            (os, "urandom", urandom),
            (random, "_urandom", urandom),
            (secrets, "token_bytes", lambda size=32: rng.randbytes(size)),
            (uuid, "uuid4", lambda: uuid.UUID(int=rng.getrandbits(128), version=4)),
            (random, "random", rng.random),
            (random, "uniform", rng.uniform),
            (run, "_r", random.Random(seed)),
            (run, "_ALLOW_DETERMINISTIC_SCHEDULING", True),
        ):
            stack.enter_context(patch.object(target, name, value))
        yield


def _trio_time() -> float:
    try:
        return trio.current_time()
    except RuntimeError:
        return 0.0
