"""Guards around libp2p's own background tasks: one that fails ends alone, or is begun again.

libp2p runs each of its services (swarm, pubsub, gossipsub) in a nursery, in which whatever a task raises
ends the service, and with it the node.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio
from libp2p.abc import IMuxedConn, INetConn

log = logging.getLogger(__name__)

# Before what should never end is begun again.
RESTART_S = 1.0

Task = Callable[..., Awaitable[Any]]


def guard_tasks(manager: Any) -> None:
    """Has each task that a running service begins from now on end alone. `manager` is the service's."""
    run_task = manager.run_task

    def guarded(task: Task, *args: Any, name: str | None = None, **kwargs: Any) -> None:
        run_task(partial(alone, task), *args, name=name or getattr(task, "__name__", None), **kwargs)

    manager.run_task = guarded


async def alone(task: Task, *args: Any) -> bool:
    """Runs a task; whether it came to its end. One of a connection that fails takes the connection along."""
    try:
        await task(*args)
        return True
    except Exception as exc:
        log.exception("%s of libp2p failed: %r", getattr(task, "__name__", task), exc)
    owner = getattr(task, "__self__", None)
    if isinstance(owner, IMuxedConn | INetConn):
        await alone(owner.close)
    return False


async def again_and_again(task: Task) -> None:
    """Runs a task that should go on for as long as its service, again whenever it fails."""
    while not await alone(task):  # noqa: ASYNC110
        await trio.sleep(RESTART_S)
