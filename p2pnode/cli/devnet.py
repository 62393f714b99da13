"""`devnet`: a network of real nodes on this machine, each a process with its own data directory.

`down` ends the processes and leaves the directories to be looked at; the next `up` removes them.
"""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from p2pnode import config, own_network
from p2pnode.api.shapes import NodeJson, ServiceError
from p2pnode.cli import devnet_nodes, processes, topology
from p2pnode.cli.answers import DevnetNodeJson
from p2pnode.cli.devnet_nodes import DevnetNode
from p2pnode.cli.forms import OutputForm, answer_form, takes_form
from p2pnode.cli.groups import Group
from p2pnode.cli.output import answer, draw_again, is_live, say, short_peer, table
from p2pnode.cli.ownfiles import make_directory
from p2pnode.cli.progress import Progress
from p2pnode.cli.status import CommandError, Status
from p2pnode.client.errors import NodeUnreachable
from p2pnode.core.wire.membership import Role
from p2pnode.own_network import OwnNetworkError

# The name that --private gives the network, as people see it.
NETWORK_NAME = "devnet"
# Used at once, and by nobody else.
TOKEN_MS = 60_000
READY_TIMEOUT_S = 60.0
# Each is a Python that starts: a second and a half of a core, of which a machine may have two.
READY_PER_NODE_S = 2.0
# Nodes are processes of their own, which may end without a word.
POLL_INTERVAL_S = 0.05
# People read it; each look asks every node.
TABLE_INTERVAL_S = 1.0
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_in_directory = click.option(
    "--dir",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path),
    callback=lambda _ctx, _option, given: (
        given.expanduser().absolute() if given else config.default_devnet_dir()
    ),
    help="Where the network lives.  [default: one per user]",
)


@click.group(cls=Group)
def devnet() -> None:
    """Run a network of nodes on this machine."""


@devnet.command()
@click.option(
    "--peers",
    "count",
    metavar="N",
    type=click.IntRange(1, topology.NODES_MAX),
    help="How many.  [default: 3, or all of the topology]",
)
@click.option(
    "--topology",
    "topology_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A TOML file that names and labels the nodes.",
)
@click.option("--private", is_flag=True, help="The nodes are in a private network of their own.")
@click.option("--detach", is_flag=True, help="Return when all are ready, and leave them running.")
@_in_directory
def up(count: int | None, topology_file: Path | None, private: bool, detach: bool, directory: Path) -> int:
    """Start the nodes and show them until interrupted."""
    settings = topology.read(topology_file, count)
    if any(node.process.alive for node in devnet_nodes.read(directory)):
        raise CommandError(
            Status.USAGE,
            f"a devnet runs in {directory} already",
            f"use its first node:  {_hint('env', directory, evaluated=True)}",
            f"end it:              {_hint('down', directory)}",
        )
    make_directory(directory)
    devnet_nodes.remove_old(directory)
    with _ended_unless_kept(directory) as keep:
        data_dirs = topology.lay_out(directory, settings)
        if private:
            _make_network(data_dirs)
        nodes = devnet_nodes.start(directory, data_dirs)
        _wait_until_ready(nodes)
        if detach:
            keep.append(directory)
            for line in _table(nodes, {}):
                say(line)
            say()
            say("use its first node:  " + _hint("env", directory, evaluated=True))
            say(f"end it:              {_hint('down', directory)}")
            return Status.OK
        _show(nodes, directory)
    return Status.OK


@devnet.command()
@takes_form(names="names alone")
@_in_directory
def status(form: OutputForm, directory: Path) -> int:
    """List the nodes."""
    nodes = _nodes(directory)
    value = {"nodes": [_node_json(node) for node in nodes]}
    answer_form(form, value, lambda wide: _table(nodes, {}, wide), (node.name for node in nodes))
    return Status.OK


@devnet.command()
@_in_directory
def env(directory: Path) -> int:
    """Print shell exports with which commands use its first node."""
    first = _nodes(directory)[0]
    if not first.api:
        raise CommandError(Status.UNREACHABLE, f"the first node, {first.name}, has {first.state}")
    answer(f"export P2PNODE_API={shlex.quote(first.api['api'])}")
    answer(f"export P2PNODE_DATA_DIR={shlex.quote(str(first.data_dir))}")
    return Status.OK


@devnet.command()
@_in_directory
def down(directory: Path) -> int:
    """End all the nodes."""
    alive = [node.process for node in devnet_nodes.read(directory) if node.process.alive]
    processes.end(alive)
    say(f"ended {len(alive)} {'node' if len(alive) == 1 else 'nodes'} in {directory}")
    return Status.OK


def _make_network(data_dirs: Sequence[Path]) -> None:
    """Put all nodes into a private network, whose operator the first one is."""
    now_ms = int(time.time() * 1000)
    first, *others = data_dirs
    try:
        own = own_network.create(first, NETWORK_NAME, now_ms)
        # Each node's settings name the first one.
        token = own_network.invite(own, Role.MEMBER, now_ms + TOKEN_MS, None, ())
        for data_dir in others:
            own_network.join(data_dir, token, now_ms)
    except OwnNetworkError as error:
        raise CommandError(Status.FAILED, str(error)) from error


