"""Real nodes for the tests: `p2pnode serve` processes on loopback, each with a directory of its own.

`running_nodes` ends all of them for certain when its block is left, and then looks through what
they printed for what no user should ever see. Waits end on what they wait for, or at
a deadline much longer than anything here takes.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from p2pnode.api.shapes import ExecutionJson, JobJson
from p2pnode.client.calls import Client
from p2pnode.client.errors import NodeUnreachable
from p2pnode.client.finding import find, running_node
from p2pnode.engines.wasm.worker.worker import WAITS
from p2pnode.identity import load_or_create
from p2pnode.ipfs import car, unixfs
from p2pnode.ipfs.blocks import BlockStore

from .programs import text_of

T = TypeVar("T")
# Two cores, shared: a wait that is met ends at once, so only a failure takes this long.
WAIT_S = 30.0
LOOK_INTERVAL_S = 0.02
LOOPBACK = "/ip4/127.0.0.1/tcp/"
EXIT_TIMEOUT_S = 10.0
# Text that a user must never see: a traceback, what an interpreter says at its end, what a dependency logs.
_NOISE = re.compile(
    r"Traceback|Exception ignored|Task .* exception|RuntimeWarning|ResourceWarning|DeprecationWarning"
    r"|never awaited|libp2p|hypercorn|zeroconf|ExceptionGroup|the link with .* failed",
)


def until(what: str, look: Callable[[], T], timeout_s: float = WAIT_S) -> T:
    """Return what `look` gives as soon as that is true."""
    deadline = time.monotonic() + timeout_s
    while True:
        if found := look():
            return found
        assert time.monotonic() < deadline, f"within {timeout_s:.0f} s: {what}"
        time.sleep(LOOK_INTERVAL_S)


def environment(data_dir: Path) -> dict[str, str]:
    """This process's environment, with the node of `data_dir` as the one that commands talk to."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("P2PNODE_")}
    # No node of these tests is to meet one of others on this machine.
    return {**kept, "P2PNODE_DATA_DIR": str(data_dir), "P2PNODE_MDNS": "false"}


