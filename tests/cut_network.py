"""Nodes in network namespaces on two switches, with one cable between these that a test can pull.

    left: owner ... -- switch -- cable -- switch -- right: ...

Each node has a namespace of its own. A node's API listens on the loopback of its namespace, so
whoever talks to it (a client, a command) has to be inside, too: `PlacedNode` sees to it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .docker_engine import cannot_run
from .nodes import Node, Nodes

# Nothing outside sees these addresses, so any will do.
SUBNET, SUBNET6 = "10.77.0.", "fd77::"
# Public as programs see it, unlike the ranges for documentation.
CROWD = "9.0.0.0/8"
# Where a node comes to that moves.
OTHER_SUBNET = "10.78.0."
EVERYWHERE = "/ip4/0.0.0.0/tcp/"
COMMAND_TIMEOUT_S = 10.0
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def inside(netns: str) -> Iterator[None]:
    """This thread's new sockets, and processes that it starts, are in the namespace."""
    with open("/proc/thread-self/ns/net", "rb") as own, open(f"/run/netns/{netns}", "rb") as other:
        _set_namespace(other.fileno())
        try:
            yield
        finally:
            _set_namespace(own.fileno())


def _set_namespace(descriptor: int) -> None:
    # os.setns needs Python 3.12.
    if _libc.setns(descriptor, 0):
        raise OSError(ctypes.get_errno(), "setns")


class _Inside:
    """A node's client whose every call is made inside the node's namespace."""

    def __init__(self, netns: str, client: Any) -> None:
        self._netns = netns
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with inside(self._netns):
                result = getattr(self._client, name)(*arguments)
                return list(result) if isinstance(result, Iterator) else result

        return call


