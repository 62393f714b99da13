"""Decisions on what a container with Network Type HTTP may reach: no input or output.

A name must be among the job's domains, and what it resolves to must be a public address, or a
name of the job's own would be a way into the operator's network. In a tunnel the name in the
TLS greeting must be the one that the tunnel was asked for, or an allowed host that serves many
names would be a way to all of them.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from p2pnode.core.values import domains
from p2pnode.core.values.internet import AllowedHost
from p2pnode.core.wire.codec import BadMessage

HTTP_PORT, HTTPS_PORT = 80, 443


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


def same_name(asked: str, greeted: str) -> bool:
    """Whether a TLS greeting is for the host that was asked for. An address has no name to greet."""
    return greeted == asked.lower().rstrip(".") or (not greeted and is_address(asked))
