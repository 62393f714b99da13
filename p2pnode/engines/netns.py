"""A listening socket of ours inside a container's network namespace, and the container that holds one.

A socket stays in the namespace in which it was made, whichever thread uses it later. So a
container without any network can be given exactly one way out: a port on its own loopback
that is answered by this process. No bridge, no packet filter, no name server, nothing to
clean up but the containers.
"""

from __future__ import annotations

import ctypes
import io
import os
import platform
import socket
import struct
import sys
import tarfile
import threading

import trio

_CLONE_NEWNET = 0x4000_0000
_BACKLOG = 64
# Machine code that waits for signals for ever: pause(2) on x86-64; ppoll(2) of nothing on arm64.
_WAIT_FOREVER = {
    "x86_64": (62, bytes.fromhex("b822000000 0f05 ebf7")),
    "aarch64": (183, bytes.fromhex("000080d2 280980d2 010000d4 fdffff17")),
}
_ELF_BASE = 0x40_0000
_ELF_HEADERS_SIZE_BYTES = 64 + 56


def possible() -> bool:
    """Whether this process may enter a container's network namespace."""
    return sys.platform == "linux" and os.geteuid() == 0 and platform.machine() in _WAIT_FOREVER


def listen_in(pid: int, port: int) -> socket.socket:
    """A socket that listens on 127.0.0.1:`port` in the network namespace of a process; raises OSError.

    Blocking. Entering a namespace changes the calling thread for good, so that is a new one
    which ends with this call.
    """
    made: list[socket.socket] = []
    errors: list[OSError] = []

    def make() -> None:
        try:
            _enter(pid)
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen(_BACKLOG)
            listener.setblocking(False)
            made.append(listener)
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=make, name="netns")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return made[0]


def trio_listener(listener: socket.socket) -> trio.SocketListener:
    return trio.SocketListener(trio.socket.from_stdlib_socket(listener))


def pause_image() -> bytes:
    """A root file system, as a tar, with one program /pause that does nothing until it is killed.

    It keeps a network namespace open before the job's own container is there. Made here because
    no image of a registry can be relied on to be present.
    """
    machine, code = _WAIT_FOREVER[platform.machine()]
    size = _ELF_HEADERS_SIZE_BYTES + len(code)
    entry = _ELF_BASE + _ELF_HEADERS_SIZE_BYTES
    identification = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    # One loadable, executable segment that is the whole file (System V ABI, chapters 4 and 5).
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", identification, 2, machine, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _ELF_BASE, _ELF_BASE, size, size, 0x1000)
    program = header + segment + code
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("pause")
        member.size, member.mode = len(program), 0o755
        tar.addfile(member, io.BytesIO(program))
    return archive.getvalue()


def _enter(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(namespace, _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, f"cannot enter the container's network: {os.strerror(number)}")
    finally:
        os.close(namespace)
