"""File descriptors: as many as the system gives, and what is let go before they run out.

A connection costs a descriptor, and whoever reaches a port can open connections. So near the limit
no more are let in, and those that nobody needs are closed; what the node needs for its own files
is never taken by a stranger.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
from collections.abc import Awaitable, Callable
from math import inf

import trio

log = logging.getLogger(__name__)

# Some 300 peers, the API, and a handful for each job; beyond that a leak is nearer than a use.
OPEN_FILES_MAX = 16_384
# The rest is for the journal, blocks, engines and the jobs' own files.
TIGHT_PERCENT = 80
# Anything in this process takes descriptors, libraries too, and nothing tells; a look is one of a directory.
LOOK_INTERVAL_S = 1.0
# On Linux and macOS.
_DIRECTORY = "/dev/fd"

# Closes some connections.
Shed = Callable[[], Awaitable[None]]


def raise_limit() -> None:
    """Raises this process's soft limit to the hard one. Workers of jobs set their own, lower one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def limit() -> float:
    """The descriptors that this process may have."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return inf if soft == resource.RLIM_INFINITY else soft


def in_use() -> int:
    """The descriptors that this process has; raises `OSError` where there is none left for a look."""
    return len(os.listdir(_DIRECTORY))


def are_tight() -> bool:
    """Whether over `TIGHT_PERCENT` of the descriptors that this process may have are in use."""
    try:
        return in_use() * 100 > limit() * TIGHT_PERCENT
    except OSError as exc:
        return exc.errno in (errno.EMFILE, errno.ENFILE)


async def watch(*sheds: Shed) -> None:
    """Has the `sheds` close connections, in their order, while descriptors are tight; until cancelled."""
    told = False
    while True:
        if (tight := are_tight()) and not told:
            log.warning(
                "over %d %% of %d file descriptors are in use: connections nobody needs are closed;"
                " more can be had by a higher `ulimit -n`",
                TIGHT_PERCENT,
                limit(),
            )
        told = tight
        for shed in sheds:
            if tight:
                await shed()
                tight = are_tight()
        await trio.sleep(LOOK_INTERVAL_S)
