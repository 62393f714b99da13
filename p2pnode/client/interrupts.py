"""The end of a blocking call by another thread: its socket is shut, so that whatever waits there returns."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TypeVar

from .errors import Interrupted

T = TypeVar("T")


class Interrupt:
    """Ends what runs `within` it, from any thread and for good: what is asked later is refused at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._is_set = False

    @property
    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        with self._lock:
            self._is_set = True
            for one in self._sockets:
                with suppress(OSError):
                    # Also below TLS, whose own state is another thread's.
                    socket.socket.shutdown(one, socket.SHUT_RDWR)

    def check(self) -> None:
        if self._is_set:
            raise Interrupted("the call was given up")

    @contextmanager
    def watching(self, one: socket.socket) -> Iterator[None]:
        """Shut a socket when it is set; the socket may be closed only after this block."""
        with self._lock:
            self.check()
            self._sockets.append(one)
        try:
            yield
        finally:
            with self._lock:
                self._sockets.remove(one)

    def within(self, work: Callable[[], T]) -> T:
        """Do the work so that `current_interrupt` is this one."""
        token = _CURRENT.set(self)
        try:
            return work()
        finally:
            _CURRENT.reset(token)


_CURRENT: ContextVar[Interrupt | None] = ContextVar("interrupt", default=None)


def current_interrupt() -> Interrupt:
    """The interrupt of the work that goes on; one that nobody sets, where nobody has given any."""
    return _CURRENT.get() or Interrupt()


def check_interrupt() -> None:
    """Raise `Interrupted` if the work that goes on was given up."""
    current_interrupt().check()
