"""Peers' addresses: taken apart, and told only to those who can use them.

An address is a multiaddr such as `/ip4/192.0.2.1/tcp/4001/p2p/12D3Koo...`. This node
speaks TCP, and WebSocket over it, so that is the whole grammar here:
`/(ip4|ip6|dns|dns4|dns6)/HOST/tcp/PORT[/ws|/wss|/tls[/sni/NAME]/ws][/p2p/PEER]`, and of a peer that is
reached by a relay the relay's address and `/p2p-circuit[/p2p/PEER]`. All functions are pure.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest

from .peer_ids import is_peer_id

ADDRESS_LENGTH_MAX = 256  # A DNS name of 253 characters is already rare.
PORT_MAX = 65_535
_DNS_NAME = re.compile(r"(?!-)[A-Za-z0-9_.-]{1,253}")
# One LAN has an IPv6 network of so many bits.
LAN_BITS = 64
_CIRCUIT = "p2p-circuit"
# Three ways of writing that TLS is below WebSocket; the last says for which name the certificate is to be.
_WEB = re.compile(r"(/(?P<plain>ws)|/wss|/tls/ws|/tls/sni/(?P<name>[^/]*)/ws)(?=/|\Z)")
_FAMILY_NAMES = {"ip4": "IPv4", "ip6": "IPv6"}
# The kinds of numbers for which each family stands; a name may have both.
_IP_FAMILIES = {"ip4": {"ip4"}, "ip6": {"ip6"}, "dns": {"ip4", "ip6"}, "dns4": {"ip4"}, "dns6": {"ip6"}}
FAMILIES = frozenset(_IP_FAMILIES)
_PEER = re.compile(r"[1-9A-HJ-NP-Za-km-z]{20,64}")


class BadAddress(ValueError):
    """Not an address that this node can listen on or dial; the message says what is expected."""


class WebLayer(enum.StrEnum):
    """Whether a connection is one of WebSocket."""

    NONE = ""
    PLAIN = "ws"
    TLS = "wss"


class Scope(enum.IntEnum):
    """How far away an address has a meaning."""

    LOOPBACK = 0
    PRIVATE = 1
    PUBLIC = 2


@dataclass(frozen=True, slots=True)
class Address:
    """One address; `peer` is "" where it does not say whose it is.

    `relay` is the peer that is dialled at the host in place of it, "" where it is dialled itself. `name` is
    that of the certificate of TLS where it is not the host, else "".
    """

    family: str
    host: str
    port: int
    peer: str = ""
    relay: str = ""
    web: WebLayer = WebLayer.NONE
    name: str = ""

    @property
    def dialled(self) -> str:
        """Where the connection goes to, without any peer."""
        web = f"/tls/sni/{self.name}/ws" if self.name else f"/{self.web}" if self.web else ""
        return f"/{self.family}/{self.host}/tcp/{self.port}{web}"

    @property
    def transport(self) -> str:
        """The address without the peer."""
        return f"{self.dialled}/p2p/{self.relay}/{_CIRCUIT}" if self.relay else self.dialled

    def __str__(self) -> str:
        return f"{self.transport}/p2p/{self.peer}" if self.peer else self.transport


def parse(text: str) -> Address:
    """The parts of an address; raises `BadAddress`."""
    parts = text.split("/")
    if len(text) > ADDRESS_LENGTH_MAX or len(parts) < 5 or parts[0] or parts[3] != "tcp":
        raise BadAddress(f"{text[:ADDRESS_LENGTH_MAX]!r} is not like /ip4/192.0.2.1/tcp/4001/p2p/PEER")
    _, family, host, _, port, *rest = parts
    if not (port.isascii() and port.isdigit() and int(port) <= PORT_MAX):
        raise BadAddress(f"{text!r} has no port between 0 and {PORT_MAX}")
    if not _is_host(family, host):
        raise BadAddress(f"{text!r}: {host!r} does not go with /{family}/ (ip4, ip6, dns, dns4 or dns6)")
    web, name, rest = _web(text, rest)
    relay = ""
    if _CIRCUIT in rest:
        relay = _named(text, rest[: rest.index(_CIRCUIT)])
        rest = rest[rest.index(_CIRCUIT) + 1 :]
        if not relay:
            raise BadAddress(f"{text!r} does not say before /{_CIRCUIT} which relay: /p2p/RELAY/{_CIRCUIT}")
    return Address(family, host, int(port), _named(text, rest), relay, web, name)


def _web(text: str, parts: Sequence[str]) -> tuple[WebLayer, str, list[str]]:
    """The WebSocket that parts of an address begin with, its certificate's name, and what comes after."""
    found = _WEB.match(joined := "/" + "/".join(parts))
    if found is None:
        return WebLayer.NONE, "", list(parts)
    name = found["name"]
    if name is not None and not _DNS_NAME.fullmatch(name):
        raise BadAddress(f"{text!r}: {name!r} after /sni/ is no name")
    rest = joined[found.end() :].split("/")[1:]
    return WebLayer.PLAIN if found["plain"] else WebLayer.TLS, name or "", rest


def _named(text: str, parts: Sequence[str]) -> str:
    """The peer that parts of an address name; "" for none."""
    if not parts:
        return ""
    if len(parts) != 2 or parts[0] != "p2p" or not _PEER.fullmatch(parts[1]):
        raise BadAddress(f"{text!r} does not end in /p2p/ and a peer id")
    return parts[1]


def parse_peer(text: str) -> str:
    """An address that says whose it is, as it is written; raises `BadAddress`."""
    if not is_peer_id(parse(text).peer):
        raise BadAddress(f"{text!r} does not end in /p2p/ and a peer id, which `p2pnode id` shows there")
    return text


