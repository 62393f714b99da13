"""The sockets of ours that listen inside a container's network namespace; see `pause` for who makes them."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from . import pause

# The program is ready a few milliseconds after its container has been started.
READY_S_MAX = 10.0
# Its socket lies in the engine's file system, which an inotify does not always reach.
LOOK_INTERVAL_S = 0.002


class NoSockets(Exception):
    """The program in the namespace gave nothing; the message says why."""


async def sockets_of(directory: Path) -> list[socket.socket]:
    """One socket for each of `pause.PORTS`, from the program that listens in this directory.

    Raises `NoSockets`.
    """
    with trio.move_on_after(READY_S_MAX):
        while True:
            try:
                return _receive(directory)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ECONNREFUSED):
                    raise NoSockets(f"cannot listen in the container's network: {error.strerror}") from error
            await trio.sleep(LOOK_INTERVAL_S)
    raise NoSockets(f"nothing listened in the container's network within {READY_S_MAX:g} s")


def _receive(directory: Path) -> list[socket.socket]:
    with _short(directory) as short, socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(READY_S_MAX)
        connection.connect(f"{short}/{pause.SOCKET_NAME}")
        _, files, _, _ = socket.recv_fds(connection, 1, len(pause.PORTS))
    sockets = [socket.socket(fileno=file) for file in files]
    for one in sockets:
        one.setblocking(False)
    if len(sockets) == len(pause.PORTS):
        return sockets
    for one in sockets:
        one.close()
    raise OSError(errno.EPROTO, "the sockets did not come")


@contextmanager
def _short(directory: Path) -> Iterator[str]:
    """A short name of a directory: the path of a unix socket has at most 107 bytes."""
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{opened}"
    finally:
        os.close(opened)