def _nodes(directory: Path) -> list[DevnetNode]:
    nodes = devnet_nodes.read(directory)
    if not any(node.process.alive for node in nodes):
        raise CommandError(
            Status.UNREACHABLE, f"no devnet runs in {directory}", "start one with: p2pnode devnet up"
        )
    return nodes


@contextmanager
def _ended_unless_kept(directory: Path) -> Iterator[list[Path]]:
    """Whatever ends the block ends the nodes, unless it put something into the list."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    keep: list[Path] = []
    # SIGINT too: in the background of a script Python would ignore it.
    for number in _ENDINGS:
        signal.signal(number, interrupt)
    try:
        yield keep
    except KeyboardInterrupt:
        say()
        say("ending the nodes")
    finally:
        if not keep:
            # A second Ctrl-C must not leave some of them behind.
            for number in _ENDINGS:
                signal.signal(number, signal.SIG_IGN)
            processes.end(node.process for node in devnet_nodes.read(directory))


def _wait_until_ready(nodes: list[DevnetNode]) -> None:
    """Wait until every node answers and the first one knows them all."""
    timeout_s = max(READY_TIMEOUT_S, len(nodes) * READY_PER_NODE_S)
    deadline = time.monotonic() + timeout_s
    with Progress() as progress:
        while time.monotonic() < deadline:
            for node in nodes:
                if not node.process.alive:
                    raise CommandError(Status.FAILED, f"{node.name} has ended", *devnet_nodes.log_tail(node))
            ready = sum(node.api is not None for node in nodes)
            known = len(_known(nodes[0])) if ready == len(nodes) else 0
            if known >= len(nodes):
                return
            progress.show_once(f"{ready} of {len(nodes)} nodes are ready; {nodes[0].name} knows {known}")
            time.sleep(POLL_INTERVAL_S)
    late = [node.name for node in nodes if not node.api] or [nodes[0].name]
    raise CommandError(
        Status.FAILED,
        f"not ready within {timeout_s:.0f} s: {', '.join(late)}",
        *devnet_nodes.log_tail(nodes[0]),
    )


def _known(node: DevnetNode) -> list[NodeJson]:
    try:
        return node.client.nodes() if node.client else []
    except (NodeUnreachable, ServiceError):
        return []


def _show(nodes: list[DevnetNode], directory: Path) -> None:
    """A live table on a terminal, else a line for each change of state, until interrupted."""
    live = is_live()
    hint = f"Ctrl-C ends the network; use it with: {_hint('env', directory, evaluated=True)}"
    states: dict[str, str] = {}
    lines: list[str] = []
    if not live:
        say(hint)
    while any(node.process.alive for node in nodes):
        if live:
            known = {node.name: _known(node) for node in nodes}
            before, lines = len(lines), [hint, "", *_table(nodes, known)]
            draw_again(lines, before)
        for node in nodes:
            if states.get(node.name) != node.state and not live:
                say(f"{node.name} {node.state}")
            states[node.name] = node.state
        time.sleep(TABLE_INTERVAL_S)
    raise CommandError(Status.FAILED, "all nodes have ended by themselves", *devnet_nodes.log_tail(nodes[0]))


def _table(nodes: list[DevnetNode], known: Mapping[str, list[NodeJson]], wide: bool = False) -> list[str]:
    """`known` is what each node knows of the network, where that is to be shown."""
    rows = []
    for node in nodes:
        api = node.api
        seen = known.get(node.name, [])
        itself = next((one for one in seen if one["self"]), None)
        used = ""
        if itself:
            used_millis = itself["total"]["cpu_millis"] - itself["free"]["cpu_millis"]
            used = f"{used_millis / 1000:g} of {itself['total']['cpu_millis'] / 1000:g}"
        rows.append(
            [
                node.name,
                (api["peer"] if wide else short_peer(api["peer"])) if api else "",
                node.state,
                *([str(sum(one["connected"] for one in seen)), used] if known else []),
                str(node.process.pid),
                api["api"] if api else "",
                str(node.data_dir),
            ]
        )
    more = ["CONNECTED", "CPU IN USE"] if known else []
    return table(["NAME", "PEER", "STATE", *more, "PID", "API", "DATA"], rows, whole=wide)


def _node_json(node: DevnetNode) -> DevnetNodeJson:
    api = node.api or {}
    return DevnetNodeJson(
        name=node.name,
        peer=api.get("peer"),
        pid=node.process.pid,
        api=api.get("api"),
        data_dir=str(node.data_dir),
        state=node.state,
    )


def _hint(command: str, directory: Path, evaluated: bool = False) -> str:
    """A devnet command as the user has to type it for this directory."""
    named = directory != config.default_devnet_dir()
    text = f"p2pnode devnet {command}" + (f" --dir {shlex.quote(str(directory))}" if named else "")
    return f'eval "$({text})"' if evaluated else text
