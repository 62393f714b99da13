"""The program that holds a network namespace, and hands its listening sockets to this node.

A socket stays in the namespace in which it was made, whichever process uses it later. So a
container without any network is given its ways out by a tiny program in the same namespace,
which makes the sockets and passes them over a unix socket to whoever connects to that: this
node, and again this node after a restart. It needs no bridge, no packet filter, no name server,
no root, and leaves nothing to clean up but the containers.

The program is made here, because no image of a registry can be relied on to be present, and
it is no more than system calls in a row, so each is written down as its number and arguments.
Every result is compared with the one expected: numbers of files are given out in order.
"""

from __future__ import annotations

import hashlib
import io
import platform
import socket
import struct
import sys
import tarfile
from dataclasses import dataclass

from p2pnode.engines.http.policy import HTTP_PORT, HTTPS_PORT

# All on loopback: the proxy (its customary port) and, for programs that know nothing of a proxy, what
# they would talk to instead.
PROXY_PORT, NAMES_PORT = 3128, 53
# In the order in which the sockets are passed; the last is UDP, the others are TCP.
PORTS = (PROXY_PORT, HTTP_PORT, HTTPS_PORT, NAMES_PORT)
# A directory of the node's is mounted here, and the program listens in it.
DIRECTORY = "/gate"
SOCKET_NAME = "socket"

_BACKLOG = 64
_FIRST_FILE = 3
_ELF_BASE = 0x40_0000
_ELF_HEADERS_SIZE_BYTES = 64 + 56
_MSG_NOSIGNAL = 0x4000

_Call = tuple[int, tuple[int, ...], int | None]


@dataclass(frozen=True, slots=True)
class _Machine:
    """ELF's number of an architecture, and its numbers of the system calls used (Linux, asm/unistd.h)."""

    elf: int
    umask: int
    socket: int
    bind: int
    listen: int
    accept: int
    sendmsg: int
    close: int
    exit: int


_MACHINES = {
    "x86_64": _Machine(62, umask=95, socket=41, bind=49, listen=50, accept=43, sendmsg=46, close=3, exit=60),
    "aarch64": _Machine(
        183, umask=166, socket=198, bind=200, listen=201, accept=202, sendmsg=211, close=57, exit=93
    ),
}


def possible() -> bool:
    """Whether there is such a program for this machine."""
    return sys.platform == "linux" and platform.machine() in _MACHINES


