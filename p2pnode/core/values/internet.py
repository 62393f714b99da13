"""Which addresses are of the internet, and which hosts an operator lets jobs reach besides."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from .domains import allows, parse_domain

PORT_MAX = 65_535
# Addresses that carry an IPv4 address inside, which a gateway on the way would reach instead.
_EMBEDDING = tuple(map(IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16", "::/96")))
# See https://www.iana.org/assignments/iana-ipv4-special-registry; versions of Python differ here.
NOT_PUBLIC_IPV4 = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
_NOT_PUBLIC_IPV4 = tuple(map(IPv4Network, NOT_PUBLIC_IPV4))


@dataclass(frozen=True, slots=True)
class AllowedHost:
    """A host as `core.values.domains` has it, with one port or, for None, all of them."""

    domain: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> AllowedHost:
        """Parse a host or `host:port`; raises `ValueError`."""
        try:
            return cls(parse_domain(text), None)
        except ValueError:
            host, _, port = text.strip().rpartition(":")
            if not port.isascii() or not port.isdecimal() or not 0 < int(port[:6]) <= PORT_MAX:
                raise
            return cls(parse_domain(host), int(port))


def is_allowed(hosts: Iterable[AllowedHost], host: str, port: int) -> bool:
    """Whether one of them is this host, with this port or with all."""
    return allows([one.domain for one in hosts if one.port in (None, port)], host)


def reachable(addresses: Iterable[str], hosts: Iterable[AllowedHost], host: str, port: int) -> list[str]:
    """The addresses of a host that a job may be connected to: all of an allowed host, else the public."""
    found = list(dict.fromkeys(addresses))
    return found if is_allowed(hosts, host, port) else [one for one in found if is_public(one)]


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet: not this host's, a local network's or a special one."""
    plain = _plain(address)
    if isinstance(plain, IPv6Address) and any(plain in network for network in _EMBEDDING):
        return False
    if isinstance(plain, IPv4Address) and any(plain in network for network in _NOT_PUBLIC_IPV4):
        return False
    return plain.is_global and not plain.is_multicast


def _plain(address: str) -> IPv4Address | IPv6Address:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed
