"""`id` and `node list`."""

from __future__ import annotations

import argparse

from p2pnode.api.service import ResourcesJson
from p2pnode.cli.output import answer, answer_json, fields, short_peer, table
from p2pnode.cli.requester import running
from p2pnode.cli.status import Status
from p2pnode.core.units import about_bytes


def show_id(arguments: argparse.Namespace) -> int:
    identity = running().identity()
    if arguments.json:
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


def list_nodes(arguments: argparse.Namespace) -> int:
    nodes = running().nodes()
    if arguments.json:
        answer_json({"nodes": nodes})
        return Status.OK
    rows = [
        [
            node["name"],
            short_peer(node["peer"]),
            "self" if node["self"] else "yes" if node["connected"] else "no",
            ",".join(node["engines"]),
            *_free_of_total(node["free"], node["total"]),
            _labels(node["labels"]),
        ]
        for node in nodes
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
