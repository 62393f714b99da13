"""The program that holds a network namespace, and hands its listening sockets to this node.

A socket stays in the namespace in which it was made, whichever process uses it later. So a
container without any network is given its ways out by a tiny program in the same namespace,
which makes the sockets and passes them over a unix socket to whoever connects to that: this
node, and again this node after a restart. It needs no bridge, no packet filter, no name server,
no root, and leaves nothing to clean up but the containers.

The program is `pause.c`, which is here as made for each machine (`scripts/pause`), because no image of
a registry can be relied on to be present.
"""

from __future__ import annotations

import hashlib
import io
import platform
import sys
import tarfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from p2pnode.engines.http.policy import HTTP_PORT, HTTPS_PORT

# All on loopback: the proxy (its customary port) and, for programs that know nothing of a proxy, what
# they would talk to instead.
PROXY_PORT, NAMES_PORT = 3128, 53
# In the order in which the sockets are passed; the last is UDP, the others are TCP.
PORTS = (PROXY_PORT, HTTP_PORT, HTTPS_PORT, NAMES_PORT)
# A directory of the node's is mounted here, and the program listens in it (`pause.c` has this, too).
DIRECTORY = "/gate"
SOCKET_NAME = "socket"


def possible() -> bool:
    """Whether there is such a program for this machine."""
    with suppress(OSError):
        return sys.platform == "linux" and bool(program(platform.machine()))
    return False


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


@cache
def program(machine: str) -> bytes:
    """The executable file. Blocking, the first time."""
    return _file(machine).read_bytes()


def _file(machine: str) -> Path:
    return Path(__file__).with_name(f"pause-{machine}")
