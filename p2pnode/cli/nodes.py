"""`id` and `node list`."""

from __future__ import annotations

import click

from p2pnode.api.service import ResourcesJson
from p2pnode.cli import options
from p2pnode.cli.groups import Group
from p2pnode.cli.output import answer, answer_json, fields, short_peer, table
from p2pnode.cli.requester import running
from p2pnode.cli.status import Status
from p2pnode.core.units import about_bytes


@click.command("id")
@options.as_json
def show_id(as_json: bool) -> int:
    """Show who this node is and where it listens."""
    identity = running().identity()
    if as_json:
        answer_json(identity)
        return Status.OK
    pairs = [
        ("Peer", identity["peer"]),
        ("Name", identity["name"]),
        ("Version", identity["version"]),
        ("Engines", ", ".join(identity["engines"])),
        ("Labels", _labels(identity["labels"])),
        ("Data", identity["data_dir"]),
        *(("Address", address) for address in identity["addresses"]),
    ]
    for line in fields(pairs):
        answer(line)
    return Status.OK


@click.group(cls=Group)
def node() -> None:
    """Look at the network."""


@node.command("list")
@options.as_json
def list_nodes(as_json: bool) -> int:
    """List the nodes that this one knows."""
    nodes = running().nodes()
    if as_json:
        answer_json({"nodes": nodes})
        return Status.OK
    rows = [
        [
            one["name"],
            short_peer(one["peer"]),
            "self" if one["self"] else "yes" if one["connected"] else "no",
            ",".join(one["engines"]),
            *_free_of_total(one["free"], one["total"]),
            _labels(one["labels"]),
        ]
        for one in nodes
    ]
    for line in table(
        ["NAME", "PEER", "CONNECTED", "ENGINES", "CPU FREE", "MEMORY FREE", "DISK FREE", "LABELS"], rows
    ):
        answer(line)
    return Status.OK


def _free_of_total(free: ResourcesJson, total: ResourcesJson) -> list[str]:
    return [
        f"{free['cpu_millis'] / 1000:g} of {total['cpu_millis'] / 1000:g}",
        f"{about_bytes(free['memory_bytes'])} of {about_bytes(total['memory_bytes'])}",
        f"{about_bytes(free['disk_bytes'])} of {about_bytes(total['disk_bytes'])}",
    ]


def _labels(labels: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))
