"""Nodes at home behind routers that translate addresses, and nodes in the public network between them.

    home (192.168.1.2) -- router (8.8.8.11) -- the public network (8.8.8.0/24) -- relay (8.8.8.2)

A router lets out what its home begins, and in what answers that, as the usual ones of homes do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .cut_network import COMMAND_TIMEOUT_S, CannotMake, PlacedNode
from .docker_engine import cannot_run
from .nodes import Node, Nodes

# Public as programs see it; nothing leaves the namespaces.
PUBLIC = "8.8.8."
HOME_HOST, HOME_ROUTER = "192.168.1.2", "192.168.1.1"


class Internet:
    """A switch in a namespace of its own, to which routers and public nodes are plugged."""

    def __init__(self) -> None:
        self._prefix = f"p2pnode-nat-{os.getpid()}-"
        self._made: list[str] = []
        self._gateways: list[subprocess.Popen[str]] = []
        self._hub = ""

    def make(self) -> None:
        """Raises `CannotMake`."""
        self._hub = self._namespace("hub")
        self._ip("-n", self._hub, "link", "add", "switch", "type", "bridge")
        self._ip("-n", self._hub, "link", "set", "switch", "up")

    def public(self, nodes: Nodes, name: str, *arguments: str, peers: tuple[Node, ...] = ()) -> Node:
        """A node in the public network that is not started yet."""
        netns, host = self._plugged(name)
        return self._placed(nodes, netns, host, name, *arguments, peers=peers)

    def public_host(self, name: str) -> tuple[str, str]:
        """A namespace in the public network, and its address there."""
        return self._plugged(name)

    def at_home(
        self,
        nodes: Nodes,
        name: str,
        *arguments: str,
        peers: tuple[Node, ...] = (),
        symmetric: bool = False,
        forwarded: int = 0,
    ) -> Node:
        """A node behind a router of its own that is not started yet.

        The router keeps ports where it can, or, `symmetric`, gives each connection another one. It lets
        others in at the port that is `forwarded` to the node.
        """
        router, outside = self._plugged(f"{name}-nat")
        netns = self._namespace(name)
        self._ip("-n", router, "link", "add", "lan", "type", "veth", "peer", "name", "eth0", "netns", netns)
        for where, device, host in ((router, "lan", HOME_ROUTER), (netns, "eth0", HOME_HOST)):
            self._ip("-n", where, "address", "add", f"{host}/24", "dev", device)
            self._ip("-n", where, "link", "set", device, "up")
        self._ip("-n", netns, "link", "set", "lo", "up")
        self._ip("-n", netns, "route", "add", "default", "via", HOME_ROUTER)
        self._inside(router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        iptables = "iptables", "-w"
        target = ("MASQUERADE", "--random-fully") if symmetric else ("SNAT", "--to-source", outside)
        nat = *iptables, "-t", "nat"
        self._inside(router, *nat, "-A", "POSTROUTING", "-o", "eth0", "-j", *target)
        self._inside(router, *iptables, "-P", "FORWARD", "DROP")
        self._inside(router, *iptables, "-A", "FORWARD", "-i", "lan", "-j", "ACCEPT")
        new = "-m", "conntrack", "--ctstate", "NEW"
        answers = "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"
        self._inside(router, *iptables, "-A", "FORWARD", *answers)
        # As those of homes, it does not answer strangers itself.
        self._inside(router, *iptables, "-A", "INPUT", "-i", "eth0", *new, "-j", "DROP")
        if forwarded:
            port = "-p", "tcp", "--dport", str(forwarded)
            self._inside(
                router, *nat, "-A", "PREROUTING", "-i", "eth0", *port, "-j", "DNAT", "--to", HOME_HOST
            )
            self._inside(router, *iptables, "-A", "FORWARD", "-i", "eth0", *port, "-j", "ACCEPT")
        node = self._placed(nodes, netns, HOME_HOST, name, *arguments, peers=peers)
        node.port = forwarded
        return node

    def speak_upnp(self, name: str, external: str, *arguments: str) -> subprocess.Popen[str]:
        """Have the router of a node at home map ports; its stdout tells what it was asked, a line each."""
        program = Path(__file__).with_name("fake_gateway.py")
        command = ["ip", "netns", "exec", f"{self._prefix}{name}-nat", sys.executable, str(program)]
        gateway = subprocess.Popen(
            [*command, HOME_ROUTER, external, *arguments], stdout=subprocess.PIPE, text=True
        )
        self._gateways.append(gateway)
        assert gateway.stdout is not None and gateway.stdout.readline() == "ready\n"
        return gateway

    def outside_of(self, name: str) -> str:
        """The address of the router of a node at home."""
        return f"{PUBLIC}{self._made.index(f'{self._prefix}{name}-nat') + 1}"

    def remove(self) -> None:
        for gateway in self._gateways:
            gateway.kill()
            gateway.wait()
            assert gateway.stdout is not None
            gateway.stdout.close()
        for netns in self._made:
            self._ip("netns", "delete", netns)

    def _placed(
        self, nodes: Nodes, netns: str, host: str, name: str, *arguments: str, peers: tuple[Node, ...]
    ) -> Node:
        plain = nodes.new(name, *arguments, peers=peers)
        placed = PlacedNode(name, plain.data_dir, plain.arguments, plain.log, netns=netns)
        placed.host = f"/ip4/{host}/tcp/"
        nodes.all[-1] = placed
        return placed

    def _plugged(self, name: str) -> tuple[str, str]:
        netns = self._namespace(name)
        number = len(self._made)
        plug, host = f"to{number}", f"{PUBLIC}{number}"
        self._ip("-n", self._hub, "link", "add", plug, "type", "veth", "peer", "name", "eth0", "netns", netns)
        self._ip("-n", self._hub, "link", "set", plug, "master", "switch", "up")
        self._ip("-n", netns, "address", "add", f"{host}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            self._ip("-n", netns, "link", "set", device, "up")
        return netns, host

    def _namespace(self, name: str) -> str:
        netns = self._prefix + name
        self._ip("netns", "add", netns)
        self._made.append(netns)
        return netns

    def _inside(self, netns: str, *command: str) -> None:
        self._ip("netns", "exec", netns, *command)

    def _ip(self, *arguments: str) -> None:
        done = subprocess.run(
            ["ip", *arguments], capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT_S
        )
        if done.returncode:
            raise CannotMake(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@contextmanager
def internet() -> Iterator[Internet]:
    """Skips (fails where CI is set) where none can be made."""
    if os.geteuid() or not shutil.which("ip") or not shutil.which("iptables"):
        cannot_run("routers that translate addresses take root and the commands ip and iptables")
    made = Internet()
    try:
        try:
            made.make()
        except CannotMake as error:
            cannot_run(str(error))
        yield made
    finally:
        made.remove()