def image_tar(machine: str = platform.machine()) -> bytes:
    """A root file system, as a tar, with the program as /pause and nothing else."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("pause")
        content = program(machine)
        member.size, member.mode = len(content), 0o755
        tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def image_tag(machine: str = platform.machine()) -> str:
    """Another program is another image: an engine may still have that of an older node."""
    return hashlib.sha256(program(machine)).hexdigest()[:12]


def program(machine: str) -> bytes:
    """The executable file: headers, data, code, in one segment."""
    kind = _MACHINES[machine]
    data = _data()
    code = _code(kind, machine)
    size = _ELF_HEADERS_SIZE_BYTES + len(data) + len(code)
    entry = _ELF_BASE + _ELF_HEADERS_SIZE_BYTES + len(data)
    identification = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    # One loadable segment that is the whole file (System V ABI, chapters 4 and 5).
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", identification, 2, kind.elf, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _ELF_BASE, _ELF_BASE, size, size, 0x1_0000)
    return header + segment + data + code


_ADDRESS_SIZE_BYTES = 16
_PATH_SIZE_BYTES = 2 + 108
_CONTROL_SIZE_BYTES = 16 + 4 * len(PORTS)


def _places() -> tuple[int, int, int, int, int]:
    """Where in memory the parts of `_data` are: addresses, path, message, buffer, control."""
    addresses = _ELF_BASE + _ELF_HEADERS_SIZE_BYTES
    path = addresses + _ADDRESS_SIZE_BYTES * len(PORTS)
    message = path + 112
    buffer = message + 56
    return addresses, path, message, buffer, buffer + 16


def _data() -> bytes:
    """The structures that the calls point to: sockaddr_in, sockaddr_un, msghdr, iovec, cmsghdr."""
    _, path_at, _, buffer_at, control_at = _places()
    loopback = socket.inet_aton("127.0.0.1")
    addresses = b"".join(
        struct.pack("<H", socket.AF_INET) + struct.pack(">H4s8x", port, loopback) for port in PORTS
    )
    path = struct.pack("<H108s2x", socket.AF_UNIX, f"{DIRECTORY}/{SOCKET_NAME}".encode())
    message = struct.pack("<QQQQQQQ", 0, 0, buffer_at, 1, control_at, _CONTROL_SIZE_BYTES, 0)
    # One byte has to be sent along with the files; any will do.
    buffer = struct.pack("<QQ", path_at, 1)
    files = range(_FIRST_FILE, _FIRST_FILE + len(PORTS))
    # SCM_RIGHTS is 1.
    control = struct.pack(f"<Qii{len(PORTS)}i", _CONTROL_SIZE_BYTES, socket.SOL_SOCKET, 1, *files)
    data = addresses + path + message + buffer + control
    return data + bytes(-len(data) % 16)


def _code(kind: _Machine, machine: str) -> bytes:
    addresses_at, path_at, message_at, _, _ = _places()
    door = _FIRST_FILE + len(PORTS)
    visitor = door + 1
    # (number, arguments, the result without which there is no going on)
    begin: list[_Call] = [(kind.umask, (0,), None)]
    for index, port in enumerate(PORTS):
        file = _FIRST_FILE + index
        begin.append((kind.socket, (socket.AF_INET, 2 if port == NAMES_PORT else 1, 0), file))
        begin.append((kind.bind, (file, addresses_at + index * _ADDRESS_SIZE_BYTES, _ADDRESS_SIZE_BYTES), 0))
        if port != NAMES_PORT:
            begin.append((kind.listen, (file, _BACKLOG), 0))
    begin.append((kind.socket, (socket.AF_UNIX, 1, 0), door))
    begin.append((kind.bind, (door, path_at, _PATH_SIZE_BYTES), 0))
    begin.append((kind.listen, (door, _BACKLOG), 0))
    # A visitor that leaves too early is no reason to end.
    loop: list[_Call] = [
        (kind.accept, (door, 0, 0), visitor),
        (kind.sendmsg, (visitor, message_at, _MSG_NOSIGNAL), None),
        (kind.close, (visitor,), None),
    ]
    calls = [_call(machine, *one) for one in (*begin, *loop)]
    jump_size = len(_jump(machine, 0))
    sizes = [len(code) + checked * jump_size for code, checked in calls]
    loop_at, end_at = sum(sizes[: len(begin)]), sum(sizes) + jump_size
    code = b""
    for one, checked in calls:
        code += one
        if checked:
            code += _jump(machine, end_at - len(code))
    code += _jump(machine, loop_at - len(code))
    return code + _call(machine, kind.exit, (1,), None)[0]


def _call(machine: str, number: int, arguments: tuple[int, ...], expected: int | None) -> tuple[bytes, bool]:
    """A system call, and whether a jump has to follow, which is passed over if the result is as expected."""
    checked = expected is not None
    if machine == "x86_64":
        # mov edi/esi/edx, argument; mov eax, number; syscall; cmp eax, expected; je over the jump
        registers = (0xBF, 0xBE, 0xBA)
        code = b"".join(
            struct.pack("<BI", one, value) for one, value in zip(registers, arguments, strict=False)
        )
        code += struct.pack("<BI", 0xB8, number) + b"\x0f\x05"
        return code + (struct.pack("<BI", 0x3D, expected) + b"\x74\x05" if checked else b""), checked
    words = []
    for register, value in [*enumerate(arguments), (8, number)]:
        # movz, and movk of the upper half
        words.append(0xD280_0000 | (value & 0xFFFF) << 5 | register)
        if value >> 16:
            words.append(0xF2A0_0000 | (value >> 16) << 5 | register)
    # svc #0
    words.append(0xD400_0001)
    if expected is not None:
        # cmp x0, #expected; b.eq over the jump
        words += [0xF100_001F | expected << 10, 0x5400_0040]
    return struct.pack(f"<{len(words)}I", *words), checked


def _jump(machine: str, distance: int) -> bytes:
    """An unconditional jump, `distance` bytes from its own beginning."""
    if machine == "x86_64":
        return struct.pack("<Bi", 0xE9, distance - 5)
    return struct.pack("<I", 0x1400_0000 | (distance // 4) & 0x3FF_FFFF)