@dataclass
class Node:
    """One node's directory, and the process that runs on it now."""

    name: str
    data_dir: Path
    arguments: list[str]
    # All that its processes have written to stderr.
    log: Path
    process: subprocess.Popen[bytes] | None = None
    # Where it listens; 0 until it has run.
    port: int = 0
    # A command that sets up its surroundings and then runs it.
    within: tuple[str, ...] = ()
    # Where others reach it, up to the port.
    host: str = LOOPBACK
    # "/ws": it listens for WebSocket alone.
    web: str = ""

    def start(self, *arguments: str, ready: bool = True, moved: bool = False) -> Node:
        """Run it, again on the port that it had unless it has `moved`; `arguments` are for this time only."""
        own = [*self.arguments, "--listen", f"{self.host}{0 if moved else self.port}{self.web}", *arguments]
        command = [*self.within, sys.executable, "-m", "p2pnode", "serve", *own]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(self.data_dir)
            )
        return self.wait_ready() if ready else self

    def wait_ready(self) -> Node:
        until(f"{self.name} is ready", self._is_ready)
        self.port = int(self.address.removeprefix(self.host).partition("/")[0])
        return self

    def _is_ready(self) -> bool:
        process = self.process
        assert process is not None and process.poll() is None, f"{self.name} ended:\n{self.printed()}"
        found = running_node(self.data_dir)
        return found is not None and found["pid"] == process.pid

    @property
    def client(self) -> Client:
        return find(self.data_dir, {})

    @property
    def peer(self) -> str:
        return self.client.identity()["peer"]

    @property
    def address(self) -> str:
        """Its address for others, with /p2p/."""
        return next(one for one in self.client.identity()["addresses"] if self.host in one)

    def printed(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill(self) -> None:
        """SIGKILL: it has no chance to say or save anything."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(EXIT_TIMEOUT_S)

    def pause(self) -> None:
        """SIGSTOP: it does nothing, and its connections stay, until `go_on`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(EXIT_TIMEOUT_S)

    # Jobs

    def add(self, path: Path) -> str:
        """Put a file or a directory into its store; the CID."""
        store = BlockStore(self.data_dir.with_suffix(".added"))
        root = unixfs.add_path(path, store.put)
        return self.client.import_car(car.write_car(root, store.get))

    def stored(self) -> set[str]:
        """The blocks in its store, each by the hexadecimal of its sha2-256 multihash."""
        return {path.name for path in self.data_dir.rglob("1220*")}

    def submit(self, job: dict[str, Any]) -> str:
        return self.client.submit(text_of(job), "test.yaml")

    def job(self, id: str) -> JobJson:
        return self.client.job(id)

    def execution(self, job: str, state: str, peer: str | None = None) -> ExecutionJson:
        """Waits for an execution of the job in this state (and on this peer)."""

        def look() -> ExecutionJson | None:
            found = self.job(job)["executions"]
            return next((one for one in found if one["state"] == state and peer in (None, one["peer"])), None)

        return until(f"an execution is {state}: {self.history(job)}", look)

    def ended(self, job: str, timeout_s: float = WAIT_S) -> JobJson:
        """Waits for the job's end."""

        def look() -> JobJson | None:
            found = self.job(job)
            return found if found["state"] in ("Completed", "Failed", "Stopped") else None

        try:
            return until("the job has ended", look, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.history(job)}") from None

    def history(self, job: str) -> list[str]:
        return [event["message"] for event in self.client.job_events(job)]

    def cli(
        self, *arguments: str, timeout_s: float = WAIT_S, merged: bool = False, token: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """A command that talks to this node; `merged`: its stderr goes where its stdout does.

        `token` stands in for the owner's.
        """
        return subprocess.run(
            [sys.executable, "-m", "p2pnode", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            text=True,
            timeout=timeout_s,
            check=False,
            env=environment(self.data_dir) | ({"P2PNODE_TOKEN": token} if token else {}),
            cwd=self.data_dir.parent,
        )

    # Work for others

    def finish(self, execution: str, how: str = "end") -> None:
        """Let the waiting program of an execution here end: well ("end"), or not ("fail")."""
        outputs = self.data_dir / "executions" / execution / "results" / "outputs"
        until(f"{outputs} is there", outputs.is_dir)
        (outputs / how).touch()

    def begun(self, execution: str) -> None:
        """Waits until the waiting program of an execution here has begun."""
        stdout = self._stdout(execution)
        until("the program has begun", lambda: stdout.exists() and stdout.read_text().startswith("begun"))

    def begins_again(self, execution: str) -> None:
        """To be called while the node is dead: `begun` is then about the next run of the program."""
        self._stdout(execution).unlink()

    def _stdout(self, execution: str) -> Path:
        return self.data_dir / "executions" / execution / "stdout"


@dataclass
class Nodes:
    """The nodes of one test or module, all in one directory."""

    directory: Path
    all: list[Node] = field(default_factory=list)

    def new(
        self, name: str, *arguments: str, peers: tuple[Node, ...] = (), place: Path | None = None
    ) -> Node:
        """A node that is not started yet; it joins through `peers`. Its directory is made in `place`."""
        data_dir = (place or self.directory) / name
        own = ["--name", name, "--data-dir", str(data_dir)]
        for peer in peers:
            own += ["--peer", peer.address]
        node = Node(name, data_dir, [*own, *arguments], self.directory / f"{name}.log")
        self.all.append(node)
        return node

    def peer_of(self, name: str) -> str:
        """The id of a node that is not made yet: its key is made before it."""
        return load_or_create(self.directory / name).peer_id

    def start(self, name: str, *arguments: str, peers: tuple[Node, ...] = ()) -> Node:
        return self.new(name, *arguments, peers=peers).start()

    def start_three(self) -> tuple[Node, Node, Node]:
        """A first node, two that join through it, and all three know one another."""
        first = self.start("a")
        others = [self.new(name, peers=(first,)).start(ready=False) for name in "bc"]
        second, third = (one.wait_ready() for one in others)
        know_each_other(first, second, third)
        return first, second, third

    def of(self, peer: str) -> Node:
        return next(node for node in self.all if alive(node) and node.peer == peer)


def know_each_other(*nodes: Node) -> None:
    """Waits until each has the others in its table."""
    peers = {node.peer for node in nodes}
    for node in nodes:
        until(f"{node.name} knows all", lambda node=node: peers <= known(node))


def known(node: Node) -> set[str]:
    return {one["peer"] for one in node.client.nodes()}


def alive(node: Node) -> bool:
    return node.process is not None and node.process.poll() is None


def answers(node: Node) -> bool:
    try:
        node.client.identity()
    except NodeUnreachable:
        return False
    return True


def children(node: Node) -> set[int]:
    """The pids of the programs that a node has started and that live.

    A WASM program is a child of the node's template process, which stays; so may a worker that waits for one.
    """
    assert node.process is not None
    direct = _children(node.process.pid)
    templates = {pid for pid, command in direct.items() if "wasm.worker" in command}
    found = (direct.keys() - templates).union(*map(_children, templates))
    return {pid for pid in found if not _waits(pid)}


def _waits(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == WAITS
    except OSError:
        return False


def _children(pid: int) -> dict[int, str]:
    command = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(pid)]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return {int(line.split()[0]): line for line in listed}


@contextmanager
def running_nodes(directory: Path) -> Iterator[Nodes]:
    nodes = Nodes(directory)
    try:
        yield nodes
    finally:
        left = [node.process for node in nodes.all if alive(node)]
        for process in left:
            assert process is not None
            process.terminate()
            # One that a failed test has left stopped ends, too.
            process.send_signal(signal.SIGCONT)
        for process in left:
            assert process is not None
            try:
                process.wait(EXIT_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    for node in nodes.all:
        no_noise(node)


def no_noise(node: Node) -> None:
    printed = node.printed()
    assert not _NOISE.search(printed), f"{node.name} printed:\n{printed}"
