"""Real nodes whose addresses are of IPv6 alone, or change while they run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .cut_network import TwoSwitches, two_switches
from .job_views import add_waiting
from .nodes import Node, Nodes, know_each_other, running_nodes, until
from .programs import wasm_job


@pytest.fixture
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TwoSwitches, Nodes]]:
    with two_switches() as switches, running_nodes(tmp_path_factory.mktemp("addresses")) as nodes:
        yield switches, nodes


def test_nodes_with_ip6_alone_run_jobs_for_each_other(net: tuple[TwoSwitches, Nodes]) -> None:
    switches, nodes = net
    first = switches.node(nodes, "left", "first", ip6=True).start()
    second = switches.node(nodes, "right", "second", ip6=True, peers=(first,)).start()
    know_each_other(first, second)
    for owner, worker in ((first, second), (second, first)):
        assert owner.cli("node", "cordon").returncode == 0
        job = owner.submit(wasm_job(add_waiting(owner, nodes.directory)))
        execution = owner.execution(job, "Running", worker.peer)
        worker.begun(execution["id"])
        worker.finish(execution["id"])
        assert owner.ended(job)["state"] == "Completed"
        assert owner.cli("node", "uncordon").returncode == 0


def test_a_node_that_goes_to_another_network_goes_on_with_its_jobs(net: tuple[TwoSwitches, Nodes]) -> None:
    switches, nodes = net
    first = switches.node(nodes, "left", "first").start()
    laptop = switches.roaming(nodes, "right", "laptop", peers=(first,))
    laptop.start()
    know_each_other(first, laptop)
    begun = []
    for owner, worker in ((first, laptop), (laptop, first)):
        assert owner.cli("node", "cordon").returncode == 0
        job = owner.submit(wasm_job(add_waiting(owner, nodes.directory)))
        execution = owner.execution(job, "Running", worker.peer)
        worker.begun(execution["id"])
        begun.append((owner, worker, job, execution["id"]))
        assert owner.cli("node", "uncordon").returncode == 0
    before = laptop.at
    switches.leave(laptop)
    switches.come(laptop, (first,))

    def told() -> list[str]:
        return next(one["addresses"] for one in first.client.nodes() if one["peer"] == laptop.peer)

    until("others hear of the new address alone", lambda: told() and all(laptop.at in one for one in told()))
    shown = laptop.cli("id").stdout
    assert f"/{laptop.at}/" in shown and f"/{before}/" not in shown
    for owner, worker, job, execution in begun:
        worker.finish(execution)
        ended = owner.ended(job)
        assert ended["state"] == "Completed"
        assert [one["id"] for one in ended["executions"]] == [execution], owner.history(job)
    printed = laptop.printed()
    switches.leave(laptop)
    until("it is alone", lambda: not _connected(laptop))
    switches.come(laptop, (first,))
    until("it is back", lambda: _connected(laptop))
    warned = laptop.printed().removeprefix(printed)
    assert warned.count("WARNING") <= 1 and "ERROR" not in warned, warned


def _connected(node: Node) -> list[str]:
    return [one["peer"] for one in node.client.nodes() if one["connected"] and one["peer"] != node.peer]