@dataclass
class PlacedNode(Node):
    netns: str = ""

    def start(self, *arguments: str, ready: bool = True, moved: bool = False) -> Node:
        with inside(self.netns):
            return super().start(*arguments, ready=ready, moved=moved)

    @property
    def client(self) -> Any:
        return _Inside(self.netns, super().client)

    def cli(self, *arguments: str, timeout_s: float = COMMAND_TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        with inside(self.netns):
            return super().cli(*arguments, timeout_s=timeout_s)


@dataclass
class RoamingNode(PlacedNode):
    """A node that listens at all addresses of its namespace, and goes from one network to another."""

    at: str = ""

    def wait_ready(self) -> Node:
        self.host = f"/ip4/{self.at}/tcp/"
        super().wait_ready()
        self.host = EVERYWHERE
        return self

    @property
    def address(self) -> str:
        return next(one for one in self.client.identity()["addresses"] if f"/{self.at}/" in one)


class CannotMake(Exception):
    """This machine does not let us, and why."""


class TwoSwitches:
    """The switches are bridges in a namespace of their own, so the machine's own network never sees them."""

    def __init__(self) -> None:
        self._prefix = f"p2pnode-{os.getpid()}-"
        self._made: list[str] = []
        self._hub = ""

    def make(self) -> None:
        """The switches and the cable; raises `CannotMake`."""
        self._hub = self._namespace("hub")
        for side in ("left", "right"):
            self._ip("-n", self._hub, "link", "add", side, "type", "bridge")
            self._ip("-n", self._hub, "link", "set", side, "up")
        self._ip("-n", self._hub, "link", "add", "cable0", "type", "veth", "peer", "name", "cable1")
        for end, side in (("cable0", "left"), ("cable1", "right")):
            self._ip("-n", self._hub, "link", "set", end, "master", side, "up")

    def node(
        self,
        nodes: Nodes,
        side: str,
        name: str,
        *arguments: str,
        peers: tuple[Node, ...] = (),
        ip6: bool = False,
        public: bool = False,
    ) -> PlacedNode:
        """A node at this switch that is not started yet.

        `ip6`: with an address of IPv6 alone; `public`: with one in a public range of its own.
        """
        number = len(self._made) + 1
        host = f"{SUBNET6}{number}" if ip6 else f"20.{number}.1.1" if public else f"{SUBNET}{number}"
        # Without the wait for others who might have the address.
        added = (f"{host}/64", "nodad") if ip6 else (f"{host}/{32 if public else 24}",)
        netns = self._plugged(side, name, *added)
        plain = nodes.new(name, *arguments, peers=peers)
        placed = PlacedNode(name, plain.data_dir, plain.arguments, plain.log, netns=netns)
        placed.host = f"/{'ip6' if ip6 else 'ip4'}/{host}/tcp/"
        nodes.all[-1] = placed
        return placed

    def crowd(self, side: str) -> str:
        """A namespace at this switch in which programs may bind to each address of CROWD, and are reached."""
        netns = self._plugged(side, "crowd", "9.0.0.1/32")
        self._ip("-n", netns, "route", "add", "local", CROWD, "dev", "lo")
        return netns

    def roaming(
        self, nodes: Nodes, side: str, name: str, *arguments: str, peers: tuple[Node, ...] = ()
    ) -> RoamingNode:
        """A node that is not started yet, and that can `move`."""
        placed = self.node(nodes, side, name, *arguments, peers=peers)
        roaming = RoamingNode(name, placed.data_dir, placed.arguments, placed.log, netns=placed.netns)
        roaming.at, roaming.host = placed.host.split("/")[2], EVERYWHERE
        nodes.all[-1] = roaming
        return roaming

    def leave(self, node: RoamingNode) -> None:
        """Take a node's address from it: it is in no network."""
        self._ip("-n", node.netns, "address", "flush", "dev", "eth0")

    def come(self, node: RoamingNode, others: tuple[PlacedNode, ...]) -> None:
        """Give it one in another subnet, with ways to the others and back."""
        node.at = OTHER_SUBNET + node.at.rpartition(".")[2]
        self._ip("-n", node.netns, "address", "add", f"{node.at}/24", "dev", "eth0")
        self._ip("-n", node.netns, "route", "replace", f"{SUBNET}0/24", "dev", "eth0")
        for other in others:
            self._ip("-n", other.netns, "route", "replace", f"{OTHER_SUBNET}0/24", "dev", "eth0")

    def cut(self) -> None:
        self._ip("-n", self._hub, "link", "set", "cable0", "down")

    def heal(self) -> None:
        self._ip("-n", self._hub, "link", "set", "cable0", "up")

    def remove(self) -> None:
        for netns in self._made:
            self._ip("netns", "delete", netns)

    def _plugged(self, side: str, name: str, *address: str) -> str:
        netns = self._namespace(name)
        plug = f"to{len(self._made)}"
        self._ip("-n", self._hub, "link", "add", plug, "type", "veth", "peer", "name", "eth0", "netns", netns)
        self._ip("-n", self._hub, "link", "set", plug, "master", side, "up")
        self._ip("-n", netns, "address", "add", *address, "dev", "eth0")
        for device in ("lo", "eth0"):
            self._ip("-n", netns, "link", "set", device, "up")
        if "/32" in address[0]:
            self._ip("-n", netns, "route", "add", "default", "dev", "eth0")
        return netns

    def _namespace(self, name: str) -> str:
        netns = self._prefix + name
        self._ip("netns", "add", netns)
        self._made.append(netns)
        return netns

    def _ip(self, *arguments: str) -> None:
        done = subprocess.run(
            ["ip", *arguments], capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT_S
        )
        if done.returncode:
            raise CannotMake(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@contextmanager
def two_switches() -> Iterator[TwoSwitches]:
    """Skips (fails where CI is set) where none can be made."""
    if os.geteuid() or not shutil.which("ip") or not Path("/proc/self/ns/net").exists():
        cannot_run("network namespaces take root, Linux and the command ip")
    switches = TwoSwitches()
    try:
        try:
            switches.make()
        except CannotMake as error:
            cannot_run(str(error))
        yield switches
    finally:
        switches.remove()
