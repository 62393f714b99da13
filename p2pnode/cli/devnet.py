"""`devnet`: a network of real nodes on this machine, each a process with its own data directory.

    DIR/devnet.json   the nodes: name, pid, start time of the process, data directory
    DIR/NAME/         a node's data directory, with its settings and its log

`down` ends the processes and leaves the directories to be looked at; the next `up` removes them.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from p2pnode import config
from p2pnode.api.client import Client, NodeUnreachable, find, running_node
from p2pnode.api.service import NodeJson, ServiceError
from p2pnode.cli import options, processes, topology
from p2pnode.cli.groups import Group
from p2pnode.cli.output import answer, answer_json, say, short_peer, table
from p2pnode.cli.processes import ProcessName
from p2pnode.cli.progress import Progress
from p2pnode.cli.status import CommandError, Status

STATE_FILE = "devnet.json"
LOG_FILE = "node.log"
READY_TIMEOUT_S = 60.0
POLL_INTERVAL_S = 0.05
TABLE_INTERVAL_S = 1.0
LOG_TAIL_SIZE_BYTES = 2_000
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class DevnetNode:
    name: str
    data_dir: Path
    process: ProcessName

    @property
    def door(self) -> Mapping[str, Any] | None:
        """What the node wrote of itself when it was ready."""
        written = running_node(self.data_dir)
        return written if written and written["pid"] == self.process.pid and self.process.alive else None

    @property
    def client(self) -> Client | None:
        return find(self.data_dir, {}) if self.door else None

    @property
    def state(self) -> str:
        return "ready" if self.door else "starting" if self.process.alive else "ended"


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
@click.option("--detach", is_flag=True, help="Return when all are ready, and leave them running.")
@_in_directory
def up(count: int | None, topology_file: Path | None, detach: bool, directory: Path) -> int:
    """Start the nodes and show them until interrupted."""
    settings = topology.read(topology_file, count)
    if any(node.process.alive for node in _read(directory)):
        raise CommandError(
            Status.USAGE, f"a devnet runs in {directory} already", "end it with: p2pnode devnet down"
        )
    _remove_old(directory)
    with _ended_unless_kept(directory) as keep:
        nodes = _start(directory, topology.lay_out(directory, settings))
        _wait_until_ready(nodes)
        if detach:
            keep.append(directory)
            for line in _table(nodes, {}):
                say(line)
            say("\nuse its first node:  " + _hint("env", directory, evaluated=True))
            say(f"end it:              {_hint('down', directory)}")
            return Status.OK
        _show(nodes, directory)
    return Status.OK


@devnet.command()
@options.as_json
@_in_directory
def status(as_json: bool, directory: Path) -> int:
    """List the nodes."""
    nodes = _nodes(directory)
    if as_json:
        answer_json({"nodes": [_node_json(node) for node in nodes]})
    else:
        for line in _table(nodes, {}):
            answer(line)
    return Status.OK


@devnet.command()
@_in_directory
def env(directory: Path) -> int:
    """Print shell exports with which commands use its first node."""
    first = _nodes(directory)[0]
    if not first.door:
        raise CommandError(Status.UNREACHABLE, f"the first node, {first.name}, has {first.state}")
    answer(f"export P2PNODE_API={shlex.quote(first.door['api'])}")
    answer(f"export P2PNODE_DATA_DIR={shlex.quote(str(first.data_dir))}")
    return Status.OK


@devnet.command()
@_in_directory
def down(directory: Path) -> int:
    """End all the nodes."""
    alive = [node.process for node in _read(directory) if node.process.alive]
    processes.end(alive)
    say(f"ended {len(alive)} nodes in {directory}")
    return Status.OK


def _nodes(directory: Path) -> list[DevnetNode]:
    nodes = _read(directory)
    if not any(node.process.alive for node in nodes):
        raise CommandError(
            Status.UNREACHABLE, f"no devnet runs in {directory}", "start one with: p2pnode devnet up"
        )
    return nodes


def _read(directory: Path) -> list[DevnetNode]:
    """The nodes that were started last in a directory, running or not."""
    path = directory / STATE_FILE
    try:
        written = json.loads(path.read_text())
        return [
            DevnetNode(one["name"], Path(one["data_dir"]), ProcessName(one["pid"], one["started"]))
            for one in written["nodes"]
        ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(Status.FAILED, f"{path} cannot be read: {error!r}; remove it") from error


def _remove_old(directory: Path) -> None:
    """Remove what the last devnet here left, and nothing else."""
    for node in _read(directory):
        if node.data_dir.parent == directory:
            shutil.rmtree(node.data_dir, ignore_errors=True)
    (directory / STATE_FILE).unlink(missing_ok=True)


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
        say("\nending the nodes")
    finally:
        if not keep:
            # A second Ctrl-C must not leave some of them behind.
            for number in _ENDINGS:
                signal.signal(number, signal.SIG_IGN)
            processes.end(node.process for node in _read(directory))


def _start(directory: Path, data_dirs: list[Path]) -> list[DevnetNode]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("P2PNODE_")}
    nodes = []
    for data_dir in data_dirs:
        with (data_dir / LOG_FILE).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "p2pnode", "serve", "--data-dir", str(data_dir)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                # Ctrl-C is for `up`, which then ends them in order.
                start_new_session=True,
            )
        nodes.append(DevnetNode(data_dir.name, data_dir, processes.name_of(process.pid)))
        # After each, so that `down` finds all that were started whatever happens to this process.
        _write(directory, nodes)
    return nodes


def _write(directory: Path, nodes: list[DevnetNode]) -> None:
    written = [
        {
            "name": node.name,
            "pid": node.process.pid,
            "started": node.process.started,
            "data_dir": str(node.data_dir),
        }
        for node in nodes
    ]
    part = directory / f"{STATE_FILE}.part"
    part.write_text(json.dumps({"nodes": written}))
    part.replace(directory / STATE_FILE)


def _wait_until_ready(nodes: list[DevnetNode]) -> None:
    """Until every node answers and the first one knows them all."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    with Progress() as progress:
        while time.monotonic() < deadline:
            for node in nodes:
                if not node.process.alive:
                    raise CommandError(Status.FAILED, f"{node.name} has ended: {_log_tail(node)}")
            ready = sum(node.door is not None for node in nodes)
            known = len(_known(nodes[0])) if ready == len(nodes) else 0
            if known >= len(nodes):
                return
            progress.show_once(f"{ready} of {len(nodes)} nodes are ready; {nodes[0].name} knows {known}")
            time.sleep(POLL_INTERVAL_S)
    late = [node.name for node in nodes if not node.door] or [nodes[0].name]
    raise CommandError(
        Status.FAILED, f"not ready within {READY_TIMEOUT_S:.0f} s: {', '.join(late)}", _log_tail(nodes[0])
    )


