"""`id`, `node list`, `node problems`, and what this node takes on: `node cordon`, `uncordon` and `drain`."""

from __future__ import annotations

import time

import click

from p2pnode.api.shapes import DockerJson, ResourcesJson
from p2pnode.cli import options
from p2pnode.cli.groups import Group
from p2pnode.cli.output import answer, answer_json, clock, fields, say, short_id, short_peer, table
from p2pnode.cli.problems import problems
from p2pnode.cli.requester import not_reached, running
from p2pnode.cli.status import CommandError, Status
from p2pnode.client.errors import NodeUnreachable
from p2pnode.core.values.units import about_bytes, parse_duration
from p2pnode.core.wire.states import Scheduling

# The API answers how many executions are left, and tells of no change; a look is one small request.
POLL_INTERVAL_S = 0.2
# When its time is over, what runs is ended; publishing what it left takes a while.
DRAIN_GRACE_S = 60.0


@click.command("id")
@options.as_json
def show_id(as_json: bool) -> int:
    """Show who this node is and where it listens."""
    client = running()
    identity = client.identity()
    if as_json:
        answer_json({**identity, "api": client.url})
        return Status.OK
    pairs = [
        ("Peer", identity["peer"]),
        ("Name", identity["name"]),
        ("Version", identity["version"]),
        ("Engines", ", ".join(identity["engines"])),
        *(("Docker", text) for text in _docker(identity["docker"])),
        ("Labels", _labels(identity["labels"])),
        ("Data", identity["data_dir"]),
        ("API", client.url),
        *(("Address", address) for address in identity["addresses"]),
    ]
    for line in fields(pairs):
        answer(line)
    return Status.OK


@click.group(cls=Group)
def node() -> None:
    """Look at the network, and take this node out of it."""


node.add_command(problems)


@node.command("list")
@options.as_json
def list_nodes(as_json: bool) -> int:
    """List the nodes that this one knows."""
    client = running()
    nodes, unreached = client.nodes(), client.unreached()
    if as_json:
        answer_json({"nodes": nodes, "unreached": unreached})
        return Status.OK
    rows = [
        [
            one["name"],
            short_peer(one["peer"]),
            "self" if one["self"] else "yes" if one["connected"] else "no",
            ",".join(one["engines"]),
            *_free_of_total(one["free"], one["total"]),
            f"nothing: {one['problem']}" if one["problem"] else one["scheduling"],
            _labels(one["labels"]),
        ]
        for one in nodes
    ]
    headings = ["NAME", "PEER", "CONNECTED", "ENGINES", "CPU FREE", "MEMORY FREE", "DISK FREE", "SCHEDULING"]
    for line in table([*headings, "LABELS"], rows):
        answer(line)
    for given in unreached:
        say(not_reached(given))
    return Status.OK


@node.command("executions")
@options.as_json
def list_executions(as_json: bool) -> int:
    """List what runs on this node, and for whom; what waits for room, too."""
    found = running().hosted()
    if as_json:
        answer_json({"executions": found})
        return Status.OK
    rows = [
        [
            one["id"],
            one["name"] or short_id(one["job"]),
            one["state"],
            one["engine"],
            *_resources(one["resources"]),
            one["owner_name"] or short_peer(one["owner"]),
            clock(one["created"]),
        ]
        for one in found
    ]
    for line in table(["ID", "JOB", "STATE", "ENGINE", "CPU", "MEMORY", "DISK", "OWNER", "CREATED"], rows):
        answer(line)
    return Status.OK


@node.command()
def cordon() -> int:
    """Take on nothing new; what runs here goes on."""
    say(f"this node takes on nothing new; {running().schedule(Scheduling.CORDONED)['held']} executions go on")
    return Status.OK


@node.command()
def uncordon() -> int:
    """Take on work again, after cordon or drain."""
    running().schedule(Scheduling.SCHEDULABLE)
    say("this node takes on work")
    return Status.OK


@node.command()
@click.option(
    "--timeout",
    "timeout_s",
    metavar="TIME",
    type=options.ParsedValue("duration", parse_duration),
    default="10m",
    help="What still runs after it is ended: seconds, or such as 5m.",
)
@click.option("--wait", is_flag=True, help="Return when nothing runs here any more.")
@click.option("--stay", is_flag=True, help="Keep the node running afterwards.")
def drain(timeout_s: int, wait: bool, stay: bool) -> int:
    """Take on nothing new, have what runs here finish or move away, then leave the network.

    Jobs that this node owns go to their deputies. Results that no other node has fetched go with it.
    Started again, the node takes on nothing until node uncordon.
    """
    client = running()
    found = client.schedule(Scheduling.DRAINING, timeout_s, leave=not stay)
    say(f"this node is draining: {found['held']} executions are left")
    deadline = time.monotonic() + timeout_s + DRAIN_GRACE_S
    while wait and (found["held"] or not stay):
        if time.monotonic() >= deadline:
            raise CommandError(Status.FAILED, f"{found['held']} executions are still here")
        time.sleep(POLL_INTERVAL_S)
        try:
            found = client.scheduling()
        except NodeUnreachable:
            # The node has left.
            return Status.OK
        if found["scheduling"] != Scheduling.DRAINING:
            raise CommandError(Status.FAILED, "the node is no longer draining: someone else has changed that")
    return Status.OK


def _resources(one: ResourcesJson) -> list[str]:
    return [f"{one['cpu_millis'] / 1000:g}", about_bytes(one["memory_bytes"]), about_bytes(one["disk_bytes"])]


def _free_of_total(free: ResourcesJson, total: ResourcesJson) -> list[str]:
    return [
        f"{free['cpu_millis'] / 1000:g} of {total['cpu_millis'] / 1000:g}",
        f"{about_bytes(free['memory_bytes'])} of {about_bytes(total['memory_bytes'])}",
        f"{about_bytes(free['disk_bytes'])} of {about_bytes(total['disk_bytes'])}",
    ]


def _docker(found: DockerJson | None) -> list[str]:
    if found is None:
        return []
    return [f"{found['address']} ({found['chosen_by']})", *([found["problem"]] if found["problem"] else [])]


def _labels(labels: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))
