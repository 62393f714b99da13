"""`id`, `node list`, `node problems`, and what this node takes on: `node cordon`, `uncordon` and `drain`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import click

from p2pnode.api.execution_shapes import HostedJson
from p2pnode.api.shapes import DockerJson, NetworkJson, NodeJson, ResourcesJson
from p2pnode.cli import options
from p2pnode.cli.answers import OwnIdentityJson
from p2pnode.cli.forms import (
    Column,
    OutputForm,
    answer_form,
    column,
    labels_text,
    listing,
    takes_form,
    time_column,
    wide_column,
)
from p2pnode.cli.groups import Group
from p2pnode.cli.jobcolumns import named
from p2pnode.cli.output import fields, say, short_id, short_peer
from p2pnode.cli.problems import problems
from p2pnode.cli.requester import not_reached, running
from p2pnode.cli.status import CommandError, Status
from p2pnode.client.errors import NodeUnreachable
from p2pnode.core.records.membership import OPEN_NETWORK, described
from p2pnode.core.values.units import about_bytes, parse_duration
from p2pnode.core.wire.addresses import reach_text
from p2pnode.core.wire.states import Scheduling
from p2pnode.system.host_resources import BUILT_IN_LABELS

# The API answers how many executions are left, and tells of no change; a look is one small request.
POLL_INTERVAL_S = 0.2
# When its time is over, what runs is ended; publishing what it left takes a while.
DRAIN_GRACE_S = 60.0


@click.command("id")
@takes_form(names="its id alone")
def show_id(form: OutputForm) -> int:
    """Show who this node is and where it listens."""
    client = running()
    identity = OwnIdentityJson(**client.identity(), api=client.url)
    answer_form(form, identity, lambda wide: fields(_identity_fields(identity, wide)), [identity["peer"]])
    return Status.OK


@click.group(cls=Group)
def node() -> None:
    """Look at the network, and take this node out of it."""


node.add_command(problems)


@node.command("list")
@click.option("--label", "labels", multiple=True, metavar="KEY[=VALUE]", help="With all of these labels.")
@click.option(
    "--text", default="", show_default=False, help="With this text in name or peer id, in any case."
)
@takes_form(names="ids alone")
def list_nodes(labels: tuple[str, ...], text: str, form: OutputForm) -> int:
    """List the nodes that this one knows."""
    client = running()
    nodes, unreached = client.nodes(label=labels, text=text), client.unreached()
    value = {"nodes": nodes, "unreached": unreached}
    columns = (*_NODES[:3], *_OF_NETWORK, *_NODES[3:]) if any(one.get("role") for one in nodes) else _NODES
    answer_form(form, value, listing(columns, nodes), (one["peer"] for one in nodes))
    if form.is_table:
        for given in unreached:
            say(not_reached(given))
    return Status.OK


@node.command("executions")
@takes_form(names="ids alone")
def list_executions(form: OutputForm) -> int:
    """List what runs on this node, and for whom; what waits for room, too."""
    found = running().hosted()
    answer_form(form, {"executions": found}, listing(_HOSTED, found), (one["id"] for one in found))
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
    left = {0: "no executions are", 1: "1 execution is"}.get(found["held"], f"{found['held']} executions are")
    say(f"this node is draining: {left} left")
    if not stay:
        say("it ends then; started again, it takes on nothing until: p2pnode node uncordon")
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


def _identity_fields(identity: OwnIdentityJson, wide: bool) -> list[tuple[str, str]]:
    return [
        ("Peer", identity["peer"]),
        ("Name", identity["name"]),
        ("Version", identity["version"]),
        ("Engines", ", ".join(identity["engines"])),
        *(("Docker", text) for text in _docker(identity["docker"])),
        ("Labels", labels_text(identity["labels"] if wide else _own(identity["labels"]))),
        ("Data", identity["data_dir"]),
        ("Network", network_text(identity.get("network"))),
        ("API", identity["api"]),
        ("Reach", reach_text(identity.get("reach", ""), identity.get("reach_by", {}))),
        *(("Address", address) for address in identity["addresses"]),
    ]


def network_text(found: NetworkJson | None) -> str:
    """The network of a node, as a line."""
    if found is None:
        return OPEN_NETWORK
    line = described(found["name"], found["operator"], found["role"], found["expires"], time.time())
    return line.removeprefix("network ")


def _docker(found: DockerJson | None) -> list[str]:
    if found is None:
        return []
    return [f"{found['address']} ({found['chosen_by']})", *([found["problem"]] if found["problem"] else [])]


def _own(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Labels without those that every node has."""
    return {key: value for key, value in labels.items() if key not in BUILT_IN_LABELS}