def _log_tail(node: DevnetNode) -> str:
    said = (node.data_dir / LOG_FILE).read_bytes()[-LOG_TAIL_SIZE_BYTES:]
    return said.decode(errors="replace").strip() or f"its log {node.data_dir / LOG_FILE} is empty"


def _known(node: DevnetNode) -> list[NodeJson]:
    try:
        return node.client.nodes() if node.client else []
    except (NodeUnreachable, ServiceError):
        return []


def _show(nodes: list[DevnetNode], directory: Path) -> None:
    """A live table on a terminal, else a line for each change of state, until interrupted."""
    live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    hint = f"Ctrl-C ends the network; use it with: {_hint('env', directory, evaluated=True)}"
    states: dict[str, str] = {}
    lines: list[str] = []
    if not live:
        say(hint)
    while any(node.process.alive for node in nodes):
        if live:
            known = {node.name: _known(node) for node in nodes}
            up_again = f"\x1b[{len(lines)}A" if lines else ""
            lines = [hint, "", *_table(nodes, known)]
            # A line that wraps would put the next table in the wrong place.
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(up_again + "".join(f"\x1b[2K{line[:width]}\n" for line in lines))
            sys.stderr.flush()
        for node in nodes:
            if states.get(node.name) != node.state and not live:
                say(f"{node.name} {node.state}")
            states[node.name] = node.state
        time.sleep(TABLE_INTERVAL_S)
    raise CommandError(Status.FAILED, "all nodes have ended by themselves", _log_tail(nodes[0]))


def _table(nodes: list[DevnetNode], known: Mapping[str, list[NodeJson]]) -> list[str]:
    """`known` is what each node knows of the network, where that is to be shown."""
    rows = []
    for node in nodes:
        door = node.door
        seen = known.get(node.name, [])
        itself = next((one for one in seen if one["self"]), None)
        used = ""
        if itself:
            used_millis = itself["total"]["cpu_millis"] - itself["free"]["cpu_millis"]
            used = f"{used_millis / 1000:g} of {itself['total']['cpu_millis'] / 1000:g}"
        rows.append(
            [
                node.name,
                short_peer(door["peer"]) if door else "",
                node.state,
                *([str(sum(one["connected"] for one in seen)), used] if known else []),
                str(node.process.pid),
                door["api"] if door else "",
                str(node.data_dir),
            ]
        )
    more = ["CONNECTED", "CPU IN USE"] if known else []
    return table(["NAME", "PEER", "STATE", *more, "PID", "API", "DATA"], rows)


def _node_json(node: DevnetNode) -> dict[str, Any]:
    door = node.door or {}
    return {
        "name": node.name,
        "peer": door.get("peer"),
        "pid": node.process.pid,
        "api": door.get("api"),
        "data_dir": str(node.data_dir),
        "state": node.state,
    }


def _hint(command: str, directory: Path, evaluated: bool = False) -> str:
    """A devnet command as the user has to type it for this directory."""
    named = directory != config.default_devnet_dir()
    text = f"p2pnode devnet {command}" + (f" --dir {shlex.quote(str(directory))}" if named else "")
    return f'eval "$({text})"' if evaluated else text
