"""Waiting for several things at once: keys, an answer, a signal; each wakes the one who waits."""

from __future__ import annotations

import select
import signal
import socket
from collections.abc import Iterable
from contextlib import suppress
from types import FrameType, TracebackType

# A resize needs nothing but to be woken.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WATCHED = (*_ENDING, signal.SIGWINCH)
_WOKEN_SIZE_BYTES_MAX = 4096


class Waker:
    """Takes signals for as long as its block lasts, so that none of them ends something half done."""

    def __init__(self) -> None:
        # The signal that asks for the end, 0 for none.
        self.ending = 0

    def __enter__(self) -> Waker:
        self._ours, self._its = socket.socketpair()
        for one in (self._ours, self._its):
            one.setblocking(False)
        self._fd = signal.set_wakeup_fd(self._its.fileno(), warn_on_full_buffer=False)
        self._handlers = {number: signal.signal(number, self._note) for number in _WATCHED}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._fd)
        self._ours.close()
        self._its.close()

    def wake(self) -> None:
        """From any thread; without effect after the end."""
        with suppress(OSError):
            self._its.send(b"\0")

    def wait(self, others: Iterable[int], timeout_s: float) -> list[int]:
        """Wait until one of these can be read, it is woken, or the time is over; gives those to read."""
        readable, _, _ = select.select([self._ours.fileno(), *others], [], [], timeout_s)
        with suppress(BlockingIOError):
            self._ours.recv(_WOKEN_SIZE_BYTES_MAX)
        return [fd for fd in readable if fd != self._ours.fileno()]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number in _ENDING:
            self.ending = number