def _cores(one: ResourcesJson) -> str:
    return f"{one['cpu_millis'] / 1000:g}"


def _free_bytes(free: int, total: int) -> str:
    """`1.5/4 GB`, or `500 MB/4 GB` where the units differ."""
    amount, unit = about_bytes(free).split()
    of = about_bytes(total)
    return f"{amount}/{of}" if of.endswith(f" {unit}") else f"{amount} {unit}/{of}"


def _connected(one: NodeJson) -> str:
    if one["self"] or not one["connected"]:
        return "self" if one["self"] else "no"
    # A node of an earlier version does not say how.
    return one.get("connection", "yes")


_NODES: Sequence[Column[NodeJson]] = (
    column("NAME", lambda one: one["name"]),
    column("PEER", lambda one: short_peer(one["peer"]), lambda one: one["peer"]),
    column("CONNECTED", _connected),
    column("ENGINES", lambda one: ",".join(one["engines"])),
    column("CPU FREE", lambda one: f"{_cores(one['free'])}/{_cores(one['total'])}"),
    column("MEMORY FREE", lambda one: _free_bytes(one["free"]["memory_bytes"], one["total"]["memory_bytes"])),
    column("DISK FREE", lambda one: _free_bytes(one["free"]["disk_bytes"], one["total"]["disk_bytes"])),
    wide_column("GPU FREE", lambda one: f"{one['free']['gpus']}/{one['total']['gpus']}"),
    column("SCHEDULING", lambda one: f"nothing: {one['problem']}" if one["problem"] else one["scheduling"]),
    # A node of an earlier version says none.
    wide_column("PRICE", lambda one: f"{one.get('price', 0):g}"),
    time_column("ADVERT", lambda one: one["issued"], in_table=False),
    wide_column("PROTOCOLS", lambda one: ",".join(one["protocols"])),
    wide_column("REACH", lambda one: reach_text(one.get("reach", ""), one.get("reach_by", {}))),
    wide_column("ADDRESSES", lambda one: ",".join(one["addresses"])),
    column("LABELS", lambda one: labels_text(_own(one["labels"])), lambda one: labels_text(one["labels"])),
)
# In a private network alone.
_OF_NETWORK: Sequence[Column[NodeJson]] = (
    column("ROLE", lambda one: one["role"] or ""),
    wide_column("INVITATION", lambda one: one["invitation"] or ""),
)
_HOSTED: Sequence[Column[HostedJson]] = (
    column("ID", lambda one: short_id(one["id"]), lambda one: one["id"]),
    column("JOB", lambda one: one["name"] or short_id(one["job"]), lambda one: one["job"]),
    wide_column("NAME", lambda one: one["name"]),
    wide_column("TYPE", lambda one: one["type"]),
    wide_column("PRIORITY", lambda one: str(one["priority"])),
    column("STATE", lambda one: one["state"]),
    column("ENGINE", lambda one: one["engine"]),
    column("CPU", lambda one: _cores(one["resources"])),
    column("MEMORY", lambda one: about_bytes(one["resources"]["memory_bytes"])),
    column("DISK", lambda one: about_bytes(one["resources"]["disk_bytes"])),
    wide_column("GPU", lambda one: str(one["resources"]["gpus"])),
    column(
        "OWNER",
        lambda one: one["owner_name"] or short_peer(one["owner"]),
        lambda one: named(one["owner_name"], one["owner"]),
    ),
    time_column("CREATED", lambda one: one["created"]),
)
