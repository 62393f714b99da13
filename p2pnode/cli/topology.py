"""A devnet's parts: its nodes' settings, from a file or by default, and their directories.

A topology is TOML: a `[[node]]` for each node with settings of `config.toml`, such as

    [[node]]
    name = "alpha"
    labels = { zone = "north" }

Each node gets a directory with a `config.toml`, so `p2pnode serve --data-dir` starts it again by hand.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from p2pnode import config, identity
from p2pnode.config import loading

NODES_MAX = 64
DEFAULT_NODES = 3
# Below what systems hand out by themselves, so that nobody is given the port before its node listens.
_PORTS = range(20_000, 32_000)
_PORT_TRIES_MAX = 200


def read(path: Path | None, count: int | None) -> list[dict[str, Any]]:
    """The nodes' settings; `count`, at least 1, takes the first of a file. Raises `ConfigError`."""
    if path is None:
        return [{"name": f"node-{number}"} for number in range(1, (count or DEFAULT_NODES) + 1)]
    nodes = loading.parse_toml(path).get("node")
    if not isinstance(nodes, list) or not 1 <= len(nodes) <= NODES_MAX:
        raise config.ConfigError(f"{path}: expected 1 to {NODES_MAX} tables [[node]]")
    if count is not None and count > len(nodes):
        raise config.ConfigError(f"--peers: {path} has {len(nodes)} nodes only, got {count}")
    settings = [
        {"name": f"node-{number}"} | loading.check(node, f"{path}: node {number}")
        for number, node in enumerate(nodes, start=1)
    ][:count]
    names = [node["name"] for node in settings]
    for name in names:
        if names.count(name) > 1:
            raise config.ConfigError(f"{path}: two nodes have the name {name!r}")
    return settings


def lay_out(directory: Path, nodes: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Make the data directories; the first node's address is written down as the others' peer."""
    ports = _free_ports(len(nodes))
    first_address = ""
    data_dirs = []
    for settings, port in zip(nodes, ports, strict=True):
        data_dir = directory / settings["name"]
        # Files of an earlier node's executions that only the engine may remove, the new node has it remove.
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        address = f"/ip4/127.0.0.1/tcp/{port}"
        peers = [first_address] if first_address else []
        placed = {"listen": [address], "peers": peers, "mdns": False, **settings}
        if not first_address:
            first_address = f"{address}/p2p/{identity.load_or_create(data_dir).peer_id}"
        (data_dir / config.CONFIG_FILE).write_text(loading.to_toml(placed))
        data_dirs.append(data_dir)
    return data_dirs


def _free_ports(count: int) -> list[int]:
    """Ports on which nobody listens now."""
    found: list[int] = []
    for port in random.sample(_PORTS, _PORT_TRIES_MAX + count):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise config.ConfigError(f"no {count} free ports were found from {_PORTS.start} to {_PORTS.stop}")
