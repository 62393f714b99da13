"""Keeps what fails in the shell to the one thing that it belongs to: a link, an execution, a task.

What is raised under a guard is noted with what it was about, and whoever waits for the thing is told
by the guard's owner. Cancellation passes. A journal that cannot be written ends the node, by the one
that writes it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import trio

from p2pnode.core.wire.compartments import Compartment
from p2pnode.core.wire.reasons import reason_of
from p2pnode.faults.problems import JournalError
from p2pnode.system.log_lines import concerning, ids_of

log = logging.getLogger(__name__)

# A task that fails is begun again: at once it might fail for the same passing reason.
RESTART_S_MIN = 1.0
RESTART_S_MAX = 60.0
# One that has run for so long was well.
STEADY_S = 120.0

# Called as note(compartment, subject, error).
Note = Callable[[Compartment, str, Exception], None]


class Guards:
    """The guards of one node."""

    def __init__(self, note: Note, end_node: Callable[[Exception], None]) -> None:
        """`note` keeps what failed for people; `end_node` is told of each `JournalError`."""
        self._note = note
        self._end_node = end_node

    @contextmanager
    def guard(
        self, kind: Compartment, subject: str, failed: Callable[[Exception], None] = lambda error: None
    ) -> Iterator[None]:
        """Stop every error raised in the block, but for cancellation, and tell `failed` of it."""
        try:
            with concerning(**ids_of(kind, subject)):
                yield
        # The one blind except of the shell.
        except BaseException as exc:  # noqa: BLE001
            ours, others = _split(exc)
            if ours is not None:
                with concerning(**ids_of(kind, subject)):
                    self._take(kind, subject, ours)
                    failed(ours)
            if others is not None:
                raise others from None

    def ends_node(self, error: Exception) -> bool:
        """Is it, or does it hold, what ends the node?"""
        if isinstance(error, ExceptionGroup):
            return error.subgroup(JournalError) is not None
        return isinstance(error, JournalError)

    def _take(self, kind: Compartment, subject: str, error: Exception) -> None:
        if self.ends_node(error):
            log.warning("%s %s failed: %s", kind, subject, reason_of(error))
            self._end_node(error)
            return
        # A lack of the machine is no fault of the program, and its place in it tells nothing.
        trace = None if isinstance(error, OSError) else error
        log.error("%s %s failed: %s", kind, subject, reason_of(error), exc_info=trace)
        self._note(kind, subject, error)

    def start_soon(
        self,
        nursery: trio.Nursery,
        kind: Compartment,
        subject: str,
        task: Callable[[], Awaitable[object]],
    ) -> None:
        """Begins a task in the nursery that ends alone."""

        async def run() -> None:
            with concerning(anew=True), self.guard(kind, subject):
                await task()

        nursery.start_soon(run)

    async def keep_running(self, name: str, task: Callable[[], Awaitable[object]]) -> None:
        """Runs a task that should never end, again each time that it fails, until cancelled."""
        wait_s = RESTART_S_MIN
        while True:
            begun = trio.current_time()
            with self.guard(Compartment.TASK, name):
                await task()
                return
            if trio.current_time() - begun >= STEADY_S:
                wait_s = RESTART_S_MIN
            await trio.sleep(wait_s)
            wait_s = min(RESTART_S_MAX, 2 * wait_s)


def _split(error: BaseException) -> tuple[Exception | None, BaseException | None]:
    """The errors in it, and what is none: cancellation, the end of the process."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(Exception)
    return (error, None) if isinstance(error, Exception) else (None, error)
