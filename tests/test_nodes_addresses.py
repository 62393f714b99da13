"""Real nodes whose addresses are of IPv6 alone, or change while they run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .cut_network import TwoSwitches, two_switches
from .job_views import add_waiting
from .nodes import Nodes, know_each_other, running_nodes
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
