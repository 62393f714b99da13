"""Jobs while real nodes are killed, and come back, or do not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .nodes import Node, Nodes, know_each_other, running_nodes, until
from .programs import waiting_module, wasm_job


class Network:
    """Three nodes, of which `a` submits and never runs anything itself."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.a = nodes.start("a", "--no-compute")
        self.b, self.c = (nodes.new(name, peers=(self.a,)) for name in "bc")
        for node in (self.b, self.c):
            node.start(ready=False)
        module = nodes.directory / "waiting.wasm"
        module.write_bytes(waiting_module())
        self.waiting = self.a.add(module)
        self.b.wait_ready()
        self.c.wait_ready()
        self.again()
        # By the time that a test asks, who it is may be dead.
        self.by_peer = {self.b.peer: self.b, self.c.peer: self.c}

    def again(self) -> None:
        """All that a test has ended runs again."""
        know_each_other(self.a, self.b, self.c)

    def begin(self) -> tuple[str, str, Node]:
        """A job that runs: its id, its execution's, and the node that runs it."""
        job = self.a.submit(wasm_job(self.waiting))
        execution = self.a.execution(job, "Running")
        node = self.by_peer[execution["peer"]]
        node.begun(execution["id"])
        return job, execution["id"], node


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with running_nodes(tmp_path_factory.mktemp("nodes")) as nodes:
        yield Network(nodes)


def test_a_job_goes_on_when_its_owner_was_killed(network: Network) -> None:
    job, execution, peer = network.begin()
    network.a.kill()
    network.a.start()
    assert network.a.job(job)["state"] == "Running"
    peer.finish(execution)
    ended = network.a.ended(job)
    assert ended["state"] == "Completed"
    assert [one["id"] for one in ended["executions"]] == [execution]


def test_a_result_is_delivered_to_an_owner_that_was_down(network: Network) -> None:
    job, execution, peer = network.begin()
    network.a.kill()
    peer.finish(execution)
    until("the peer is done", lambda: not (peer.data_dir / "executions" / execution).exists())
    network.a.start()
    ended = network.a.ended(job)
    assert ended["state"] == "Completed"
    assert [one["id"] for one in ended["executions"]] == [execution]


def test_a_compute_peer_that_was_killed_runs_its_program_again(network: Network) -> None:
    job, execution, peer = network.begin()
    peer.kill()
    peer.begins_again(execution)
    peer.start().begun(execution)
    peer.finish(execution)
    ended = network.a.ended(job)
    assert ended["state"] == "Completed"
    assert [one["id"] for one in ended["executions"]] == [execution]
    assert any(line.startswith("Its node was restarted (") for line in network.a.history(job))


def test_a_compute_peer_on_another_port_is_found_again(network: Network) -> None:
    job, execution, peer = network.begin()
    before = peer.port
    peer.kill()
    peer.begins_again(execution)
    peer.start(moved=True)
    assert peer.port != before
    until(
        "it is connected again",
        lambda: any(one["connected"] for one in network.a.client.nodes() if one["peer"] == peer.peer),
        5.0,
    )
    peer.begun(execution)
    peer.finish(execution)
    assert network.a.ended(job)["state"] == "Completed"


def test_a_job_of_a_peer_that_stays_dead_completes_elsewhere(network: Network) -> None:
    job, execution, peer = network.begin()
    peer.kill()
    network.a.execution(job, "Lost")
    second = network.a.execution(job, "Running")
    other = network.by_peer[second["peer"]]
    assert other is not peer
    other.finish(second["id"])
    assert network.a.ended(job)["state"] == "Completed"
    # The peer comes back, and hears that its own is not wanted any more.
    peer.start()
    until("what is not wanted is ended", lambda: not (peer.data_dir / "executions" / execution).exists())
    states = {one["id"]: one["state"] for one in network.a.job(job)["executions"]}
    assert states == {execution: "Lost", second["id"]: "Completed"}
    network.again()


def test_a_network_that_is_killed_as_a_whole_goes_on(network: Network) -> None:
    job, execution, peer = network.begin()
    for node in (network.a, network.b, network.c):
        node.kill()
    peer.begins_again(execution)
    for node in (network.a, network.b, network.c):
        node.start(ready=False)
    for node in (network.a, network.b, network.c):
        node.wait_ready()
    peer.begun(execution)
    peer.finish(execution)
    ended = network.a.ended(job)
    assert ended["state"] == "Completed"
    assert [one["id"] for one in ended["executions"]] == [execution]