def _is_host(family: str, host: str) -> bool:
    try:
        if family == "ip4":
            return bool(ipaddress.IPv4Address(host))
        if family == "ip6":
            return bool(ipaddress.IPv6Address(host)) and "%" not in host
    except ValueError:
        return False
    return family in ("dns", "dns4", "dns6") and _DNS_NAME.fullmatch(host) is not None


def family_of(host: str) -> str:
    """The family of an IP address."""
    return "ip6" if ":" in host else "ip4"


def scope_of(host: str) -> Scope:
    """How far an IP address reaches; a name counts as public, whoever gave it meant it for all."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return Scope.LOOPBACK if host == "localhost" else Scope.PUBLIC
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.is_loopback or ip.is_unspecified:
        return Scope.LOOPBACK
    return Scope.PUBLIC if ip.is_global else Scope.PRIVATE


def tellable(addresses: Iterable[str], remote_hosts: Sequence[str]) -> list[str]:
    """The addresses of ours that mean something to each of the peers at `remote_hosts`.

    A peer that we reach at a public address is told public addresses only; one on our
    own network private ones too; one on this machine all. None is told an address that means
    something on a link alone (fe80::). So nodes that all live on one
    machine share loopback addresses. What is gossiped goes to all, so all must share it.
    """
    own = {text: parse(text).host for text in addresses}
    near = OwnNetworks.of(own.values())
    least = max(map(near.scope_of, remote_hosts), default=Scope.LOOPBACK)
    return [text for text, host in own.items() if scope_of(host) >= least and not _is_link_local(host)]


@dataclass(frozen=True, slots=True)
class OwnNetworks:
    """The IPv6 networks in which a node is: there its neighbours on a LAN have public addresses, too."""

    networks: frozenset[ipaddress.IPv6Network]

    @classmethod
    def of(cls, own_hosts: Iterable[str]) -> OwnNetworks:
        found = (_as_ip6(host) for host in own_hosts)
        return cls(frozenset(_network(ip) for ip in found if ip is not None and ip.is_global))

    def scope_of(self, host: str) -> Scope:
        """How far away a peer at this address is."""
        ip = _as_ip6(host)
        return Scope.PRIVATE if ip is not None and _network(ip) in self.networks else scope_of(host)


def _as_ip6(host: str) -> ipaddress.IPv6Address | None:
    try:
        return ipaddress.IPv6Address(host)
    except ValueError:
        return None


def _network(ip: ipaddress.IPv6Address) -> ipaddress.IPv6Network:
    return ipaddress.IPv6Network((ip, LAN_BITS), strict=False)


def _is_link_local(host: str) -> bool:
    """Whether an address means something together with an interface alone."""
    ip = _as_ip6(host)
    return ip is not None and ip.is_link_local


def interleaved(addresses: Sequence[str]) -> list[str]:
    """The addresses with those of IPv6 and the others by turns (RFC 8305), the first one's kind first."""
    if not addresses:
        return []
    first = _is_of_ip6(addresses[0])
    ones = [one for one in addresses if _is_of_ip6(one) == first]
    others = [one for one in addresses if _is_of_ip6(one) != first]
    return [one for pair in zip_longest(ones, others) for one in pair if one is not None]


def _is_of_ip6(address: str) -> bool:
    return address.startswith(("/ip6/", "/dns6/"))


def is_listened_at(address: Address) -> bool:
    """Whether a node may listen there: TLS is a reverse proxy's, which has the certificate."""
    return address.family in ("ip4", "ip6") and not address.relay and address.web is not WebLayer.TLS


def plain_first(addresses: Sequence[str]) -> tuple[list[str], list[str]]:
    """The addresses of plain TCP, and those of WebSocket, which costs more and is for where TCP fails."""
    web = [one for one in addresses if _is_web(one)]
    return [one for one in addresses if one not in web], web


def _is_web(address: str) -> bool:
    try:
        return bool(parse(address).web)
    except BadAddress:
        return False


def understood(addresses: Iterable[str]) -> list[Address]:
    """The addresses without those that only later versions know."""
    found = []
    for text in addresses:
        with suppress(BadAddress):
            found.append(parse(text))
    return found


def reach_of(addresses: Iterable[str]) -> dict[str, str]:
    """How a peer is reached that tells these addresses, "direct" or "relay", by "ip4" and "ip6".

    By its relays it is reached in the family in which it does not say that it is dialled.
    """
    direct, relays = set[str](), False
    for address in understood(addresses):
        relays = relays or bool(address.relay)
        if not address.relay:
            direct |= _IP_FAMILIES[address.family]
    others = _IP_FAMILIES["dns"] if relays else ()
    return {one: "direct" if one in direct else "relay" for one in sorted({*direct, *others})}


def worst_reach(by_family: Mapping[str, str]) -> str:
    """The worse of how a peer is reached by the families; "none" where it is by none."""
    return max(by_family.values(), default="none")


def reach_text(reach: str, by_family: Mapping[str, str]) -> str:
    """How a peer is reached, which is told of each family where they differ."""
    if len(set(by_family.values())) < 2:
        return reach
    return ", ".join(f"{_FAMILY_NAMES[one]} {how}" for one, how in by_family.items() if one in _FAMILY_NAMES)


def by_peer(addresses: Iterable[str]) -> dict[str, list[str]]:
    """Addresses that name their peers, by peer; raises `BadAddress` if one names none."""
    peers: dict[str, list[str]] = {}
    for text in addresses:
        address = parse(parse_peer(text))
        peers.setdefault(address.peer, []).append(address.transport)
    return peers
