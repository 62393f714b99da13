"""Real nodes that speak with each other by WebSocket alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .job_views import add_waiting
from .nodes import Nodes, know_each_other, running_nodes
from .programs import wasm_job


@pytest.fixture
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with running_nodes(tmp_path_factory.mktemp("websocket")) as made:
        yield made


def test_nodes_by_websocket_alone_run_jobs_for_each_other(nodes: Nodes) -> None:
    first = nodes.new("first", "--no-compute")
    first.web = "/ws"
    first.start()
    # No proxy is there: others are told of it all the same.
    proxy = "/dns4/node.example/tcp/443/wss"
    second = nodes.new("second", "--announce", proxy, peers=(first,))
    second.web = "/ws"
    second.start()
    know_each_other(first, second)
    told = [address for one in second.client.nodes() for address in one["addresses"]]
    assert told and all("/ws/p2p/" in address for address in told if not address.startswith(proxy))
    assert f"{proxy}/p2p/{second.peer}" in [a for one in first.client.nodes() for a in one["addresses"]]
    job = first.submit(wasm_job(add_waiting(first, nodes.directory)))
    execution = first.execution(job, "Running", second.peer)
    second.begun(execution["id"])
    second.finish(execution["id"])
    assert first.ended(job)["state"] == "Completed"
