"""Ranges of addresses: who has one address mostly has its neighbours, too, and ids cost nothing.

An IPv4 range is a /24 within a /16, an IPv6 range a /64 within a /48: what one customer has, and what a
provider gives many. On a private network, and on this machine, many nodes rightly share an address.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache

LOOPBACK = "loopback"
PRIVATE = "private"
# A peer that tells no address, and so cannot be dialled.
UNKNOWN = "unknown"
_NEAR_BITS = {4: 24, 6: 64}
_WIDE_BITS = {4: 16, 6: 48}


@dataclass(frozen=True, slots=True)
class Ranges:
    """The ranges of one host, the narrowest first; both are a scope's name unless `is_public`."""

    host: str
    near: str
    wide: str

    @property
    def is_public(self) -> bool:
        return self.wide not in (LOOPBACK, PRIVATE, UNKNOWN)


NOWHERE = Ranges("", UNKNOWN, UNKNOWN)


@lru_cache(maxsize=4096)
def ranges_of(host: str) -> Ranges:
    """The ranges of an IP address; a DNS name is a range by itself."""
    if not host:
        return NOWHERE
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return Ranges(host, LOOPBACK, LOOPBACK) if host == "localhost" else Ranges(host, host, host)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.is_loopback or ip.is_unspecified:
        return Ranges(str(ip), LOOPBACK, LOOPBACK)
    if not ip.is_global:
        return Ranges(str(ip), PRIVATE, PRIVATE)
    return Ranges(str(ip), _network(ip, _NEAR_BITS), _network(ip, _WIDE_BITS))


def _network(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, bits: dict[int, int]) -> str:
    return str(ipaddress.ip_network((ip, bits[ip.version]), strict=False))
