"""Tells the DHT what is in this node's store: when it is stored, and again before that is forgotten.

Nothing is kept of it on the disk: what is pinned is said anew after a restart.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from math import inf

import trio

from p2pnode.core.values.finding import ProvideMode
from p2pnode.ipfs import cid as cids
from p2pnode.ipfs.pins import Pins
from p2pnode.ipfs.result_store import PRIVATE_PREFIX, RESULT

log = logging.getLogger(__name__)

# Records last 48 h in the DHT; as the specification has it.
REPROVIDE_S = 22 * 3600.0
# A root that was pinned or unpinned by others is noticed within that time.
LOOK_S = 30.0
# Where nobody took it: the DHT is not reached, or this node has no address that it may tell.
RETRY_S = 30.0
# The newest: at 1 to 5 s each, four at a time, all of them are said within four hours.
ROOTS_MAX = 10_000
AT_ONCE = 4

# Takes a multihash; gives how many peers took the record.
Provide = Callable[[bytes], Awaitable[int]]


class Providing:
    """`is_private`: the node is in a private network, where results of such are no secret."""

    def __init__(self, mode: ProvideMode, pins: Pins, provide: Provide, *, is_private: bool) -> None:
        self._mode = mode
        self._pins = pins
        self._provide = provide
        self._is_private = is_private
        # Roots that are to be said, each with when it is due; those that others find now.
        self._due_at: dict[str, float] = {}
        self._said: set[str] = set()
        # Roots that are not to be said, so that their pins are read once.
        self._passed_over: set[str] = set()
        self._is_over = False
        self._wake = trio.Event()

    @property
    def figures(self) -> tuple[int, int]:
        """How many roots others find, and how many are to be said and were not yet."""
        return len(self._said), len(self._due_at) - len(self._said)

    def stored(self) -> None:
        """Something was pinned. Called in a thread of trio's, or in a test in none."""
        try:
            trio.from_thread.run_sync(self._note)
        except RuntimeError:
            self._note()

    def _note(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Works until cancelled."""
        while self._mode is not ProvideMode.OFF:
            self._wake = trio.Event()
            try:
                await self._look()
            except OSError as exc:
                log.warning("the pins are not read, so nothing more is provided: %s", exc)
            await self._say_due()
            now = trio.current_time()
            wake_at = min([now + LOOK_S, *(max(at, now) for at in self._due_at.values())])
            with trio.move_on_at(wake_at):
                await self._wake.wait()

    async def _look(self) -> None:
        """Take in the roots that are pinned now."""
        roots = await trio.to_thread.run_sync(self._pins.newest, ROOTS_MAX)
        if len(roots) == ROOTS_MAX and not self._is_over:
            self._is_over = True
            log.warning("more than %d roots are pinned: the oldest are not provided", ROOTS_MAX)
        there = set(roots)
        self._passed_over &= there
        for root in self._due_at.keys() - there:
            del self._due_at[root]
            self._said.discard(root)
        new = [root for root in roots if root not in self._due_at and root not in self._passed_over]
        if new:
            wanted = await trio.to_thread.run_sync(self._wanted, new)
            self._passed_over.update(root for root in new if root not in wanted)
            self._due_at.update((root, -inf) for root in new if root in wanted)

    def _wanted(self, roots: Collection[str]) -> set[str]:
        """Gives those of these roots that are to be said. Blocking."""
        found = {root: pin.what for root in roots if (pin := self._pins.of(root)) is not None}
        return {root for root, what in found.items() if self._is_wanted(what)}

    def _is_wanted(self, what: str) -> bool:
        if what.startswith(PRIVATE_PREFIX):
            if not self._is_private:
                return False
            what = what.removeprefix(PRIVATE_PREFIX)
        return self._mode is ProvideMode.ALL or what == RESULT

    async def _say_due(self) -> None:
        now = trio.current_time()
        due = iter([root for root, at in self._due_at.items() if at <= now])

        async def say() -> None:
            for root in due:
                told = await self._provide(cids.parse(root).multihash)
                if root not in self._due_at:
                    continue
                if told:
                    self._said.add(root)
                    self._due_at[root] = trio.current_time() + REPROVIDE_S
                    continue
                log.debug("nobody in the DHT took the record of %s", root)
                # Others would fare no better now.
                retry_at = trio.current_time() + RETRY_S
                for one in [root, *due]:
                    self._said.discard(one)
                    self._due_at[one] = retry_at

        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(say)
