"""Honest nodes, and what must be so of them after any misdeed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.nodes import Node, alive, know_each_other, running_nodes
from tests.programs import waiting_module, wasm_job

# A job takes less than a second; the machine of the tests is a busy one.
USUAL_S = 15.0


@dataclass
class Network:
    """`a` submits and does not compute; `b` is attacked, and runs jobs as `c` does."""

    a: Node
    b: Node
    c: Node
    waiting: str

    @property
    def all(self) -> tuple[Node, Node, Node]:
        return self.a, self.b, self.c


@contextmanager
def running_network(directory: Path) -> Iterator[Network]:
    with running_nodes(directory) as nodes:
        info = ("--log-level", "info")
        a = nodes.start("a", "--no-compute", *info)
        b = nodes.new("b", "--label", "name=b", *info, peers=(a,)).start(ready=False)
        c = nodes.new("c", "--label", "name=c", *info, peers=(a,)).start(ready=False)
        know_each_other(a, b.wait_ready(), c.wait_ready())
        module = directory / "waiting.wasm"
        module.write_bytes(waiting_module())
        yield Network(a, b, c, a.add(module))


def on(name: str) -> list[dict[str, Any]]:
    """Constraints of a job for the node with this label."""
    return [{"Key": "name", "Operator": "=", "Values": [name]}]


def completes(network: Network) -> None:
    """A job of an honest requester, on whichever honest peer takes it."""
    one_of = [{"Key": "name", "Operator": "exists"}]
    job = network.a.submit(wasm_job(network.waiting, Constraints=one_of))
    execution = network.a.execution(job, "Running")
    by_peer = {node.peer: node for node in network.all}
    by_peer[execution["peer"]].finish(execution["id"])
    ended = network.a.ended(job, USUAL_S)
    assert ended["state"] == "Completed", network.a.history(job)


def problems(node: Node) -> list[dict[str, Any]]:
    """As its people are told of them."""
    told = node.cli("node", "problems", "--json")
    assert told.returncode == 0, told.stderr
    found: list[dict[str, Any]] = json.loads(told.stdout)["problems"]
    return found


def _lines(node: Node) -> list[str]:
    return node.printed().splitlines()


def _broken_links(node: Node, since: int, honest: set[str]) -> list[str]:
    lines = [line for line in _lines(node)[since:] if re.search("link with|discarded|failed", line)]
    return [line for line in lines if any(peer in line for peer in honest)]


def pids(network: Network) -> list[int]:
    return [node.process.pid for node in network.all if node.process and alive(node)]


@contextmanager
def unharmed(network: Network) -> Iterator[None]:
    """A job runs all through the block, over links of honest nodes that never break; after it the
    attacked node is killed and started again on what is in its journal."""
    for node in network.all:
        if not alive(node):
            node.start()
    know_each_other(*network.all)
    peers = {node.peer for node in network.all}
    job = network.a.submit(wasm_job(network.waiting, Constraints=on("c")))
    execution = network.a.execution(job, "Running")
    network.c.begun(execution["id"])
    before, since = pids(network), [len(_lines(node)) for node in network.all]
    yield
    assert pids(network) == before, [node.printed()[-2000:] for node in network.all]
    network.c.finish(execution["id"])
    ended = network.a.ended(job, USUAL_S)
    assert (ended["state"], len(ended["executions"])) == ("Completed", 1), network.a.history(job)
    broken = [_broken_links(node, at, peers) for node, at in zip(network.all, since, strict=True)]
    assert broken == [[], [], []], broken
    completes(network)
    network.b.kill()
    network.b.start()
    know_each_other(*network.all)
    completes(network)
    assert all(map(alive, network.all))
    told = [problems(node) for node in network.all]
    assert told == [[], [], []], told
    # Work that a second SIGKILL interrupts so soon would be suspected of it.
    network.b.end()
    network.b.start()
