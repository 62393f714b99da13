"""Copies of jobs with real nodes: who gets to keep one, and what is said where nobody does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from p2pnode.api.shapes import ServiceError

from .job_views import deputies_of
from .nodes import Node, know_each_other, running_nodes, until
from .programs import waiting_module, wasm_job

NORTH = {"Key": "zone", "Operator": "=", "Values": ["north"]}


class Network(SimpleNamespace):
    owner: Node
    north: Node
    # Excluded by the job's Constraints, and a node that looks after no jobs.
    south: Node
    unwilling: Node
    waiting: str


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    directory = tmp_path_factory.mktemp("deputies")
    with running_nodes(directory) as nodes:
        owner = nodes.start("owner", "--no-compute")
        north = nodes.new("north", "--label", "zone=north", peers=(owner,))
        south = nodes.new("south", "--label", "zone=south", peers=(owner,))
        unwilling = nodes.new("unwilling", "--label", "zone=north", "--no-deputy", peers=(owner,))
        others = [one.start(ready=False) for one in (north, south, unwilling)]
        know_each_other(owner, *(one.wait_ready() for one in others))
        module = directory / "waiting.wasm"
        module.write_bytes(waiting_module())
        yield Network(owner=owner, north=north, south=south, unwilling=unwilling, waiting=owner.add(module))


def holds(node: Node, job: str) -> bool:
    try:
        return bool(node.job(job))
    except ServiceError:
        return False


def test_only_a_willing_peer_that_the_constraints_admit_gets_the_file(network: Network) -> None:
    owner = network.owner
    job = owner.submit(wasm_job(network.waiting, Constraints=[NORTH]))
    execution = owner.execution(job, "Running")
    found = owner.job(job)
    assert (deputies_of(owner, job), found["deputies_wanted"]) == ([network.north.peer], 2)
    until("the deputy has its copy", lambda: holds(network.north, job))
    said = until(
        "the history says that one is missing",
        lambda: [
            one for one in owner.cli("job", "history", job).stdout.splitlines() if "deputies found" in one
        ],
    )
    assert len(said) == 1 and "1 of 2 deputies found" in said[0]
    assert "1 of 3: label zone is 'south'; wanted: zone = north" in said[0]
    assert "1 of 3: looks after no jobs of others" in said[0]
    assert not holds(network.south, job) and not holds(network.unwilling, job)
    for node in (network.north, network.unwilling):
        if node.peer == execution["peer"]:
            node.finish(execution["id"])


def test_a_job_without_deputies_says_what_is_lost(network: Network, tmp_path: Path) -> None:
    owner = network.owner
    file = tmp_path / "job.yaml"
    file.write_text(
        "Type: daemon\nDeputies: 0\nConstraints: [{Key: zone, Operator: '=', Values: [south]}]\n"
        f"Tasks:\n  - Engine: {{Type: wasm, Params: {{EntryModule: /m}}}}\n"
        f"    InputSources: [{{Target: /m, Source: {{Type: ipfs, Params: {{CID: {network.waiting}}}}}}}]\n"
    )
    lost = "while the node that looks after it is away, nobody does"
    checked = owner.cli("validate", str(file))
    assert checked.returncode == 0 and f"{file}:2:11: warning: Deputies: 0: {lost}" in checked.stderr
    submitted = owner.cli("submit", "--no-wait", str(file))
    assert submitted.returncode == 0 and lost in submitted.stderr
    job = submitted.stdout.split()[0]
    owner.execution(job, "Running")
    described = owner.cli("job", "describe", job).stdout
    assert f"0: {lost}" in described and deputies_of(owner, job) == []
    assert not any(holds(one, job) for one in (network.north, network.south, network.unwilling))
    owner.client.stop(job, "enough")
