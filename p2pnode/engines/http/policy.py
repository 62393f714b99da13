"""What a container with Network Type HTTP may reach: decisions only, no input or output.

A name must be among the job's domains, and what it resolves to must be a public address, or a
name of the job's own would be a way into the operator's network. In a tunnel the name in the
TLS greeting must be the one that the tunnel was asked for, or an allowed host that serves many
names would be a way to all of them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from p2pnode.core.values import domains
from p2pnode.core.values.internet import AllowedHost, is_allowed, is_public
from p2pnode.core.wire.codec import BadMessage

HTTP_PORT, HTTPS_PORT = 80, 443
# The largest TLS greetings, with post-quantum keys, take some 2 kB.
GREETING_SIZE_BYTES_MAX = 16_384
_HANDSHAKE_RECORD, _CLIENT_HELLO, _SERVER_NAME = 22, 1, 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The domains of one job, and the hosts outside the internet that the operator lets jobs reach."""

    domains: tuple[str, ...]
    hosts: tuple[AllowedHost, ...] = ()

    def refusal(self, host: str, port: int, tunnel: bool) -> str:
        """Why a program may not ask for that host and port, or ""."""
        expected = HTTPS_PORT if tunnel else HTTP_PORT
        if port != expected:
            return f"port {port} is not allowed, only {expected}"
        if not self.names(host):
            return f"{host} is not among the job's domains"
        return ""

    def names(self, host: str) -> bool:
        """Whether a host is one of the job's domains."""
        return domains.allows(self.domains, host)

    def reachable(self, host: str, port: int, address: str) -> bool:
        """Whether an address that an allowed name resolved to may be connected to."""
        return is_public(address) or is_allowed(self.hosts, host, port)


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def parse_authority_untrusted(text: str, port: int) -> tuple[str, int]:
    """(host, port) of `host`, `host:port` or `[v6]:port`; raises `BadMessage`."""
    try:
        parts = urlsplit("//" + text)
        host, found = parts.hostname, parts.port
    except ValueError as error:
        raise BadMessage(f"not a host and port: {text[:100]}") from error
    if not host or parts.path or parts.query or parts.fragment or "@" in text:
        raise BadMessage(f"not a host and port: {text[:100]}")
    return host, port if found is None else found


def server_name_untrusted(data: bytes) -> str | None:
    """The name in a TLS greeting ("" if it has none); None while the greeting is incomplete.

    RFC 8446 section 4.1.2 (ClientHello) in the records of section 5.1; RFC 6066 section 3
    (server_name). Raises `BadMessage` for anything else.
    """
    hello = _client_hello(data)
    if hello is None:
        return None
    try:
        reader = _Reader(hello)
        reader.take(2 + 32)
        reader.take(reader.number(1))
        reader.take(reader.number(2))
        reader.take(reader.number(1))
        extensions = _Reader(reader.take(reader.number(2)))
        while not extensions.done():
            kind = extensions.number(2)
            content = _Reader(extensions.take(extensions.number(2)))
            if kind == _SERVER_NAME:
                content.take(2 + 1)
                return content.take(content.number(2)).decode("ascii").lower()
    except (IndexError, UnicodeDecodeError) as error:
        raise BadMessage("not a TLS greeting") from error
    return ""


def same_name(asked: str, greeted: str) -> bool:
    """Whether a TLS greeting is for the host that was asked for. An address has no name to greet."""
    return greeted == asked.lower().rstrip(".") or (not greeted and is_address(asked))


class _Reader:
    """Length-prefixed fields, one after the other; raises IndexError past the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        if self._at + size > len(self._data):
            raise IndexError
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def done(self) -> bool:
        return self._at >= len(self._data)


def _client_hello(data: bytes) -> bytes | None:
    """The body of the greeting, put together from its records; None while incomplete."""
    if len(data) > GREETING_SIZE_BYTES_MAX:
        raise BadMessage(f"a TLS greeting of more than {GREETING_SIZE_BYTES_MAX} bytes")
    handshake = b""
    while data:
        if data[0] != _HANDSHAKE_RECORD:
            raise BadMessage("not a TLS greeting")
        size = int.from_bytes(data[3:5], "big")
        handshake += data[5 : 5 + size]
        if handshake[:1] not in (b"", bytes([_CLIENT_HELLO])):
            raise BadMessage("not a TLS greeting")
        complete = 4 + int.from_bytes(handshake[1:4], "big")
        if len(handshake) >= 4 and len(handshake) >= complete:
            return handshake[4:complete]
        if len(data) < 5 + size:
            return None
        data = data[5 + size :]
    return None


def resolved(infos: Sequence[tuple[object, object, object, object, tuple[object, ...]]]) -> list[str]:
    """The addresses in getaddrinfo's answer, each once, in its order."""
    return list(dict.fromkeys(str(info[4][0]) for info in infos))
