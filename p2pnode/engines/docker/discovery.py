"""Which Docker engine a node uses: found as the `docker` command finds it, and then Podman's.

By the node's setting, DOCKER_HOST, DOCKER_CONTEXT, the current context of Docker's configuration; else
the first socket that is there and that this user may use.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, field

DEFAULT = "unix:///var/run/docker.sock"
# Docker's configuration holds logins, too; a context's file a few hundred bytes.
FILE_SIZE_BYTES_MAX = 1024**2
# Linux' own limit for the path of a socket.
PATH_LENGTH_MAX = 107

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DockerHost:
    """An engine's address as DOCKER_HOST has it, and who says so."""

    address: str
    why: str
    # Why it cannot be used whatever it answers; "" it can.
    problem: str = ""

    @property
    def socket_path(self) -> str:
        """As the engine's parts are given it."""
        return self.address.removeprefix("unix://")


class _Config(Struct, rename="camel"):
    current_context: str = ""


class _Endpoint(Struct, rename="pascal"):
    host: str = ""


class _Context(Struct, rename="pascal"):
    name: str = ""
    endpoints: dict[str, _Endpoint] = field(default_factory=dict)


class _Unusable(Exception):
    """The message says what is wrong, and what to do about it."""


def find(setting: str, environ: Mapping[str, str] = os.environ, root: Path = Path("/")) -> DockerHost:
    """The engine for a node with this setting. `root` is where /run and /var are. Blocking, briefly."""
    if setting:
        return _checked(setting, "--docker-host", environ)
    if named := environ.get("DOCKER_HOST"):
        return _checked(named, "DOCKER_HOST", environ)
    directory = Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or "/nonexistent") / ".docker")
    try:
        context, why = environ.get("DOCKER_CONTEXT", ""), "DOCKER_CONTEXT"
        if not context:
            path = directory / "config.json"
            why = f"currentContext of {path}"
            context = _read(path, _Config).current_context if path.exists() else ""
        if context and context != "default":
            why = f"context {context}, by {why}"
            return _checked(_host_of(directory / "contexts", context), why, environ)
    except _Unusable as error:
        return DockerHost(DEFAULT, why, f"{error} ({why})")
    for place, name in _sockets(environ):
        path = root / place.lstrip("/")
        if path.is_socket() and os.access(path, os.W_OK):
            return DockerHost(f"unix://{path}", name)
    return DockerHost(DEFAULT, "Docker's default")


def why_not(address: str) -> str | None:
    """Why no engine can be used at this address, or None."""
    scheme, separator, rest = address.partition("://")
    if scheme == "ssh":
        return "is reached over ssh, which mounts nothing of this machine: run p2pnode on that one"
    if not separator or scheme not in ("unix", "tcp"):
        return "is not an address such as unix:///var/run/docker.sock or tcp://127.0.0.1:2375"
    if scheme == "unix":
        return None if rest.startswith("/") and len(rest) <= PATH_LENGTH_MAX else "has no path of a socket"
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "has no host and port"
    if parts.path not in ("", "/") or parts.query or parts.username is not None or not host:
        return "is not of the form tcp://HOST:PORT"
    if not _is_loopback(host):
        return "is on another machine, which sees none of this one's files: run p2pnode on that one"
    return None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _checked(address: str, why: str, environ: Mapping[str, str]) -> DockerHost:
    address = address.strip()
    problem = why_not(address)
    if not problem and address.startswith("tcp:") and environ.get("DOCKER_TLS_VERIFY"):
        problem = "is to be asked with TLS (DOCKER_TLS_VERIFY), which p2pnode does not: name its unix socket"
    if problem:
        return DockerHost(address, why, f"the Docker engine at {address[:200]} ({why}) {problem}")
    return DockerHost(address, why)


def _sockets(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Where engines listen, the first to be preferred: this user's own before the machine's."""
    own = environ.get("XDG_RUNTIME_DIR", "")
    if own:
        yield f"{own}/docker.sock", "rootless Docker"
    yield "/var/run/docker.sock", "Docker's default"
    if own:
        yield f"{own}/podman/podman.sock", "Podman of this user"
    yield "/run/podman/podman.sock", "Podman"


def _host_of(contexts: Path, name: str) -> str:
    """The engine's address in a context, which Docker keeps in a directory named after its hash."""
    path = contexts / "meta" / hashlib.sha256(name.encode()).hexdigest() / "meta.json"
    if not path.exists():
        raise _Unusable(f"there is no Docker context {name!r} in {contexts}: docker context ls shows them")
    endpoint = _read(path, _Context).endpoints.get("docker")
    if endpoint is None or not endpoint.host:
        raise _Unusable(f"the Docker context {name!r} names no Docker engine")
    return endpoint.host


def _read(path: Path, kind: type[T]) -> T:
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_SIZE_BYTES_MAX + 1)
        if len(data) > FILE_SIZE_BYTES_MAX:
            raise _Unusable(f"{path} is larger than {FILE_SIZE_BYTES_MAX:,} bytes")
        return msgspec.json.decode(data, type=kind)
    except OSError as error:
        raise _Unusable(f"cannot read {path}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _Unusable(f"{path} cannot be read: {error}") from error
