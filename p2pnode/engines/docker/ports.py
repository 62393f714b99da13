"""A job's named ports: which of the peer's ports each one gets, and how the program is told.

A port with a `Static` number gets that one; others get a free one. In a Bridge network the peer's port
leads to the container's; with Host they are the same. Names come to the program in capitals:
`P2PNODE_HOST_PORT_WEB` (on the peer) and `P2PNODE_PORT_WEB` (inside), and the same as `BACALHAU_...`.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from p2pnode.core.wire.spec import Network, NetworkType, Port
from p2pnode.core.wire.states import Fault

# Below the range from which systems take ports for outgoing connections (as Nomad and Bacalhau have it).
DYNAMIC_PORTS = range(20_000, 32_000)
TRIES_MAX = 50
EVERY_ADDRESS = "0.0.0.0"


class NoPort(Exception):
    """A port can't be had here; the message says which and why."""

    fault = Fault.PEER


@dataclass(frozen=True, slots=True)
class PortMapping:
    """`host_address:host_port` on the peer leads to `port` inside."""

    name: str
    host_address: str
    host_port: int
    port: int

    def __str__(self) -> str:
        return f"port {self.name}: {self.host_address}:{self.host_port}"


def allocate(network: Network) -> tuple[PortMapping, ...]:
    """A port of this machine for each that the job names; raises `NoPort`.

    Nothing holds it: another program may be quicker, and then the container does not start.
    """
    return tuple(_mapping(one, network.type) for one in network.ports)


def variables(mappings: Sequence[PortMapping]) -> dict[str, str]:
    """Return the environment variables that tell the program its ports."""
    found = {}
    for one in mappings:
        for prefix in ("P2PNODE", "BACALHAU"):
            found[f"{prefix}_HOST_PORT_{one.name.upper()}"] = str(one.host_port)
            found[f"{prefix}_PORT_{one.name.upper()}"] = str(one.port)
    return found


def _mapping(port: Port, type: NetworkType) -> PortMapping:
    address = port.host_network or EVERY_ADDRESS
    if port.static is not None:
        if not _is_free(address, port.static):
            raise NoPort(f"port {port.name}: {address}:{port.static} is taken on this peer")
        number = port.static
    else:
        candidates = random.sample(DYNAMIC_PORTS, TRIES_MAX)
        free = (one for one in candidates if _is_free(address, one))
        try:
            number = next(free)
        except StopIteration:
            raise NoPort(f"port {port.name}: none of {TRIES_MAX} ports tried is free on this peer") from None
    inside = port.target if type is NetworkType.BRIDGE and port.target is not None else number
    return PortMapping(port.name, address, number, inside)


def _is_free(address: str, number: int) -> bool:
    family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, number))
        except OSError:
            return False
    return True
