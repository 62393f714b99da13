"""Policies of real nodes: what one refuses by rule, what waits for a quota, and where jobs go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from p2pnode.config.policy import POLICY_FILE

from .job_views import add_waiting, copy_of, deputies_of
from .nodes import Node, know_each_other, running_nodes, until
from .programs import text_of, waiting_module, wasm_job

RULES = """\
[[take]]
decision = "refuse"
name = "no bob"
namespaces = ["bob-*"]

[[quota]]
each = "requester"
executions = 1
"""


class Network(SimpleNamespace):
    asks: Node
    lends: Node
    waiting: str


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    directory = tmp_path_factory.mktemp("nodes")
    with running_nodes(directory) as nodes:
        lends = nodes.new("lends")
        lends.data_dir.mkdir()
        (lends.data_dir / POLICY_FILE).write_text(RULES)
        lends.start()
        asks = nodes.start("asks", "--no-compute", peers=(lends,))
        know_each_other(asks, lends)
        module = directory / "waiting.wasm"
        module.write_bytes(waiting_module())
        yield Network(asks=asks, lends=lends, waiting=asks.add(module))


def test_a_job_of_a_namespace_that_a_rule_refuses_fails_and_names_the_rule(
    network: Network, tmp_path: Path
) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(text_of({**wasm_job(network.waiting), "Namespace": "bob-1"}))
    done = network.asks.cli("submit", str(path))
    assert done.returncode == 3, done.stderr
    assert "its policy refuses it: no bob" in done.stderr
    tried = network.lends.cli("policy", "check", str(path), "--requester", network.asks.peer)
    assert tried.returncode == 3
    assert "refused: its policy refuses it: no bob" in tried.stdout


def test_a_job_beyond_a_quota_waits_and_runs_when_it_is_free(network: Network) -> None:
    asks, lends = network.asks, network.lends
    first = asks.submit(wasm_job(network.waiting))
    running = asks.execution(first, "Running")
    second = asks.submit(wasm_job(network.waiting))
    until(
        "the second waits for the quota",
        lambda: any("its quota for each requester is used up: 1 exec" in one for one in asks.history(second)),
    )
    lends.finish(running["id"])
    asks.ended(first)
    lends.finish(asks.execution(second, "Running")["id"])
    assert asks.ended(second)["state"] == "Completed"


def test_a_job_that_the_operator_s_program_refuses_fails_with_its_words(
    network: Network, tmp_path: Path
) -> None:
    lends = network.lends
    lends.end()
    words = ["/bin/sh", "-c", "grep -q for-real || { echo only for real >&2; exit 1; }"]
    (lends.data_dir / POLICY_FILE).write_text(f"[probe]\ncommand = {json.dumps(words)}\n")
    lends.start()
    know_each_other(network.asks, lends)
    path = tmp_path / "job.yaml"
    path.write_bytes(text_of(wasm_job(network.waiting)))
    done = network.asks.cli("submit", str(path))
    assert done.returncode == 3, done.stderr
    assert "its operator's probe refuses it: only for real" in done.stderr
    taken = network.asks.submit(wasm_job(network.waiting, Namespace="for-real"))
    lends.finish(network.asks.execution(taken, "Running")["id"])
    assert network.asks.ended(taken)["state"] == "Completed"


def test_the_plan_names_the_places_that_a_peer_is_not_in(network: Network, tmp_path: Path) -> None:
    asks = network.asks
    asks.end()
    (asks.data_dir / POLICY_FILE).write_text('[[place]]\nlabels = { zone = "north" }\n')
    asks.start()
    know_each_other(asks, network.lends)
    path = tmp_path / "job.yaml"
    path.write_bytes(text_of(wasm_job(network.waiting)))
    done = asks.cli("plan", str(path))
    assert done.returncode == 3, done.stderr
    assert "is not where the requester's policy places its jobs: zone=north" in done.stdout


def test_a_deputy_places_a_job_only_where_the_policy_of_its_requester_that_is_gone_says(
    tmp_path: Path,
) -> None:
    with running_nodes(tmp_path) as nodes:
        asks = nodes.new("asks", "--no-compute")
        asks.data_dir.mkdir()
        (asks.data_dir / POLICY_FILE).write_text('[[place]]\nlabels = { zone = "north" }\n')
        asks.start()
        zones = {"n1": "north", "n2": "north", "south": "south"}
        others = [nodes.new(name, "--label", f"zone={zone}", peers=(asks,)) for name, zone in zones.items()]
        for one in others[:2]:
            # The south is cheaper.
            one.data_dir.mkdir()
            (one.data_dir / POLICY_FILE).write_text("price = 5\n")
        know_each_other(asks, *(one.wait_ready() for one in [one.start(ready=False) for one in others]))
        job = asks.submit(wasm_job(add_waiting(asks, tmp_path), Type="service"))
        first = asks.execution(job, "Running")
        north = {one.peer for one in others[:2]}
        assert first["peer"] in north and set(deputies_of(asks, job)) == north
        # The requester hands over to a deputy, which has nobody to ask about its policy from then on.
        asks.end()
        acts = until("a deputy acts", lambda: next((one for one in others[:2] if owns(one, job)), None))
        nodes.of(first["peer"]).finish(first["id"])

        def second() -> str | None:
            found = [one for one in acts.job(job)["executions"] if one["id"] != first["id"]]
            return next((one["peer"] for one in found if one["state"] == "Running"), None)

        assert until("it runs again", second) in north
        assert copy_of(others[2], job) is None


def owns(node: Node, job: str) -> bool:
    found = copy_of(node, job)
    return found is not None and found["owner"] == node.peer
